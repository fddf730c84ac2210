#!/usr/bin/env bash
# ASE 3.29.0 reads a CIF of rock-salt GST with (Ge0.4 Sb0.4 vacancy0.2) on the cation site as
# fully occupied by one of the two elements: SbTe, no vacancy, no germanium, 8 atoms where the
# file means 7.2, and no warning. The occupancies lie in atoms.info only. pymatgen 2026.10.24
# wrote the file and reads Ge1.6 Sb1.6 Te4 from it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import warnings

from ase.io import read
from pymatgen.core import Lattice, Structure

gst = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.0), [{"Ge": 0.4, "Sb": 0.4}, "Te"], [[0, 0, 0], [0.5] * 3])
gst.to(filename="gst.cif")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    atoms = read("gst.cif")
back = Structure.from_file("gst.cif")
print("pymatgen", back.composition, "density", round(float(back.density), 2))
density = atoms.get_masses().sum() / atoms.get_volume() * 1.66054
print("ASE", atoms.get_chemical_formula(), "density", round(density, 2), "warnings:", [str(w.message) for w in said])
assert len(set(atoms.symbols)) == 2 and len(atoms) == 8 and not said, "the behaviour has changed"
assert density > 1.15 * float(back.density)
PY
