#!/usr/bin/env bash
# A .res file of random structure search (AIRSS) has pressure, volume and enthalpy in its title. ASE 3.29.0 returns that
# number as potential energy, and pymatgen 2026.10.24 (ResIO) as the energy of its entry. A search at 25 GPa has PV = 3.9
# eV/atom in it: energies of a set for training, or of a hull at zero pressure, are wrong by that, and differently for each
# volume. Neither warns. Seen: -3.2 eV for a cell whose energy is -11.0 eV.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from pathlib import Path

from ase import units
from ase.io import read
from pymatgen.io.res import ResIO

PRESSURE_GPA, VOLUME_A3, ENTHALPY_EV = 25.0, 50.0, -3.2
Path("search.res").write_text(f"""TITL GeTe-1-abc {PRESSURE_GPA} {VOLUME_A3} {ENTHALPY_EV} 0.0 0.0 2 (Fm-3m) n - 1
CELL 1.54180 4.13519 4.13519 4.13519 60.0 60.0 60.0
LATT -1
SFAC Ge Te
Ge 1 0.0 0.0 0.0 1.0
Te 2 0.5 0.5 0.5 1.0
END
""")
atoms = read("search.res")
entry = ResIO.entry_from_file("search.res")
energy = ENTHALPY_EV - PRESSURE_GPA * units.GPa * VOLUME_A3
print(f"enthalpy {ENTHALPY_EV} eV, PV {ENTHALPY_EV - energy:.2f} eV, energy {energy:.2f} eV")
print(f"ASE get_potential_energy(): {atoms.get_potential_energy()} eV; pymatgen entry.energy: {entry.energy} eV")
assert abs(atoms.get_volume() - VOLUME_A3) < 0.01 and energy < -10.9
assert atoms.get_potential_energy() == ENTHALPY_EV, "ASE subtracts PV, or has no energy"
assert entry.energy == ENTHALPY_EV, "pymatgen subtracts PV"
PY
