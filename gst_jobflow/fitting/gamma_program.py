"""Grade a training set by pyace: `python gamma_program.py POTENTIAL.yaml ACTIVE.asi TRAIN.pckl.gzip OUT.json THREADS`.

Runs in the Python that has pacemaker's package and imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from pyace import ACEBBasisSet
from pyace.activelearning import compute_B_projections, compute_extrapolation_grade

STRUCTURES_AT_A_TIME = 20


@cache
def load(potential: str, active_set: str) -> tuple[ACEBBasisSet, dict[int, Any]]:
    """Read the basis and the inverse of the active set by index of the element, once in each process."""
    basis = ACEBBasisSet(potential)
    with np.load(active_set) as arrays:
        return basis, {basis.elements_to_index_map[name]: arrays[name] for name in arrays.files}


def grades(structures: list[Atoms], potential: str, active_set: str) -> np.ndarray:
    """Return the extrapolation grade of every atom, in no particular order."""
    basis, inverse = load(potential, active_set)
    projections = compute_B_projections(basis, structures, verbose=False)
    present = {kind: rows for kind, rows in projections.items() if len(rows)}
    return np.concatenate(list(compute_extrapolation_grade(present, inverse).values()))


def main(potential: str, active_set: str, training_set: str, target: str, threads: str) -> None:
    """Write the largest grade, the share of atoms above 1, and the number of atoms."""
    structures = pd.read_pickle(training_set, compression="gzip")["ase_atoms"].to_list()
    parts = [structures[k : k + STRUCTURES_AT_A_TIME] for k in range(0, len(structures), STRUCTURES_AT_A_TIME)]
    with ProcessPoolExecutor(int(threads)) as pool:
        gamma = np.concatenate(list(pool.map(partial(grades, potential=potential, active_set=active_set), parts)))
    # MaxVol ends within a tolerance of 1 %
    found = {"max_gamma": gamma.max(), "share_above_1": np.mean(gamma > 1.01), "n_atoms": len(gamma)}
    Path(target).write_text(json.dumps({name: float(value) for name, value in found.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
