"""Greedy D-optimality: choose structures whose atoms extend the span of an active set most."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

Rows = Mapping[str, np.ndarray]


def most_informative(structures: Sequence[Rows], number: int) -> list[tuple[int, float]]:
    """Choose up to `number` structures, the most informative first.

    The information is, for each element, the determinant of 1 + Σ c cᵀ over all chosen atoms, with coordinates c in
    which the active set is the unit matrix. Its logarithm is submodular, so earlier gains are upper bounds and few are
    computed again (lazy greedy; Minoux 1978).

    Parameters
    ----------
    structures
        Coordinates of each by element, shape (n_atoms_of_element, n_functions_of_element).

    Returns
    -------
    list
        Places and gains in the logarithm of the determinant, in the order of choice; gains fall.
    """
    inverse: dict[str, np.ndarray] = {}
    for rows in structures:
        for element, block in rows.items():
            inverse.setdefault(element, np.eye(block.shape[1]))
    # largest gain first, then lowest place
    heap = [(-_gain(inverse, rows), place) for place, rows in enumerate(structures)]
    heapq.heapify(heap)
    chosen: list[tuple[int, float]] = []
    while heap and len(chosen) < number:
        _, place = heapq.heappop(heap)
        gain = _gain(inverse, structures[place])
        if heap and (-gain, place) > heap[0]:
            heapq.heappush(heap, (-gain, place))
            continue
        chosen.append((place, gain))
        _take(inverse, structures[place])
    return chosen


def _gain(inverse: Mapping[str, np.ndarray], rows: Rows) -> float:
    """Return the gain log det(1 + C M⁻¹ Cᵀ), summed over elements."""
    return sum(
        float(np.linalg.slogdet(np.eye(len(block)) + block @ inverse[element] @ block.T)[1])
        for element, block in rows.items()
        if len(block)
    )


def _take(inverse: dict[str, np.ndarray], rows: Rows) -> None:
    """Add the atoms of a structure to the matrices (Woodbury)."""
    for element, block in rows.items():
        if len(block):
            half = block @ inverse[element]
            new = inverse[element] - half.T @ np.linalg.solve(np.eye(len(block)) + half @ block.T, half)
            inverse[element] = (new + new.T) / 2
