#!/usr/bin/env bash
# extxyz 0.4.6 writes a 3x3 array as nested brackets and reads it back. ASE 3.29.0 refuses the
# whole file where the key is "stress" or "virial" (ValueError); under any other key it silently
# returns flat text without the inner brackets. Seen: a Born charge tensor arrives as the string
# '[0.00000000,1.00000000,2.00000000,...]'.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 extxyz==0.4.6 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import extxyz
import numpy as np
from ase.io import read

def write(name, info):
    extxyz.write_dicts(name, [extxyz.Frame(natoms=1, cell=np.eye(3) * 6, pbc=np.array([True] * 3), info=info,
        arrays={"species": np.array(["Te"]), "pos": np.zeros((1, 3))})])

write("stress.xyz", {"energy": -1.5, "stress": np.diag([0.1, 0.2, 0.3])})
write("born.xyz", {"energy": -1.5, "born": np.arange(9.0).reshape(3, 3)})
print(open("stress.xyz").read().splitlines()[1])
print("extxyz reads its own:", next(iter(extxyz.iread_dicts("stress.xyz"))).info["stress"].tolist())
try:
    read("stress.xyz")
    error = None
except ValueError as exc:
    error = exc
print("ASE, stress:", error)
born = read("born.xyz").info["born"]
print("ASE, other key:", repr(born))
assert error is not None and isinstance(born, str) and born.count("[") == 1, "the behaviour has changed"
PY
