#!/usr/bin/env bash
# pacemaker (python-ace 0.4.0rc1): EnergyBasedWeightingPolicy takes energies above the convex hull of the compositions unless
# told otherwise. Compounds that lie on one line, as all of GeTe-Sb2Te3 do, have no hull in the triangle of three elements, and
# the fit ends with QhullError: "Initial simplex is flat". One composition alone works, so do four with some tellurium,
# and "energy: cohesive" works for all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q python-ace==0.4.0rc1 ase==3.29.0 pandas==2.3.3 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import contextlib
import logging
import os

import numpy as np
import pandas as pd
from ase import Atoms
from pyace.preparedata import EnergyBasedWeightingPolicy

logging.disable(logging.WARNING)


def table(compounds):
    random, rows = np.random.default_rng(1), []
    for atoms in (Atoms(compound, cell=[9, 9, 9], pbc=True) for compound in compounds for _ in range(5)):
        row = {"ase_atoms": atoms, "NUMBER_OF_ATOMS": len(atoms), "pbc": True, "forces": random.normal(size=(len(atoms), 3))}
        rows.append(row | {"energy_corrected_per_atom": -3 + 0.5 * random.random()})
    return pd.DataFrame(rows)


LINE = ["GeTe", "Ge2Sb2Te5", "GeSb2Te4", "Sb2Te3"]
seen = {}
for compounds, energy in ((LINE, "convex_hull"), (LINE, "cohesive"), ([*LINE, "Te"], "convex_hull"), (LINE[1:2], "convex_hull")):
    try:
        with contextlib.redirect_stdout(open(os.devnull, "w")):
            said = f"{len(EnergyBasedWeightingPolicy(energy=energy).generate_weights(table(compounds)))} weights"
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seen[len(compounds), energy] = said
for (count, energy), said in seen.items():
    print(f"{count} compositions, energy: {energy}: {said}")
assert seen[4, "convex_hull"].startswith("QhullError") and "flat" in seen[4, "convex_hull"], "a line has a hull now"
assert seen[4, "cohesive"] == "20 weights" and seen[5, "convex_hull"] == "25 weights" and seen[1, "convex_hull"] == "5 weights"
PY
