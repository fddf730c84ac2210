#!/usr/bin/env bash
# OVITO 3.15.5 and ASE 3.29.0: ase_to_ovito keeps momenta as a nameless extra, so that a LAMMPS
# data file exported from it has no velocities; ovito_to_ase keeps velocities and forces as arrays
# "Velocity" and "Force" that ASE does not know; and OVITO's extended XYZ says "force", where ASE
# looks for "forces". Seen: 300 K becomes 0 K both ways, forces are lost to get_forces(); no
# warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ovito==3.15.5 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ovito.io import export_file, import_file
from ovito.io.ase import ase_to_ovito, ovito_to_ase

atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True).repeat(2)
MaxwellBoltzmannDistribution(atoms, temperature_K=300, force_temp=True, rng=np.random.default_rng(1))
export_file(ase_to_ovito(atoms), "out.data", "lammps/data", atom_style="atomic")
there = read("out.data", format="lammps-data", atom_style="atomic", units="metal").get_temperature()

write("in.data", atoms, format="lammps-data", velocities=True, masses=True, units="metal", atom_style="atomic")
check = read("in.data", format="lammps-data", atom_style="atomic", units="metal").get_temperature()
data = import_file("in.data", atom_style="atomic").compute()
came = ovito_to_ase(data)
print("ASE", round(atoms.get_temperature()), "K; its own data file", round(check), "K; ASE -> OVITO -> data file", there, "K;",
      "data file -> OVITO -> ASE", came.get_temperature(), "K with arrays", sorted(came.arrays))

atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((len(atoms), 3)))
write("forces.extxyz", atoms)
columns = ["Particle Type", "Position.X", "Position.Y", "Position.Z", "Force.X", "Force.Y", "Force.Z"]
export_file(import_file("forces.extxyz"), "forces_ovito.xyz", "xyz", columns=columns)
print(open("forces_ovito.xyz").read().splitlines()[1])
lost = read("forces_ovito.xyz", format="extxyz")
print("calculator after OVITO's extended XYZ:", lost.calc, "arrays", sorted(lost.arrays))
assert check > 290 and there == 0 and came.get_temperature() == 0, "velocities: the behaviour has changed"
assert lost.calc is None and "force" in lost.arrays, "forces: the behaviour has changed"
PY
