"""Choose structures that differ most: by greedy D-optimality, or as the farthest from one another."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ase import Atoms

Rows = Mapping[str, np.ndarray]
Describe = Callable[["Atoms"], np.ndarray]
"""Returns one vector for a configuration, such as the mean of its atoms' SOAP spectra."""
_MOST_DIRECTIONS = 200


def most_informative(structures: Sequence[Rows], number: int) -> list[tuple[int, float]]:
    """Choose up to `number` structures, the most informative first.

    The information is, for each element, the determinant of 1 + Σ c cᵀ over all chosen atoms, with coordinates c in
    which the active set is the unit matrix. Its logarithm is submodular, so earlier gains are upper bounds and few are
    computed again (lazy greedy; Minoux 1978).

    `structures` hold coordinates by element, shape (n_atoms_of_element, n_functions_of_element). Return places and
    gains in the logarithm of the determinant, in the order of choice; gains fall.
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


def most_diverse(structures: Sequence[Atoms], number: int, describe: Describe) -> list[int]:
    """Return the places of up to `number` structures whose descriptions differ most, by greedy D-optimality.

    Each of the directions in which descriptions differ counts alike, whatever its width.
    """
    if number >= len(structures):
        return list(range(len(structures)))
    vectors = np.array([describe(atoms) for atoms in structures])
    apart = vectors - vectors.mean(axis=0)
    _, width, directions = np.linalg.svd(apart, full_matrices=False)
    kept = width[:_MOST_DIRECTIONS] > 1e-3 * width[0]
    along = apart @ directions[:_MOST_DIRECTIONS][kept].T / (width[:_MOST_DIRECTIONS][kept] / np.sqrt(len(structures)))
    return [place for place, _ in most_informative([{"all": row[None, :]} for row in along], number)]


def farthest_points(structures: Sequence[Atoms], number: int, describe: Describe) -> list[int]:
    """Return the places of up to `number` structures, each the farthest in its description from those before it.

    The first is the farthest from the mean of all (Gonzalez 1985).
    """
    if number >= len(structures):
        return list(range(len(structures)))
    vectors = np.array([describe(atoms) for atoms in structures])
    chosen = [int(np.argmax(np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)))]
    nearest = np.linalg.norm(vectors - vectors[chosen[0]], axis=1)
    while len(chosen) < number:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
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
