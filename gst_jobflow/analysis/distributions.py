"""Radial distribution functions, total and by pair of elements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.averages import BlockMean
from gst_jobflow.analysis.neighbours import cell_grid, elements_of, kinds_of
from gst_jobflow.base.errors import DataError, InputError

Pair = tuple[str, str]


@dataclass(frozen=True)
class RadialDistribution:
    """Mean of g(r) over frames, at the centres `r_A` of bins, all of shape (bins,).

    `total` is that of all pairs; 1 for uncorrelated atoms. `partial` is by pair of elements in alphabetical order, e.g.
    ``("Sb", "Te")``, and `error` the standard error of each, by blocks of frames; NaN for fewer than ten frames.
    """

    r_A: NDArray
    total: NDArray
    partial: dict[Pair, NDArray]
    error: dict[Pair, NDArray]


def radial_distribution(frames: Iterable[Atoms], cutoff_A: float = 10.0, bin_A: float = 0.05) -> RadialDistribution:
    """Return the radial distribution functions averaged over frames of the same elements, which are taken one by one.

    Periodic images count, so `cutoff_A`, the range of the bins of width `bin_A`, may exceed half a cell.

    Raises
    ------
    InputError
        There is no frame, or the bins do not fit the range.
    DataError
        A position is not finite, or a frame has other elements than the first.
    """
    if not 0 < bin_A < cutoff_A:
        raise InputError(f"bins of {bin_A} Å do not fit a range of {cutoff_A} Å", "0 < bin_A < cutoff_A")
    edges = np.linspace(0.0, cutoff_A, round(cutoff_A / bin_A) + 1)
    elements: list[str] = []
    total, partial = BlockMean(), BlockMean()
    for atoms in frames:
        own = elements_of(atoms)
        elements = elements or own
        if own != elements:
            raise DataError(
                f"a frame has {', '.join(own)}, the first {', '.join(elements)}", "average frames of one composition"
            )
        of_all, of_pairs = _one_frame(atoms, elements, edges)
        total.add(of_all)
        partial.add(of_pairs)
    if not elements:
        raise InputError("there is no frame to take the distribution of", "check the dump interval")
    pairs, mean = list(combinations_with_replacement(range(len(elements)), 2)), partial.mean()
    value, error = ({(elements[a], elements[b]): each[a, b] for a, b in pairs} for each in (mean.value, mean.error))
    return RadialDistribution(0.5 * (edges[1:] + edges[:-1]), total.mean().value, value, error)


def _one_frame(atoms: Atoms, elements: list[str], edges: NDArray) -> tuple[NDArray, NDArray]:
    """Return g(r) of all pairs (bins,) and by elements (elements, elements, bins)."""
    from gst_jobflow.analysis.kernels import pair_histogram

    grid, kinds = cell_grid(atoms, float(edges[-1])), kinds_of(atoms, elements)
    # ordered pairs: each a-b pair is found once from a
    counts = np.zeros((len(elements), len(elements), len(edges) - 1), dtype=np.int64)
    pair_histogram(grid, kinds[grid.owners], float(edges[-1]), counts)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3) / atoms.cell.volume
    number = np.bincount(kinds, minlength=len(elements)).astype(float)
    return counts.sum(axis=(0, 1)) / (shells * len(atoms) ** 2), counts / (shells * np.outer(number, number)[..., None])
