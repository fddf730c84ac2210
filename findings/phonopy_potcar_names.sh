#!/usr/bin/env bash
# phonopy 4.10.0: where the species line of a POSCAR names POTCARs as VASP 6.4 does in a CONTCAR
# (Te/3f2a..., Ge_d) the names are dropped and the species become H and He, masses included,
# without an error. ASE 3.29.0 and pymatgen 2026.10.24 read tellurium and germanium.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q phonopy==4.10.0 ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.io import read
from phonopy.interface.vasp import read_vasp
from pymatgen.io.vasp import Poscar

open("CONTCAR", "w").write("GeTe\n1.0\n6 0 0\n0 6 0\n0 0 6\nTe/3f2a91c0 Ge_d/77b0e1d4\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
phonopy = read_vasp("CONTCAR")
ase = list(read("CONTCAR", format="vasp").symbols)
pymatgen = [str(s) for s in Poscar.from_file("CONTCAR").structure.species]
print("ASE", ase, "pymatgen", pymatgen, "phonopy", list(phonopy.symbols), "masses", list(phonopy.masses))
assert ase == pymatgen == ["Te", "Ge"] and list(phonopy.symbols) == ["H", "He"], "the behaviour has changed"
PY
