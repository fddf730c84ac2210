#!/usr/bin/env bash
# pymatgen 2026.10.24: velocities of a POSCAR are in A/fs. LammpsData.from_structure writes the same numbers into a data
# file of LAMMPS, where "units metal", the units of most machine-learned potentials, means A/ps: a start of 524 K is
# one of 0.0005 K. AseAtomsAdaptor keeps them as an array that ASE does not know (0 K). There is no warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q pymatgen==2026.10.24 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.lammps.data import LammpsData
from pymatgen.io.vasp import Poscar

start = Structure(Lattice.cubic(6.0), ["Ge", "Te"], [[0, 0, 0], [0.5, 0, 0]])
Poscar(start, velocities=[[0.005, 0, 0], [-0.0025, 0, 0]]).write_file("POSCAR")
structure = Poscar.from_file("POSCAR").structure
LammpsData.from_structure(structure, atom_style="atomic").write_file("start.data")
temperatures = {
    "POSCAR, read by ASE": read("POSCAR").get_temperature(),
    "data file of pymatgen, units metal": read("start.data", format="lammps-data", units="metal").get_temperature(),
    "atoms of AseAtomsAdaptor": AseAtomsAdaptor.get_atoms(structure).get_temperature(),
}
for name, kelvin in temperatures.items():
    print(f"{name}: {kelvin:.4f} K")
first, second, third = temperatures.values()
assert round(first) == 524
assert abs(second / first - 1e-6) < 1e-8 and third == 0, "velocities are converted now"
PY
