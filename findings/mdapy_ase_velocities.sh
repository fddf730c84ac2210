#!/usr/bin/env bash
# mdapy 1.0.9 and ASE 3.29.0: to_ase hands the velocities of a LAMMPS or GPUMD file over as numbers, and ASE takes them in
# its own units, 98 A/ps: a melt of 300 K is one of 2.9 million K. The way back, System(ase_atom=...), drops velocities.
# Neither is said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q mdapy==1.0.9 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import mdapy
from ase import units
from ase.build import bulk
from ase.io import read, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True).repeat(3)
MaxwellBoltzmannDistribution(atoms, temperature_K=300, force_temp=True)
write("hot.data", atoms, format="lammps-data", masses=True, velocities=True, units="metal")
file = read("hot.data", format="lammps-data", atom_style="atomic", units="metal")
there = mdapy.System("hot.data").to_ase()
back = mdapy.System(ase_atom=atoms)
print(f"the file: {file.get_temperature():.1f} K; by mdapy in ASE: {there.get_temperature():.4g} K")
print(f"columns of a System made from ASE: {back.data.columns}")
ratio = there.get_temperature() / file.get_temperature()
assert abs(file.get_temperature() - 300) < 0.1
assert abs(ratio / (1000 * units.fs) ** 2 - 1) < 0.01, "mdapy converts velocities"
assert not {"vx", "vy", "vz"} & set(back.data.columns), "mdapy keeps velocities of ASE"
PY
