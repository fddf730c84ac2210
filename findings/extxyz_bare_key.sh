#!/usr/bin/env bash
# ASE 3.29.0 writes None in Atoms.info as a key without a value and reads it back as True. The C
# package extxyz 0.4.6 does not parse such a comment line: it falls back to bare XYZ and returns
# the frame without cell, energy and key, as periodic in a cell of zero volume, with no error.
# Seen: ASE {'converged': True}; extxyz cell all 0, info {}, pbc T T T though the file says T T F.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 extxyz==0.4.6 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import extxyz
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

atoms = Atoms("Te", cell=[6, 6, 7], pbc=[True, True, False])
atoms.info["converged"] = None
atoms.calc = SinglePointCalculator(atoms, energy=-3.5)
write("frame.extxyz", atoms)
back = read("frame.extxyz")
frame = extxyz.read_dicts("frame.extxyz")
frame = frame[0] if isinstance(frame, list) else frame
print("wrote converged=None, energy -3.5, cell 6 6 7, pbc T T F")
print("ASE read    ", back.info, back.get_potential_energy(), back.cell.lengths(), back.pbc)
print("extxyz read ", frame.info, frame.cell.tolist(), frame.pbc)
assert back.info["converged"] is True, "ASE has changed"
assert not frame.info and np.all(frame.cell == 0) and frame.pbc.all(), "extxyz has changed"
PY
