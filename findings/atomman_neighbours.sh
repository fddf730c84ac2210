#!/usr/bin/env bash
# atomman 1.5.4: neighborlist counts one image of a neighbour at most, and misses neighbours in skewed cells even where they
# are large. Seen with a cutoff of 4.5 A in rock-salt GeTe: 6 of 18 neighbours in the conventional cell; and in 8 x 8 x 8
# primitive cells with small displacements, whose faces are six cutoffs apart, one or two too few for 51 of 1024
# atoms. Nothing is said. ASE 3.29.0 finds all, and 4 x 4 x 4 conventional cells are right in both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q atomman==1.5.4 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import atomman
import numpy as np
from ase.build import bulk
from ase.neighborlist import neighbor_list

wrong = {}
for name, cubic, repeat in (("conventional cell", True, 1), ("8x8x8 primitive", False, 8), ("4x4x4 conventional", True, 4)):
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=cubic).repeat(repeat)
    atoms.rattle(0.02, seed=1)
    atoms.translate([0.7, 0.3, 0.4])
    atoms.wrap()
    right = np.bincount(neighbor_list("i", atoms, 4.5))
    missing = right - atomman.load("ase_Atoms", atoms).neighborlist(cutoff=4.5).coord
    wrong[name] = int((missing != 0).sum())
    print(f"{name}: {right.min()} to {right.max()} neighbours; {wrong[name]} of {len(atoms)} atoms lack up to {missing.max()}")
assert wrong["4x4x4 conventional"] == 0
assert wrong["conventional cell"] == 8, "images are counted now"
assert wrong["8x8x8 primitive"] > 20, "skewed cells are right now"
PY
