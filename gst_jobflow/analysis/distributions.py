"""Radial distribution functions, total and by pair of elements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RadialDistribution:
    """Mean of g(r) over frames.

    Attributes
    ----------
    r_A
        Shape (bins,), centres of the bins in Å.
    total
        Shape (bins,), g(r) over all pairs; 1 for uncorrelated atoms.
    partial
        g(r) by pair of elements in alphabetical order, e.g. ``("Sb", "Te")``.
    """

    r_A: NDArray
    total: NDArray
    partial: dict[tuple[str, str], NDArray]


def radial_distribution(frames: Iterable[Atoms], cutoff_A: float = 10.0, bin_A: float = 0.05) -> RadialDistribution:
    """Return the radial distribution functions averaged over frames of the same composition.

    Parameters
    ----------
    frames
        Periodic configurations; they are taken one by one. Periodic images count, so the cutoff may exceed half a cell.
    cutoff_A, bin_A
        Range and width of the bins.

    Raises
    ------
    InputError
        If there is no frame, or the bins do not fit the range.
    """
    if not 0 < bin_A < cutoff_A:
        raise InputError(f"bins of {bin_A} Å do not fit a range of {cutoff_A} Å", "0 < bin_A < cutoff_A")
    n_bins = round(cutoff_A / bin_A)
    edges = np.linspace(0.0, cutoff_A, n_bins + 1)
    sums: dict[tuple[str, str], NDArray] = {}
    total, count = np.zeros(n_bins), 0
    for atoms in frames:
        frame_total, frame_partial = _one_frame(atoms, edges)
        total += frame_total
        for pair, values in frame_partial.items():
            sums[pair] = sums.get(pair, 0.0) + values
        count += 1
    if not count:
        raise InputError("there is no frame to take the distribution of", "check the dump interval")
    centres = 0.5 * (edges[1:] + edges[:-1])
    return RadialDistribution(centres, total / count, {pair: values / count for pair, values in sums.items()})


def _one_frame(atoms: Atoms, edges: NDArray) -> tuple[NDArray, dict[tuple[str, str], NDArray]]:
    from matscipy.neighbours import neighbour_list

    first, second, distance = neighbour_list("ijd", atoms, float(edges[-1]))
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    symbols = np.array(atoms.get_chemical_symbols())
    n, volume = len(atoms), atoms.cell.volume
    total = np.histogram(distance, edges)[0] / (shells * n * n / volume)
    partial = {}
    for a, b in combinations_with_replacement(sorted(set(symbols)), 2):
        # ordered pairs: each a-b pair is found once from a
        counted = np.histogram(distance[(symbols[first] == a) & (symbols[second] == b)], edges)[0]
        partial[(a, b)] = counted / (shells * np.sum(symbols == a) * np.sum(symbols == b) / volume)
    return total, partial
