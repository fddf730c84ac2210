#!/usr/bin/env bash
# ASE 3.29.0 writes the velocities of a POSCAR under a line "Cartesian", as VASP allows. pymatgen
# 2026.10.24 expects an empty line there and returns no velocities and no warning: a molecular-
# dynamics start that was hot is cold.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.build import bulk
from ase.io import read, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from pymatgen.io.vasp import Poscar

atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
atoms = atoms[[a.index for a in atoms if a.symbol == "Ge"] + [a.index for a in atoms if a.symbol == "Te"]]
MaxwellBoltzmannDistribution(atoms, temperature_K=300, force_temp=True, rng=np.random.default_rng(1))
write("POSCAR", atoms, format="vasp")
print("".join(open("POSCAR").readlines()[-10:]))
poscar = Poscar.from_file("POSCAR")
print("ASE wrote", round(atoms.get_temperature()), "K; ASE reads", round(read("POSCAR").get_temperature()),
      "K; pymatgen velocities:", poscar.velocities)
assert read("POSCAR").get_temperature() > 290 and poscar.velocities is None, "the behaviour has changed"
PY
