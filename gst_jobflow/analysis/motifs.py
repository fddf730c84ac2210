"""Local structure of liquid and amorphous cells: bonds, tetrahedra, Peierls-like distortion, squares.

Bonds end at the first minimum of the partial g(r). Tetrahedral order is q = 1 − 3/8 Σ (1/3 + cos θ)² over the six pairs
of four neighbours (Errington and Debenedetti, Nature 409, 318, 2001); 1 for a tetrahedron, 5/8 for a plane square.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.analysis.distributions import RadialDistribution
from gst_jobflow.base.errors import DataError, InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

Pair = tuple[str, str]
TETRAHEDRAL_Q = 0.8
STRAIGHT_DEG = 155.0
ALTBC_REACH_A = 4.0
ANGLE_BIN_DEG = 2.0
ALTBC_BIN_A = 0.05
_SMOOTH_A = 0.1
_LEAST_PEAK, _SHORTEST_A = 0.3, 2.0
_CHUNK = 20_000


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
    density_per_A3: float


def first_minima(rdf: RadialDistribution, longest_A: float = 4.2) -> dict[Pair, float]:
    """Return the first minimum of each partial g(r) in Å; NaN where there is none.

    g(r) is smoothed by a Gaussian of 0.1 Å. The first peak lies beyond 2 Å and rises by at least 0.3; its minimum is
    the lowest point before the next one. Average g(r) over enough frames that its noise stays below 0.3.

    Parameters
    ----------
    longest_A
        A minimum further out does not end a bond.
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


def motifs(atoms: Atoms, cutoffs_A: Mapping[Pair, float], anions: tuple[str, ...] = ("Te",)) -> Motifs:
    """Return the local structure of a configuration.

    Parameters
    ----------
    atoms
        Configuration; images along periodic axes count.
    cutoffs_A
        Longest bond by pair of elements in alphabetical order, e.g. from `first_minima`; NaN for pairs without
        bonds.
    anions
        Elements of the anion sublattice; bonds within it or among the others are homopolar.

    Raises
    ------
    InputError
        A pair has no cutoff.
    DataError
        A position is not finite.
    """
    if not np.all(np.isfinite(atoms.positions)):
        raise DataError("positions are not finite: the configuration comes from a failed run")
    symbols = np.array(atoms.get_chemical_symbols())
    elements = [str(each) for each in sorted(set(symbols))]
    missing = [f"{a}-{b}" for a in elements for b in elements if a <= b and (a, b) not in cutoffs_A]
    if missing:
        raise InputError(f"no bond cutoff of {', '.join(missing)}", "give one of each pair, in alphabetical order")
    around = _Around.of(atoms, cutoffs_A)
    is_anion = np.isin(symbols, anions)
    alike = is_anion[around.first[around.bonded]] == is_anion[around.second[around.bonded]]
    angle_deg, angles, q4 = _angles(around, symbols, elements)
    edges, altbc, ratio = _straight(around)
    return Motifs(
        coordination=_coordination(around, symbols, elements),
        homopolar_share=float(alike.mean()) if len(alike) else float("nan"),
        tetrahedral_share={e: float((q4[e] > TETRAHEDRAL_Q).sum() / (symbols == e).sum()) for e in elements},
        q4=q4,
        angle_deg=angle_deg,
        angle_density=angles,
        altbc_A=edges,
        altbc=altbc,
        bond_length_ratio=ratio,
        squares_per_atom=_squares(atoms, cutoffs_A, is_anion),
        density_per_A3=len(atoms) / float(atoms.cell.volume),
    )


@dataclass(frozen=True)
class _Around:
    """Ordered pairs within reach, sorted by their first atom."""

    n_atoms: int
    first: NDArray
    second: NDArray
    vector: NDArray
    length: NDArray
    bonded: NDArray

    @classmethod
    def of(cls, atoms: Atoms, cutoffs_A: Mapping[Pair, float]) -> _Around:
        from ase.data import atomic_numbers
        from matscipy.neighbours import neighbour_list

        reach = max([ALTBC_REACH_A, *(r for r in cutoffs_A.values() if np.isfinite(r))])
        first, second, vector, length = neighbour_list("ijDd", atoms, reach)
        order = np.argsort(first, kind="stable")
        first, second, vector, length = (each[order] for each in (first, second, vector, length))
        longest = np.full((119, 119), -1.0)
        for (a, b), r in cutoffs_A.items():
            one, other = atomic_numbers[a], atomic_numbers[b]
            longest[one, other] = longest[other, one] = r if np.isfinite(r) else -1.0
        ends = longest[atoms.numbers[first], atoms.numbers[second]]
        return cls(len(atoms), first, second, vector, length, length < ends)

    def triples(self, chosen: NDArray) -> Iterator[tuple[NDArray, int, NDArray, NDArray, NDArray]]:
        """Yield (central atom, its number of neighbours, lengths of both, cosine) of all pairs of chosen neighbours."""
        first, vector, length = self.first[chosen], self.vector[chosen], self.length[chosen]
        counts = np.bincount(first, minlength=self.n_atoms)
        starts = np.cumsum(counts) - counts
        for number in np.unique(counts[counts > 1]):
            with_it = np.flatnonzero(counts == number)
            one, other = np.triu_indices(number, 1)
            for centres in np.array_split(with_it, max(1, len(with_it) * len(one) // (_CHUNK * 10) + 1)):
                places = starts[centres][:, None] + np.arange(number)
                unit = vector[places] / length[places][..., None]
                cosine = np.einsum("npx,npx->np", unit[:, one], unit[:, other])
                yield centres, number, length[places][:, one], length[places][:, other], np.clip(cosine, -1.0, 1.0)


def _coordination(around: _Around, symbols: NDArray, elements: list[str]) -> dict[Pair, float]:
    one, other = symbols[around.first[around.bonded]], symbols[around.second[around.bonded]]
    return {(a, b): float(np.sum((one == a) & (other == b)) / np.sum(symbols == a)) for a in elements for b in elements}


def _angles(
    around: _Around, symbols: NDArray, elements: list[str]
) -> tuple[NDArray, dict[str, NDArray], dict[str, NDArray]]:
    edges = np.arange(0.0, 180.0 + ANGLE_BIN_DEG, ANGLE_BIN_DEG)
    sums = {element: np.zeros(len(edges) - 1) for element in elements}
    order = np.full(around.n_atoms, np.nan)
    for centres, number, _, _, cosine in around.triples(around.bonded):
        if number == 4:
            order[centres] = 1.0 - 3.0 / 8.0 * np.sum((1.0 / 3.0 + cosine) ** 2, axis=1)
        for element in elements:
            chosen = np.degrees(np.arccos(cosine[symbols[centres] == element]))
            sums[element] += np.histogram(chosen, edges)[0]
    density = {e: s / (s.sum() * ANGLE_BIN_DEG) if s.sum() else np.full(len(s), np.nan) for e, s in sums.items()}
    four = np.isfinite(order)
    return 0.5 * (edges[1:] + edges[:-1]), density, {e: order[four & (symbols == e)] for e in elements}


def _straight(around: _Around) -> tuple[NDArray, NDArray, float]:
    edges = np.linspace(2.0, ALTBC_REACH_A, round((ALTBC_REACH_A - 2.0) / ALTBC_BIN_A) + 1)
    density, ratios, n = np.zeros((len(edges) - 1, len(edges) - 1)), 0.0, 0
    limit = np.cos(np.radians(STRAIGHT_DEG))
    for _, _, one, other, cosine in around.triples(around.length < ALTBC_REACH_A):
        straight = cosine <= limit
        a, b = one[straight], other[straight]
        density += np.histogram2d(a, b, (edges, edges))[0]
        ratios += float(np.sum(np.maximum(a, b) / np.minimum(a, b)))
        n += len(a)
    density = density + density.T
    total = density.sum() * ALTBC_BIN_A**2
    return edges, density / total if total else density, ratios / n if n else float("nan")


def _squares(atoms: Atoms, cutoffs_A: Mapping[Pair, float], is_anion: NDArray) -> float:
    """Count ABAB rings: each pair of cations that shares k anions closes k(k − 1)/2 of them."""
    from scipy.sparse import csr_array

    longest = max([r for r in cutoffs_A.values() if np.isfinite(r)], default=0.0)
    heights = atoms.cell.volume / np.linalg.norm(np.cross(atoms.cell[[1, 2, 0]], atoms.cell[[2, 0, 1]]), axis=1)
    # in a smaller cell an atom would meet its own image across a ring
    repeat = [
        max(1, int(np.ceil((4.0 * longest + 0.1) / h))) if p else 1 for h, p in zip(heights, atoms.pbc, strict=True)
    ]
    large, copies = atoms.repeat(repeat), int(np.prod(repeat))
    around = _Around.of(large, cutoffs_A)
    anion = np.tile(is_anion, copies)
    chosen = around.bonded & ~anion[around.first] & anion[around.second]
    shape = (len(large), len(large))
    bonds = csr_array((np.ones(int(chosen.sum())), (around.first[chosen], around.second[chosen])), shape=shape)
    shared = (bonds @ bonds.T).tocoo()
    k = shared.data[shared.row < shared.col]
    return float(np.sum(k * (k - 1) / 2) / len(large))
