#!/usr/bin/env bash
# tblite 0.8.0 through ASE: a cell periodic along some axes only is computed as periodic along all
# three, without a word. Seen for rock-salt GeTe, GFN1-xTB: pbc T T T, T T F and T F F give one
# energy to the last digit, also where the images of a slab touch; only F F F differs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q tblite==0.8.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.build import bulk
from tblite.ase import TBLite

energies = {}
for pbc in ((True, True, True), (True, True, False), (True, False, False), (False, False, False)):
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.pbc = pbc
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    energies[pbc] = atoms.get_potential_energy()
    print(*["FT"[p] for p in pbc], f"{energies[pbc]:.6f} eV")
full, slab, chain, free = energies.values()
assert abs(full - slab) < 1e-6 and abs(full - chain) < 1e-6 and abs(full - free) > 1, "the behaviour has changed"
PY
