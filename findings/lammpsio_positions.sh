#!/usr/bin/env bash
# lammpsio 0.9.0 knows the columns x, y, z of a LAMMPS dump. One with scaled or unwrapped coordinates (xs or xu), which
# "dump ... atom" writes unless told otherwise, is read without an error: all atoms lie at the origin. Only has_position(),
# asked before the positions, says that there are none; asked afterwards it says that there are. Velocities and types of the
# same lines are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammpsio==0.9.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from pathlib import Path

import numpy as np
from ase.io import read
from lammpsio import DumpFile

HEAD = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 12\n0 12\n0 12\nITEM: ATOMS id type "
TRUE = np.array([[3.0, 0, 0], [6.0, 3.0, 9.0]])
DUMPS = {"x y z": TRUE, "xs ys zs": TRUE / 12, "xu yu zu": TRUE}
seen = {}
for columns, places in DUMPS.items():
    rows = [f"{n} {n} {x} {y} {z} {n} 0 0\n" for n, (x, y, z) in enumerate(places, start=1)]
    Path("x.dump").write_text(f"{HEAD}{columns} vx vy vz\n" + "".join(rows))
    assert np.allclose(read("x.dump", format="lammps-dump-text").positions, TRUE)
    snapshot = next(iter(DumpFile("x.dump")))
    before = snapshot.has_position()
    seen[columns] = snapshot.position.copy()
    print(f"{columns:9}{seen[columns].tolist()}, has_position(): {before}, then {snapshot.has_position()}")
    assert snapshot.velocity[:, 0].tolist() == [1, 2] and snapshot.typeid.tolist() == [1, 2] and snapshot.has_position()
assert np.allclose(seen["x y z"], TRUE)
assert not seen["xs ys zs"].any() and not seen["xu yu zu"].any(), "lammpsio reads scaled or unwrapped coordinates"
PY
