"""Express atoms in an active set with pyace: `python projections_program.py POTENTIAL.yaml ACTIVE.asi IN.npz OUT.npz`.

Runs in the Python that has pacemaker's package and imports nothing of this project.
"""

from __future__ import annotations

import sys

import numpy as np
from ase import Atoms
from pyace import ACEBBasisSet
from pyace.activelearning import compute_B_projections


def main(potential: str, active_set: str, source: str, target: str) -> None:
    """Read `numbers`, `positions`, `cells`, `n_atoms`; write for each element its atoms' coordinates.

    `rows_EL` (n_atoms_of_EL, n_functions_of_EL) are the projections times the inverse of the active set: the largest
    absolute value of a row is the atom's extrapolation grade. `structure_EL` (n_atoms_of_EL,) says whose atoms.
    """
    with np.load(source, allow_pickle=False) as arrays:
        given = {name: arrays[name] for name in arrays.files}
    with np.load(active_set) as arrays:
        inverse = {name: arrays[name] for name in arrays.files}
    basis = ACEBBasisSet(potential)
    ends = np.cumsum(given["n_atoms"])
    structures = [
        Atoms(given["numbers"][end - count : end], positions=given["positions"][end - count : end], cell=cell, pbc=True)
        for end, count, cell in zip(ends, given["n_atoms"], given["cells"], strict=True)
    ]
    places = list(range(len(structures)))
    rows = {}
    # an active set is of the functions, or of all their parameters
    n_linear = [len(first) + len(more) for first, more in zip(basis.basis_rank1, basis.basis, strict=True)]
    full = any(len(inverse[name]) != n_linear[kind] for name, kind in basis.elements_to_index_map.items())
    projections, owners = compute_B_projections(basis, structures, structure_ind_list=places, is_full=full)
    for name, kind in basis.elements_to_index_map.items():
        rows[f"rows_{name}"] = projections[kind] @ inverse[name]
        rows[f"structure_{name}"] = owners[kind]
    np.savez(target, **rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
