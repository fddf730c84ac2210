#!/usr/bin/env bash
# pymatgen 2026.10.24: Poscar of a structure with a left-handed cell negates the three cell
# vectors and keeps the fractional coordinates. What VASP computes is the mirror image: energies
# are the same, but forces and dipoles come back with the opposite sign in the frame of the
# structure that was handed over. Nothing is said. Seen: an atom at (1, 2, 3) is written at (-1,
# -2, -3); with ASE's Lennard-Jones the force changes its sign.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q pymatgen==2026.10.24 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.calculators.lj import LennardJones
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

cell = Structure([[6, 0, 0], [0, 0, 7], [0.5, 6, 0]], ["Ge", "Te"], [[0.2, 0.1, 0.3], [1, 2, 3]], coords_are_cartesian=True)
written = Poscar.from_str(Poscar(cell).get_str()).structure
forces = []
for structure in (cell, written):
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = LennardJones(sigma=2.5, epsilon=0.1, rc=6.0)
    forces.append(atoms.get_forces()[1])
print("asked  ", cell[1].coords, "force", forces[0].round(4))
print("written", written[1].coords, "force", forces[1].round(4))
assert np.allclose(written[1].coords, -cell[1].coords) and np.allclose(forces[0], -forces[1], atol=1e-6), "changed"
assert abs(forces[0]).max() > 1e-3
PY
