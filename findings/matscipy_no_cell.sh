#!/usr/bin/env bash
# matscipy 1.3.1: neighbour_list of a cluster or of a slab whose cell vector along the open axis
# is zero, as ASE makes them, is refused with "LinAlgError: Singular matrix"; ASE 3.29.0's
# function of the same signature answers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q matscipy==1.3.1 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from matscipy.neighbours import neighbour_list

cluster = Atoms("Te2", [[0, 0, 0], [0, 0, 2.8]])
slab = Atoms("Te2", [[0, 0, 0], [0, 0, 2.8]], cell=[6, 6, 0], pbc=[True, True, False])
errors = []
for name, atoms in (("slab", slab), ("cluster", cluster)):
    print(name, "ASE:", len(neighbor_list("i", atoms, 3.0)), "neighbours")
    try:
        print(name, "matscipy:", len(neighbour_list("i", atoms, 3.0)))
    except np.linalg.LinAlgError as exc:
        print(name, "matscipy: LinAlgError", exc)
        errors.append(name)
assert "slab" in errors, "the behaviour has changed"
PY
