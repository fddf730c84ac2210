"""Local structure of liquid and amorphous cells: bonds, tetrahedra, Peierls-like distortion, squares.

Bonds end at the first minimum of the partial g(r). Tetrahedral order is q = 1 − 3/8 Σ (1/3 + cos θ)² over the six pairs
of four neighbours (Errington and Debenedetti, Nature 409, 318, 2001); 1 for a tetrahedron, 5/8 for a plane square.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.averages import BlockMean, Mean
from gst_jobflow.analysis.distributions import Pair, RadialDistribution
from gst_jobflow.analysis.neighbours import CellGrid, cell_grid, elements_of, kinds_of
from gst_jobflow.base.errors import DataError, InputError

TETRAHEDRAL_Q = 0.8
STRAIGHT_DEG = 155.0
ALTBC_REACH_A = 4.0
ANGLE_BIN_DEG = 2.0
ALTBC_BIN_A = 0.05
LARGEST_RING = 8
_SMOOTH_A = 0.1
_LEAST_PEAK, _SHORTEST_A = 0.3, 2.0
_ANGLE_BINS = round(180.0 / ANGLE_BIN_DEG)
_ALTBC_BINS = round((ALTBC_REACH_A - _SHORTEST_A) / ALTBC_BIN_A)


@dataclass(frozen=True)
class Motifs:
    """Local structure of one configuration; shares are NaN where nothing could have been counted.

    Attributes
    ----------
    coordination
        Mean number of bonded neighbours by (element, neighbour).
    homopolar_share
        Share of the bonds that join two cations or two anions.
    tetrahedral_share
        By element: share of its atoms that have four bonds and q > 0.8.
    q4
        By element: q of its four-fold atoms, shape (k,).
    angle_deg, angle_density
        Centres of the bins (b,) and, by central element, the density of bond angles, 1/degree.
    altbc_A, altbc
        Edges (e,) and density (e − 1, e − 1) in 1/Å² of the lengths of two distances that lie straight (155° or more).
    bond_length_ratio
        Mean of longer over shorter of these.
    squares_per_atom
        Four-rings of alternating cations and anions (ABAB), with no condition on their angles.
    ring_share
        Share of the pairs of bonds at an atom whose shortest ring has so many atoms; 0 for larger or none. The
        ring is the shortest path between the two neighbours that avoids the atom (King, Nature 213, 1112, 1967).
    density_per_A3
        Number of atoms over the volume of the cell.
    """

    coordination: dict[Pair, float]
    homopolar_share: float
    tetrahedral_share: dict[str, float]
    q4: dict[str, NDArray]
    angle_deg: NDArray
    angle_density: dict[str, NDArray]
    altbc_A: NDArray
    altbc: NDArray
    bond_length_ratio: float
    squares_per_atom: float
    ring_share: dict[int, float]
    density_per_A3: float

    @property
    def numbers(self) -> dict[str, float]:
        """All single numbers by name, as in tables."""
        return {
            **{f"coordination_{a}_{b}": value for (a, b), value in self.coordination.items()},
            **{f"tetrahedral_{element}": share for element, share in self.tetrahedral_share.items()},
            **{f"ring_share_{size}": share for size, share in self.ring_share.items()},
            "homopolar_share": self.homopolar_share,
            "bond_length_ratio": self.bond_length_ratio,
            "squares_per_atom": self.squares_per_atom,
            "density_per_A3": self.density_per_A3,
        }

    @property
    def distributions(self) -> dict[str, NDArray]:
        """Densities by name: of bond angles by central element, and of the lengths of straight pairs."""
        return {**{f"angles_{element}": each for element, each in self.angle_density.items()}, "altbc": self.altbc}


def first_minima(rdf: RadialDistribution, longest_A: float = 4.2) -> dict[Pair, float]:
    """Return the first minimum of each partial g(r) in Å; NaN where there is none, or none up to `longest_A`.

    g(r) is smoothed by a Gaussian of 0.1 Å. The first peak lies beyond 2 Å and rises by at least 0.3; its minimum is
    the lowest point before the next one. Average g(r) over enough frames that its noise stays below 0.3.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    step = float(rdf.r_A[1] - rdf.r_A[0])
    found = {}
    for pair, g in rdf.partial.items():
        smooth = gaussian_filter1d(g, _SMOOTH_A / step)
        peaks = find_peaks(smooth, prominence=_LEAST_PEAK)[0]
        peaks = peaks[rdf.r_A[peaks] > _SHORTEST_A]
        found[pair] = float("nan")
        if len(peaks):
            end = peaks[1] if len(peaks) > 1 else len(smooth)
            # where g is flat, as between the shells of a crystal, the middle of the lowest part
            between = smooth[peaks[0] : end]
            lowest = np.flatnonzero(between <= between.min() + 1e-6)
            place = float(rdf.r_A[peaks[0] + int(np.median(lowest))])
            found[pair] = place if place <= longest_A else float("nan")
    return found


def motifs(
    atoms: Atoms,
    cutoffs_A: Mapping[Pair, float],
    anions: tuple[str, ...] = ("Te",),
    largest_ring: int = LARGEST_RING,
) -> Motifs:
    """Return the local structure of a configuration; images along periodic axes count.

    Parameters
    ----------
    cutoffs_A
        Longest bond by pair of elements in alphabetical order, e.g. from `first_minima`; NaN for pairs without
        bonds.
    anions
        Elements of the anion sublattice; bonds within it or among the others are homopolar.
    largest_ring
        Rings are looked for up to this size, which takes most of the time; 0 for none.

    Raises
    ------
    InputError
        A pair has no cutoff.
    DataError
        A position is not finite.
    """
    from gst_jobflow.analysis.kernels import count_squares, find_bonds

    elements = elements_of(atoms)
    longest = _longest_bonds(elements, cutoffs_A)
    kinds = kinds_of(atoms, elements)
    is_anion = np.isin(elements, anions)[kinds]
    grid = cell_grid(atoms, max(ALTBC_REACH_A, float(longest.max())))
    bonds = _Bonds(*find_bonds(grid, kinds[grid.owners], longest, np.linalg.inv(np.asarray(atoms.cell))))
    angle_density, q4 = _angles(bonds, kinds, elements)
    altbc, ratio = _straight(grid)
    return Motifs(
        coordination=_coordination(bonds, kinds, elements),
        homopolar_share=_homopolar(bonds, is_anion),
        tetrahedral_share={e: (q4[e] > TETRAHEDRAL_Q).sum() / (kinds == i).sum() for i, e in enumerate(elements)},
        q4=q4,
        angle_deg=(np.arange(_ANGLE_BINS) + 0.5) * ANGLE_BIN_DEG,
        angle_density=angle_density,
        altbc_A=np.linspace(_SHORTEST_A, ALTBC_REACH_A, _ALTBC_BINS + 1),
        altbc=altbc,
        bond_length_ratio=ratio,
        squares_per_atom=count_squares(bonds.start, bonds.other, bonds.image, is_anion) / len(is_anion),
        ring_share=_rings(bonds, largest_ring) if largest_ring else {},
        density_per_A3=len(atoms) / float(atoms.cell.volume),
    )


class _Bonds(NamedTuple):
    """First bond of each atom, shape (n + 1,); by bond the other atom, its image (b, 3) and the vector to it (b, 3)."""

    start: NDArray
    other: NDArray
    image: NDArray
    vector: NDArray

    @property
    def first(self) -> NDArray:
        """The atom that each bond starts from."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


def _longest_bonds(elements: list[str], cutoffs_A: Mapping[Pair, float]) -> NDArray:
    """Return the longest bond by kind and kind, 0 for none."""
    missing = [f"{a}-{b}" for a in elements for b in elements if a <= b and (a, b) not in cutoffs_A]
    if missing:
        raise InputError(f"no bond cutoff of {', '.join(missing)}", "give one of each pair, in alphabetical order")
    return np.nan_to_num(np.array([[cutoffs_A[min(a, b), max(a, b)] for b in elements] for a in elements]))


def _coordination(bonds: _Bonds, kinds: NDArray, elements: list[str]) -> dict[Pair, float]:
    n = len(elements)
    number = np.bincount(kinds[bonds.first] * n + kinds[bonds.other], minlength=n * n).reshape(n, n)
    each = number / np.bincount(kinds, minlength=n)[:, None]
    return {(a, b): float(each[i, j]) for i, a in enumerate(elements) for j, b in enumerate(elements)}


def _homopolar(bonds: _Bonds, is_anion: NDArray) -> float:
    alike = is_anion[bonds.first] == is_anion[bonds.other]
    return float(alike.mean()) if len(alike) else float("nan")


def _angles(bonds: _Bonds, kinds: NDArray, elements: list[str]) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Return the density of bond angles and q of the four-fold atoms, by central element."""
    from gst_jobflow.analysis.kernels import bond_angles

    counts, order = np.zeros((len(elements), _ANGLE_BINS), dtype=np.int64), np.full(len(kinds), np.nan)
    bond_angles(bonds.start, bonds.vector, kinds, counts, order)
    total = counts.sum(axis=1, keepdims=True) * ANGLE_BIN_DEG
    density = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    q4 = {e: order[np.isfinite(order) & (kinds == i)] for i, e in enumerate(elements)}
    return dict(zip(elements, density, strict=True)), q4


def _straight(grid: CellGrid) -> tuple[NDArray, float]:
    """Return the density of the lengths of straight pairs, and the mean of longer over shorter."""
    from gst_jobflow.analysis.kernels import straight_triples

    counts = np.zeros((_ALTBC_BINS, _ALTBC_BINS), dtype=np.int64)
    ratios, number = straight_triples(grid, ALTBC_REACH_A, np.cos(np.radians(STRAIGHT_DEG)), _SHORTEST_A, counts)
    total = counts.sum() * ALTBC_BIN_A**2
    return counts / total if total else counts.astype(float), ratios / number if number else float("nan")


def _rings(bonds: _Bonds, largest: int) -> dict[int, float]:
    from gst_jobflow.analysis.kernels import shortest_rings

    counts = np.zeros(largest + 1, dtype=np.int64)
    shortest_rings(bonds.start, bonds.other, bonds.image, counts)
    total = counts.sum()
    return {size: float(counts[size] / total) if total else float("nan") for size in (0, *range(3, largest + 1))}


def mean_motifs(
    frames: Iterable[Atoms], cutoffs_A: Mapping[Pair, float], anions: tuple[str, ...] = ("Te",)
) -> dict[str, Mean]:
    """Return the `numbers` and `distributions` of `motifs` averaged over frames, which are taken one by one.

    Parameters and errors are those of `motifs`; no frame is an InputError, a frame with other elements than the first a
    DataError. Errors of the means are by blocks of frames; a frame that cannot tell a number (an element without bond
    angles) is left out of it.
    """
    sums: dict[str, BlockMean] = {}
    for atoms in frames:
        found = motifs(atoms, cutoffs_A, anions)
        values: dict[str, float | NDArray] = {**found.numbers, **found.distributions}
        sums = sums or {name: BlockMean() for name in values}
        if values.keys() != sums.keys():
            raise DataError("a frame has other elements than the first", "average frames of one composition")
        for name, value in values.items():
            sums[name].add(value)
    if not sums:
        raise InputError("there is no frame to average", "check the dump interval")
    return {name: each.mean() for name, each in sums.items()}
