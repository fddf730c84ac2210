#!/usr/bin/env bash
# dynasor 2.5 with its own reader of LAMMPS dumps (trajectory_format="lammps_internal") takes the bounds of the box around a
# tilted cell for the cell: its q-points are not those of the crystal. And where a dump has scaled coordinates, as "dump ...
# atom" writes them, it multiplies all frames by the lengths of the first: at constant pressure atoms have the density of the
# start, and in a tilted cell they are sheared. Nothing is said. Seen: 16.5 x 15 x 12 A for 12 x 12 x 12 A; 5.85 A for 6.3 A
# between neighbours after an expansion by 7.7 %. ASE 3.29.0 reads the same files right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q dynasor==2.5 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - 2>/dev/null <<'PY'
from pathlib import Path

import numpy as np
from ase.io import read
from dynasor import Trajectory

# a tilted cell: xy = 3, xz = 1.5, yz = -3
Path("tilted.dump").write_text(
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS xy xz yz pp pp pp\n"
    "0 16.5 3\n-3 12 1.5\n0 12 -3\nITEM: ATOMS id type x y z\n1 1 0 0 0\n"
)
# two frames of a box that grows
frame = "ITEM: TIMESTEP\n{0}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 {1}\n0 {1}\n0 {1}\n"
frame += "ITEM: ATOMS id type xs ys zs\n1 1 0 0 0\n2 1 0.5 0 0\n"
Path("growing.dump").write_text(frame.format(0, 11.7) + frame.format(1000, 12.6))

tilted = read("tilted.dump", format="lammps-dump-text")
cell = np.array(Trajectory("tilted.dump", trajectory_format="lammps_internal").cell)
print("tilted cell, ASE:    ", tilted.cell.array.tolist())
print("tilted cell, dynasor:", cell.tolist(), f"volume {np.linalg.det(cell) / tilted.get_volume():.2f} times as large")
ours = [float(a.positions[1, 0]) for a in read("growing.dump", index=":", format="lammps-dump-text")]
theirs = [
    float(f.get_positions_as_array(np.arange(2))[1, 0])
    for f in Trajectory("growing.dump", trajectory_format="lammps_internal")
]
print("x of the second atom (A), ASE:", ours, "dynasor:", theirs)
assert np.allclose(tilted.cell, [[12, 0, 0], [3, 12, 0], [1.5, -3, 12]]) and np.allclose(ours, [5.85, 6.3])
assert np.allclose(cell.diagonal(), [16.5, 15, 12]), "dynasor reads tilted cells right"
assert np.allclose(theirs, [5.85, 5.85]), "dynasor reads scaled coordinates right"
PY
