#!/usr/bin/env bash
# atomate2 0.1.5: molecular dynamics by ASE starts with the velocities of a structure that has some, and takes them for ones in
# ASE's own units. Those of a POSCAR are in A/fs: a start of 178 K is one of 1.7 K. And the stress of a frame holds the kinetic
# part, NkT/V, which is none of the potential's. Neither is said. Seen for argon at 222 K: 0.078 GPa.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q atomate2==0.1.5 ase==3.29.0 pymatgen==2026.10.24 pymatgen-core==2026.10.16 emmet-core==0.87.3 \
    pydantic==2.14.4 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read
from atomate2.ase.md import LennardJonesMDMaker
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 6.0}


def first_frame(structure):
    maker = LennardJonesMDMaker(ensemble="nvt", dynamics="langevin", temperature=300, mb_velocity_seed=1, n_steps=1,
                                time_step=0.001, traj_interval=1, calculator_kwargs=ARGON, traj_file="run.traj", traj_file_fmt="ase")
    maker.run_ase(structure)
    return read("run.traj", 0)


structure = AseAtomsAdaptor.get_structure(bulk("Ar", "fcc", a=5.4, cubic=True).repeat(2))
frame = first_frame(structure)
potential = frame.copy()
potential.calc = LennardJones(**ARGON)
apart = (potential.get_stress() - frame.get_stress())[:3].mean() / units.GPa
kinetic = len(frame) * units.kB * frame.get_temperature() / frame.get_volume() / units.GPa
print(f"frame at {frame.get_temperature():.0f} K: stress {apart:.4f} GPa below the potential's; NkT/V is {kinetic:.4f} GPa")

velocities = np.random.default_rng(0).normal(scale=0.002, size=(32, 3))
Poscar(structure, velocities=velocities.tolist()).write_file("POSCAR")
written = read("POSCAR").get_temperature()
started = first_frame(Poscar.from_file("POSCAR").structure).get_temperature()
print(f"POSCAR, read by ASE: {written:.1f} K; first frame: {started:.2f} K")
assert abs(apart - kinetic) < 1e-6 and kinetic > 0.05, "the stress is the potential's now"
assert abs(started / written - units.fs**2) < 1e-4, "velocities are converted now"
PY
