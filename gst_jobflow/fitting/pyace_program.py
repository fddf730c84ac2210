"""Express atoms in an active set by pyace, in the Python that has pacemaker's package; imports nothing of this project.

`python pyace_program.py project POTENTIAL.yaml ACTIVE.asi IN.npz OUT.npz`
`python pyace_program.py grade POTENTIAL.yaml ACTIVE.asi TRAIN.pckl.gzip OUT.json THREADS`
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
from pyace.activelearning import compute_B_projections

STRUCTURES_AT_A_TIME = 20


@cache
def load(potential: str, active_set: str) -> tuple[ACEBBasisSet, dict[str, np.ndarray], bool]:
    """Read the basis and the inverse of the active set by element, once in each process.

    The last value says whether the active set is of all parameters of the functions.
    """
    basis = ACEBBasisSet(potential)
    with np.load(active_set) as arrays:
        inverse = {name: arrays[name] for name in arrays.files}
    n_linear = [len(first) + len(more) for first, more in zip(basis.basis_rank1, basis.basis, strict=True)]
    return basis, inverse, any(len(inverse[name]) != n_linear[k] for name, k in basis.elements_to_index_map.items())


def active_set_rows(
    structures: list[Atoms], potential: str, active_set: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by element the coordinates of its atoms in the active set, and the place of each atom's structure.

    Coordinates (n_atoms_of_element, n_functions) are projections times the inverse of the active set: the largest
    absolute value of a row is the atom's extrapolation grade.
    """
    basis, inverse, full = load(potential, active_set)
    places = list(range(len(structures)))
    projections, owners = compute_B_projections(
        basis, structures, structure_ind_list=places, is_full=full, verbose=False
    )
    return {
        name: (np.reshape(projections[k], (-1, len(inverse[name]))) @ inverse[name], owners[k])
        for name, k in basis.elements_to_index_map.items()
    }


def grades(structures: list[Atoms], potential: str, active_set: str) -> np.ndarray:
    """Return the extrapolation grade of every atom, in no particular order."""
    rows = active_set_rows(structures, potential, active_set).values()
    return np.concatenate([np.abs(each).max(axis=1, initial=0.0) for each, _ in rows])


def project(potential: str, active_set: str, source: str, target: str) -> None:
    """Read `numbers`, `positions`, `cells`, `n_atoms`; write `rows_EL` and `structure_EL`, as of `active_set_rows`."""
    with np.load(source, allow_pickle=False) as stored:
        given = {name: stored[name] for name in stored.files}
    ends = np.cumsum(given["n_atoms"])
    structures = [
        Atoms(given["numbers"][end - count : end], positions=given["positions"][end - count : end], cell=cell, pbc=True)
        for end, count, cell in zip(ends, given["n_atoms"], given["cells"], strict=True)
    ]
    found = active_set_rows(structures, potential, active_set)
    arrays: dict[str, Any] = {f"rows_{name}": rows for name, (rows, _) in found.items()}
    np.savez(target, **arrays | {f"structure_{name}": owners for name, (_, owners) in found.items()})


def grade_training_file(potential: str, active_set: str, training_set: str, target: str, threads: str) -> None:
    """Write the largest grade, the share of atoms above 1, and the number of atoms."""
    structures = pd.read_pickle(training_set, compression="gzip")["ase_atoms"].to_list()
    parts = [structures[k : k + STRUCTURES_AT_A_TIME] for k in range(0, len(structures), STRUCTURES_AT_A_TIME)]
    with ProcessPoolExecutor(int(threads)) as pool:
        gamma = np.concatenate(list(pool.map(partial(grades, potential=potential, active_set=active_set), parts)))
    # MaxVol ends within a tolerance of 1 %
    found = {"max_gamma": gamma.max(), "share_above_1": np.mean(gamma > 1.01), "n_atoms": len(gamma)}
    Path(target).write_text(json.dumps({name: float(value) for name, value in found.items()}))


if __name__ == "__main__":
    programs: dict[str, Any] = {"project": project, "grade": grade_training_file}
    programs[sys.argv[1]](*sys.argv[2:])
