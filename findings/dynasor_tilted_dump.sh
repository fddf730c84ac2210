#!/usr/bin/env bash
# dynasor 2.5 with its own reader of LAMMPS dumps (trajectory_format="lammps_internal") takes the bounds of the box around a
# tilted cell for the cell, and multiplies scaled coordinates ("dump ... atom") by its diagonal. q-points are not those of
# the crystal, and atoms are moved. Nothing is said. Seen: 16.5 x 15 x 12 A for 12 x 12 x 12 A, and an atom 3.0 A off. With
# "lammps_mdanalysis" the same files are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q dynasor==2.5 MDAnalysis==2.11.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - 2>log <<'PY'
from pathlib import Path

import numpy as np
from ase.io import read
from dynasor import Trajectory

# two frames of a tilted cell of 12 x 12 x 12 A: xy = 3, xz = 1.5, yz = -3
frame = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS xy xz yz pp pp pp\n0 16.5 3\n-3 12 1.5\n0 12 -3\n"
frame += "ITEM: ATOMS id type xs ys zs\n1 1 0 0 0\n2 1 0.5 0.5 0.5\n"
Path("tilted.dump").write_text(frame.format(0) + frame.format(1000))
atoms = read("tilted.dump", format="lammps-dump-text")
seen = {}
for how in ("lammps_internal", "lammps_mdanalysis"):
    trajectory = Trajectory("tilted.dump", trajectory_format=how)
    seen[how] = np.array(trajectory.cell), next(iter(trajectory)).get_positions_as_array(trajectory.atomic_indices)[1]
for how, (cell, place) in {"ASE": (atoms.cell.array, atoms.positions[1]), **seen}.items():
    print(f"{how:18} cell {cell.round(3).tolist()}, second atom at {place.round(3).tolist()}")
cell, place = seen["lammps_internal"]
assert np.allclose(seen["lammps_mdanalysis"][0], atoms.cell, atol=1e-4)
assert np.allclose(seen["lammps_mdanalysis"][1], atoms.positions[1], atol=1e-4)
assert np.allclose(cell.diagonal(), [16.5, 15, 12]), "dynasor reads tilted cells right"
assert np.allclose(place, [8.25, 7.5, 6]), "dynasor reads scaled coordinates of tilted cells right"
print(f"off by {np.linalg.norm(place - atoms.positions[1]):.2f} A")
PY
