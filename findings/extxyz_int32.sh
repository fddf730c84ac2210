#!/usr/bin/env bash
# extxyz 0.4.6 (the C package) keeps integers in 32 bits and wraps larger ones without a word, on
# reading and on writing. Atom ids and timesteps of long device runs pass 2^31. Seen: read
# 3000000000 as -1294967296, wrote 10000000000 as 1410065408. ASE 3.29.0 reads the info value
# right, but fails on the per-atom column with an OverflowError.
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

head = '1\nLattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3'
open("step.xyz", "w").write(head + " timestep=3000000000\nTe 0 0 0\n")
open("ids.xyz", "w").write(head + ":id:I:1\nTe 0 0 0 3000000000\n")
step = next(iter(extxyz.iread_dicts("step.xyz"))).info["timestep"]
ident = int(np.ravel(next(iter(extxyz.iread_dicts("ids.xyz"))).arrays["id"])[0])
print("extxyz read 3000000000 as", step, "(info) and", ident, "(column)")
print("ASE read the info value as", read("step.xyz").info["timestep"])
try:
    read("ids.xyz")
    error = None
except OverflowError as exc:
    error = exc
print("ASE read the column:", error)
frame = extxyz.Frame(natoms=1, cell=np.eye(3) * 6, pbc=np.array([True] * 3), info={"timestep": 10**10},
                     arrays={"species": np.array(["Te"]), "pos": np.zeros((1, 3))})
extxyz.write_dicts("out.xyz", [frame])
written = next(w for w in open("out.xyz").read().split() if w.startswith("timestep="))
print("extxyz wrote 10000000000 as", written)
assert step == ident == 3000000000 - 2**32 and written == "timestep=1410065408" and error is not None, "changed"
PY
