#!/usr/bin/env bash
# atomate2 0.1.5: the VASP input generators have the field sort_structure (true unless told
# otherwise) and never read it. A cell with mixed order of elements is written in its own order,
# and each change of element becomes a species of its own: the POSCAR of a random 20-atom cell has
# as many species blocks, and asks for as many POTCAR entries, as there are changes. pymatgen's
# own set of the same name sorts. Seen: "Te Ge Te Sb" with both values.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q atomate2==0.1.5 pymatgen==2026.10.24 pymatgen-core==2026.10.16 emmet-core==0.87.3 pydantic==2.14.4 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from atomate2.vasp.sets.core import StaticSetGenerator
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.sets import MPStaticSet

cell = Structure(Lattice.cubic(6), ["Te", "Ge", "Te", "Sb"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0]])
seen = {}
for wish in (True, False):
    made = StaticSetGenerator(sort_structure=wish).get_input_set(cell, potcar_spec=True)
    seen[wish] = made.poscar.site_symbols
    print("atomate2, sort_structure =", wish, "->", seen[wish])
peer = MPStaticSet(cell, sort_structure=True).poscar.site_symbols
print("pymatgen, sort_structure = True ->", peer)
assert seen[True] == seen[False] == ["Te", "Ge", "Te", "Sb"] and len(peer) == 3, "the behaviour has changed"
PY
