#!/usr/bin/env bash
# ASE 3.29.0: an empty text in Atoms.info is written as "note= " and swallows the key that follows
# it. Where that is the energy, the frame comes back without any energy, and nothing is said.
# Seen: info {'note': 'energy=-3.5'}, no calculator.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import ase
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

atoms = Atoms("Te", cell=[6, 6, 7], pbc=True)
atoms.info["note"] = ""
atoms.calc = SinglePointCalculator(atoms, energy=-3.5)
write("frame.extxyz", atoms)
back = read("frame.extxyz")
print("ase", ase.__version__, "wrote note='' and energy -3.5; read", back.info, "calculator:", back.calc)
assert back.info == {"note": "energy=-3.5"} and back.calc is None, "the behaviour has changed"
PY
