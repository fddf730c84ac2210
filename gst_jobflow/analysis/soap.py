"""Crystallinity by SOAP: how alike an atom's surroundings are to those in reference crystals (k-bar).

The power spectrum is dscribe's (Himanen et al., Comput. Phys. Commun. 247, 106949, 2020; tests compare both) in a
compiled kernel of our own, several times as fast. The kernel is that of Bartók, Kondor and Csányi (Phys. Rev. B 87,
184115, 2013): the dot product of normalised vectors to an integer power. Xu et al. (Adv. Mater. 34, 2109139, 2022) call
an atom of Ge-Sb-Te crystal-like where its mean kernel with crystals is above 0.57. Their hyperparameters are not known
here, so the defaults below are ours, and their cut-off does not carry over: calibrate it on known crystals and liquids
with `calibrate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gst_jobflow.analysis.neighbours import CellGrid, cell_grid, elements_of, kinds_of
from gst_jobflow.base.errors import InputError
from gst_jobflow.structures.document_fields import content_hash

PUBLISHED_CUTOFF = 0.57
_BLOCK = 512
# where the Gaussian of an atom has decayed to 0.001: beyond the cutoff it is not seen any more
_DECAYED = 1e-3
_TAIL = float(np.sqrt(-2.0 * np.log(_DECAYED)))
_STEPS = 2048
# of the references beside the directions that are kept, root mean square: k-bar moves by 1e-5 at most
_RESIDUAL, _RESIDUAL_SPECIES = 1e-3, 5e-3


@dataclass(frozen=True)
class SoapOptions:
    """What the kernel is made of; our choice, near common settings for Ge-Sb-Te.

    `cutoff_A` is the radius of the surroundings, `sigma_A` the width of the Gaussian that stands for an atom; `n_max`
    and `l_max` are the numbers of radial and angular functions, `zeta` is the power of the kernel.

    With `species` elements are told apart. Else all atoms are of one kind: cation disorder does not count, and the cost
    is smaller. `average_A` is the radius of a mean over neighbours of each atom's own similarity; 0 for none.
    `n_references` surroundings are taken of each reference crystal, at random (of each element, with `species`).
    """

    cutoff_A: float = 5.5
    sigma_A: float = 0.5
    n_max: int = 8
    l_max: int = 6
    zeta: int = 4
    species: bool = False
    average_A: float = 0.0
    n_references: int = 200

    def __post_init__(self) -> None:
        for name in ("n_max", "l_max", "zeta", "n_references"):
            if int(getattr(self, name)) != getattr(self, name) or getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} is no whole number of at least 1", "for example 4")
        if not (self.cutoff_A > 1 and self.sigma_A > 0 and self.average_A >= 0):
            raise InputError("a cutoff of at most 1 Å, or a width or mean below 0, describes no surroundings")


@dataclass(frozen=True)
class References:
    """Power spectra of crystals, in as few directions as they need.

    Attributes
    ----------
    options
        That they were made with.
    elements
        Of the crystals, in alphabetical order.
    crystals
        Content hash of each crystal by name.
    directions
        By central element ("" without species): orthonormal directions that the spectra of all crystals lie in but for
        a residual that moves k-bar by 1e-5 at most, shape (k, features), float32.
    coordinates
        By central element, one array a crystal: its normalised spectra along the directions, shape (m, k), float32.
    """

    options: SoapOptions
    elements: tuple[str, ...]
    crystals: dict[str, str]
    directions: dict[str, NDArray]
    coordinates: dict[str, list[NDArray]]


def references(crystals: Mapping[str, Atoms], options: SoapOptions | None = None, seed: int = 0) -> References:
    """Return what configurations are compared with.

    `crystals` are rock-salt and trigonal cells of the composition, at temperature; `seed` is that of the choice of
    surroundings.

    Raises
    ------
    InputError
        No crystal, or crystals of different elements or, with species, of different composition.
    """
    options = options or SoapOptions()
    if not crystals:
        raise InputError("there is no reference crystal", "give at least one")
    kinds = {name: tuple(elements_of(atoms)) for name, atoms in crystals.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} of {'-'.join(each)}" for name, each in kinds.items())
        raise InputError(f"the reference crystals have different elements: {said}", "take one composition")
    elements = next(iter(kinds.values()))
    random = np.random.default_rng(seed)
    spectra: dict[str, list[NDArray]] = {}
    for atoms in crystals.values():
        symbols = np.array(atoms.get_chemical_symbols())
        for element in elements if options.species else ("",):
            among = np.flatnonzero(symbols == element) if element else np.arange(len(atoms))
            chosen = np.sort(random.choice(among, min(options.n_references, len(among)), replace=False))
            spectra.setdefault(element, []).append(_vectors(atoms, options, elements, chosen))
    directions = {element: _directions(np.concatenate(each), options) for element, each in spectra.items()}
    return References(
        options,
        elements,
        {name: content_hash(atoms) for name, atoms in crystals.items()},
        directions,
        {element: [vectors @ directions[element].T for vectors in each] for element, each in spectra.items()},
    )


def _directions(vectors: NDArray, options: SoapOptions) -> NDArray:
    """Return the fewest orthonormal directions (k, features) that hold vectors (m, features) but for the residual."""
    residual = _RESIDUAL_SPECIES if options.species else _RESIDUAL
    exact = vectors.astype(float)
    values, rotation = np.linalg.eigh(exact @ exact.T)
    # mean squares that are left when the smallest directions go
    n_dropped = int(np.sum(np.cumsum(np.maximum(values, 0.0)) / len(vectors) < residual**2))
    kept = slice(n_dropped, None)
    return ((rotation[:, kept] / np.sqrt(values[kept])).T @ exact).astype(np.float32)


def similarity(atoms: Atoms, known: References, threads: int = 1) -> NDArray:
    """Return k-bar of each atom, shape (n,), float32: the mean kernel with the crystal that it is most like.

    With species an atom is compared with surroundings of its own element. The cell is taken in blocks, which `threads`
    share: an atom more takes 0.2 kB.

    Raises
    ------
    InputError
        The configuration has an element that the references lack.
    DataError
        A position is not finite.
    """
    options = known.options
    basis = _Basis.of(options, known.elements)
    grid = cell_grid(atoms, basis.reach_A)
    kinds = _kinds(atoms, options, known.elements)[grid.owners]
    places = np.sort(grid.home)
    if options.species:
        places = places[np.argsort(kinds[places], kind="stable")]
    found = np.empty(len(atoms), dtype=np.float32)

    def do(blocks: list[NDArray]) -> None:
        spectra = _room(basis, _BLOCK)
        for block in blocks:
            element = known.elements[kinds[block[0]]] if options.species else ""
            _fill(spectra, grid, block, kinds, basis, options)
            along = known.directions[element] @ spectra[:, : len(block)]
            found[grid.owners[block]] = _best_kernel(along, known.coordinates[element], options.zeta)

    ends = np.flatnonzero(np.diff(kinds[places])) + 1
    blocks = [block for group in np.split(places, ends) for block in np.split(group, range(_BLOCK, len(group), _BLOCK))]
    # threads share the work, not the matrix product's own threads
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(do, [blocks[first::threads] for first in range(threads)]))
    return _averaged(atoms, found, options.average_A) if options.average_A else found


def mean_spectrum(atoms: Atoms, options: SoapOptions, elements: Sequence[str]) -> NDArray:
    """Return the mean of the atoms' normalised power spectra, shape (features,): one vector for a configuration."""
    return np.asarray(_vectors(atoms, options, elements, np.arange(len(atoms))).mean(axis=0), dtype=float)


def kernel(atoms: Atoms, other: Atoms, options: SoapOptions) -> NDArray:
    """Return the kernel of each pair of atoms of two configurations, shape (n, m)."""
    elements = tuple(sorted({*elements_of(atoms), *elements_of(other)}))
    one, two = (_vectors(each, options, elements, np.arange(len(each))) for each in (atoms, other))
    return (one @ two.T) ** options.zeta


@dataclass(frozen=True)
class Calibration:
    """How well a cut-off of k-bar tells crystal from disorder.

    `crystal_found` and `disorder_taken` are the ROC: shares of the crystal's atoms and of the disorder's above each of
    the `cutoffs`, shape (c,). `best` is the cut-off with the largest difference of the two (Youden's index). `area` is
    that under the ROC; 1 is perfect, 1/2 is guessing. `published` holds both shares at 0.57.
    """

    cutoffs: NDArray
    crystal_found: NDArray
    disorder_taken: NDArray
    best: float
    area: float
    published: tuple[float, float]


def calibrate(crystal: Sequence[NDArray], disorder: Sequence[NDArray]) -> Calibration:
    """Return the ROC of k-bar values of known crystal frames against known liquid and amorphous ones.

    Raises InputError if one of them is empty.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    yes, no = (
        np.concatenate([np.ravel(each) for each in values]) if len(values) else [] for values in (crystal, disorder)
    )
    if not len(yes) or not len(no):
        raise InputError("a calibration needs frames of crystal and of disorder", "give at least one of each")
    truth, values = np.r_[np.ones(len(yes)), np.zeros(len(no))], np.r_[yes, no]
    taken, found, cutoffs = roc_curve(truth, values)
    place = int(np.argmax(found - taken))
    # halfway to the next value below: the cut-off itself must not depend on rounding
    below = values[values < cutoffs[place]]
    best = float(0.5 * (cutoffs[place] + below.max())) if len(below) else float(cutoffs[place])
    published = (float(np.mean(yes > PUBLISHED_CUTOFF)), float(np.mean(no > PUBLISHED_CUTOFF)))
    return Calibration(cutoffs, found, taken, best, float(roc_auc_score(truth, values)), published)


@dataclass(frozen=True)
class _Basis:
    """Tables that the compiled kernel reads, and the number of values of a power spectrum."""

    reach_A: float
    radial: NDArray
    norm: NDArray
    n_kinds: int
    n_features: int

    @classmethod
    def of(cls, options: SoapOptions, elements: Sequence[str]) -> _Basis:
        kinds, n, l = len(elements) if options.species else 1, options.n_max, options.l_max  # noqa: E741
        features = (l + 1) * (kinds * n * (n + 1) // 2 + kinds * (kinds - 1) // 2 * n * n)
        reach = options.cutoff_A + _TAIL * options.sigma_A
        return cls(reach, _radial_table(options, reach), _harmonic_factors(l), kinds, features)


def _radial_table(options: SoapOptions, reach_A: float) -> NDArray:
    """Return the overlap of each radial function with an atom's Gaussian by distance, float32 (steps, (l_max + 1) n).

    Gaussian orbitals r^l exp(−a r²) decay to 0.001 at distances from 1 Å to the cutoff, and are made orthonormal
    symmetrically (Himanen et al., 2020). Their overlap with a Gaussian at distance R is
    (π/(a + h))^(3/2) (h/(a + h))^l R^l exp(−a h R²/(a + h)) with h = 1/(2 σ²).
    """
    from scipy.special import gamma

    from gst_jobflow.analysis.kernels import EIGHT

    n_pad = -(-options.n_max // EIGHT) * EIGHT
    # one step beyond the end, so that the last interval has an upper border
    distance = np.arange(_STEPS + 2) * (reach_A / _STEPS)
    table = np.zeros((len(distance), options.l_max + 1, n_pad), dtype=np.float32)
    width = 0.5 / options.sigma_A**2
    decay_A = np.linspace(1.0, options.cutoff_A, options.n_max)
    for l in range(options.l_max + 1):  # noqa: E741
        a = (l * np.log(decay_A) - np.log(_DECAYED)) / decay_A**2
        overlap = 0.5 * gamma(l + 1.5) * (a[:, None] + a) ** (-l - 1.5)
        value, vector = np.linalg.eigh(overlap)
        if value[0] <= 1e-12 * value[-1]:
            raise InputError(
                f"{options.n_max} radial functions within {options.cutoff_A} Å are not independent", "take fewer"
            )
        orthonormal = (vector / np.sqrt(value)) @ vector.T
        r = distance[:, None]
        each = (np.pi / (a + width)) ** 1.5 * (width / (a + width) * r) ** l * np.exp(-a * width / (a + width) * r**2)
        table[:, l, : options.n_max] = each @ orthonormal.T
    return table.reshape(len(distance), -1)


def _harmonic_factors(l_max: int) -> NDArray:
    """Return the normalisation of real spherical harmonics, with the weight of each l in the power spectrum."""
    from scipy.special import factorial

    l, m = np.indices((l_max + 1, l_max + 1))  # noqa: E741
    ratio = np.where(m > l, 0.0, factorial(np.maximum(l - m, 0)) / factorial(l + m))
    factor = np.sqrt((2 * l + 1) * ratio * np.where(m > 0, 2.0, 1.0)) / (2 * l + 1) ** 0.25
    return factor.astype(np.float32)


def _vectors(atoms: Atoms, options: SoapOptions, elements: Sequence[str], chosen: NDArray) -> NDArray:
    """Return normalised power spectra of chosen atoms, shape (k, features)."""
    basis = _Basis.of(options, elements)
    grid = cell_grid(atoms, basis.reach_A)
    spectra = _room(basis, len(chosen))
    _fill(spectra, grid, grid.home[chosen], _kinds(atoms, options, elements)[grid.owners], basis, options)
    return spectra[:, : len(chosen)].T


def _kinds(atoms: Atoms, options: SoapOptions, elements: Sequence[str]) -> NDArray:
    if not options.species:
        return np.zeros(len(atoms), dtype=np.int64)
    foreign = sorted(set(elements_of(atoms)) - set(elements))
    if foreign:
        raise InputError(f"the reference crystals have no {', '.join(foreign)}", "make references of the composition")
    return kinds_of(atoms, elements)


def _room(basis: _Basis, number: int) -> NDArray:
    """Return an array for the power spectra of so many atoms, float32 (features, number)."""
    from gst_jobflow.analysis.kernels import BATCH

    return np.empty((basis.n_features, -(-number // BATCH) * BATCH), dtype=np.float32)


def _fill(
    spectra: NDArray, grid: CellGrid, places: NDArray, kinds: NDArray, basis: _Basis, options: SoapOptions
) -> None:
    from gst_jobflow.analysis.kernels import power_spectra

    n_kinds, n_max = basis.n_kinds, options.n_max
    power_spectra(grid, places, basis.reach_A, kinds, n_kinds, n_max, basis.radial, basis.norm, spectra)


def _best_kernel(along: NDArray, crystals: Sequence[NDArray], zeta: int) -> NDArray:
    """Return the mean kernel of each spectrum (directions, k) with the crystal that it is most like, shape (k,)."""
    from gst_jobflow.analysis.kernels import mean_power

    means = np.empty((len(crystals), along.shape[1]), dtype=np.float32)
    for crystal, mean in zip(crystals, means, strict=True):
        mean_power(crystal @ along, zeta, mean)
    return means.max(axis=0)


def _averaged(atoms: Atoms, values: NDArray, radius_A: float) -> NDArray:
    from gst_jobflow.analysis.kernels import mean_around

    grid = cell_grid(atoms, radius_A)
    found = np.empty_like(values)
    mean_around(grid, radius_A, values, found)
    return found
