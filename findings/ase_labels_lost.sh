#!/usr/bin/env bash
# ASE 3.29.0: a set for training under names such as REF_energy and REF_forces, which keep ASE from taking them for its own,
# loses labels in ASE's own files. A trajectory (.traj) keeps what is in info and drops arrays of atoms: energies without
# forces. A database (.db, .json) drops both. Extended XYZ keeps all. Nothing is said, on writing or on reading.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.build import bulk
from ase.io import read, write

atoms = bulk("GeTe", "rocksalt", a=6.0)
atoms.info["REF_energy"] = -7.5
atoms.new_array("REF_forces", np.full((2, 3), 0.1))
seen = {}
for name in ("set.extxyz", "set.traj", "set.db", "set.json"):
    write(name, atoms)
    back = read(name)
    seen[name] = "REF_energy" in back.info, back.has("REF_forces")
    print(f"{name:12}energy {'kept' if seen[name][0] else 'lost'}, forces {'kept' if seen[name][1] else 'lost'}")
assert seen["set.extxyz"] == (True, True)
assert seen["set.traj"] == (True, False), "trajectories keep other arrays, or drop info"
assert seen["set.db"] == seen["set.json"] == (False, False), "databases keep info or arrays"
PY
