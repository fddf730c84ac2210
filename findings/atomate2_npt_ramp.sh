#!/usr/bin/env bash
# atomate2 0.1.5: molecular dynamics by ASE takes a list of temperatures as a ramp. In its default dynamics at constant
# pressure (ensemble="npt": nose-hoover-chain) the ramp does nothing: the first temperature stays. A melt that
# is to be quenched at zero pressure never cools. Seen for argon from 60 to 10 K: 55 K in the last quarter; at constant
# volume (langevin) 18 K. Nothing is said.
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
from ase.io import read
from atomate2.ase.md import LennardJonesMDMaker
from pymatgen.io.ase import AseAtomsAdaptor

structure = AseAtomsAdaptor.get_structure(bulk("Ar", "fcc", a=5.35, cubic=True).repeat(2))
at_the_end = {}
for ensemble, settings in (
    ("nvt", {}),
    ("npt", {"pressure": 0, "ase_md_kwargs": {"tdamp": 500 * units.fs, "pdamp": 5000 * units.fs}}),
):
    maker = LennardJonesMDMaker(ensemble=ensemble, temperature=[60, 10], n_steps=600, time_step=10, traj_interval=10,
                                mb_velocity_seed=1, calculator_kwargs={"sigma": 3.4, "epsilon": 0.0104, "rc": 6.0},
                                traj_file="run.traj", traj_file_fmt="ase", **settings)
    maker.run_ase(structure)
    at_the_end[ensemble] = np.mean([atoms.get_temperature() for atoms in read("run.traj", "45:")])
    print(f"{ensemble}, {maker.dynamics}, 60 to 10 K: {at_the_end[ensemble]:.0f} K in the last quarter")
assert at_the_end["nvt"] < 30
assert at_the_end["npt"] > 40, "the ramp works at constant pressure now"
PY
