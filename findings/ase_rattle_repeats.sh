#!/usr/bin/env bash
# ASE 3.29.0: Atoms.rattle begins with the same random numbers at every call, unless it is told a seed or a generator. A set
# of rattled copies of a crystal is one structure many times, labels of which agree to the last digit; and a second rattle
# of the same atoms is the first again: twice the displacement, not the square root of two. MaxwellBoltzmannDistribution
# draws anew at every call. Seen: five copies, largest difference 0 A.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

crystal = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
rattled, speeds = [], []
for _ in range(5):
    atoms = crystal.copy()
    atoms.rattle(0.05)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300)
    rattled.append(atoms.positions - crystal.positions)
    speeds.append(atoms.get_velocities())
twice = crystal.copy()
twice.rattle(0.05)
twice.rattle(0.05)
spread = np.ptp(rattled, axis=0).max()
growth = np.linalg.norm(twice.positions - crystal.positions) / np.linalg.norm(rattled[0])
print(f"five copies: largest difference of positions {spread:g} A, of velocities {np.ptp(speeds, axis=0).max():.3f}")
print(f"rattled twice: displacements {growth:.3f} times as large")
assert spread == 0 and abs(growth - 2) < 1e-9, "rattle draws anew"
assert np.ptp(speeds, axis=0).max() > 0
PY
