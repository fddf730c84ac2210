#!/usr/bin/env bash
# atomate2 0.1.5: molecular dynamics by ASE with dynamics="nose-hoover" (nvt or npt) turns the cell into the form that ASE's NPT
# wants and leaves the atoms where they were: any cell but a rectangular one starts as another structure. And without "ttime" in
# ase_md_kwargs there is no thermostat: "nvt" runs at constant energy. Seen: hexagonal argon has +460 eV in its first
# frame instead of -2.1; a cubic crystal that is to be held at 40 K goes on at 15 K, with its total energy constant
# to 0.1 meV. Neither is said; Langevin dynamics is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q atomate2==0.1.5 ase==3.29.0 pymatgen==2026.10.24 pymatgen-core==2026.10.16 emmet-core==0.87.3 \
    pydantic==2.14.4 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read
from atomate2.ase.md import LennardJonesMDMaker
from pymatgen.io.ase import AseAtomsAdaptor

ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 6.0}


def run(atoms, dynamics, **settings):
    maker = LennardJonesMDMaker(ensemble="nvt", dynamics=dynamics, temperature=40, mb_velocity_seed=1,
                                calculator_kwargs=ARGON, traj_file="run.traj", traj_file_fmt="ase", **settings)
    maker.run_ase(AseAtomsAdaptor.get_structure(atoms))
    return read("run.traj", ":")


hexagonal = bulk("Ar", "hcp", a=3.8, c=6.2).repeat((3, 3, 2))
hexagonal.calc = LennardJones(**ARGON)
cubic = bulk("Ar", "fcc", a=5.4, cubic=True).repeat(2)
print(f"hexagonal: {hexagonal.get_potential_energy():.2f} eV")
for dynamics in ("langevin", "nose-hoover"):
    [first, *_] = run(hexagonal, dynamics, n_steps=1, time_step=0.001, traj_interval=1)
    later = run(cubic, dynamics, n_steps=400, time_step=10, traj_interval=10)
    kelvin = np.mean([atoms.get_temperature() for atoms in later[20:]])
    change_meV = 1000 * np.ptp([atoms.get_total_energy() for atoms in later])
    print(f"{dynamics}: first frame {first.get_potential_energy():.2f} eV; cubic at 40 K: {kelvin:.0f} K, energy within {change_meV:.1f} meV")
    right = abs(first.get_potential_energy() - hexagonal.get_potential_energy()) < 0.01, abs(kelvin - 40) < 10, change_meV > 50
    assert right == ((True,) * 3 if dynamics == "langevin" else (False,) * 3), "the behaviour has changed"
PY
