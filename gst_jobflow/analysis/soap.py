"""Crystallinity by SOAP: how alike an atom's surroundings are to those in reference crystals (k-bar).

The power spectrum is dscribe's (Himanen et al., Comput. Phys. Commun. 247, 106949, 2020), the kernel that of Bartók,
Kondor and Csányi (Phys. Rev. B 87, 184115, 2013): the dot product of normalised vectors to an integer power. Xu et al.
(Adv. Mater. 34, 2109139, 2022) call an atom of Ge-Sb-Te crystal-like where its mean kernel with crystals is above 0.57.
Their hyperparameters are not known here, so the defaults below are ours, and their cut-off does not carry over:
calibrate it on known crystals and liquids with `calibrate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.analysis.neighbours import blocks, with_images
from gst_jobflow.base.errors import DataError, InputError, MissingProgramError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

PUBLISHED_CUTOFF = 0.57
_BLOCK = 1000
# dscribe sees neighbours out to the cutoff and 3.7 widths
_TAIL = 3.8


@dataclass(frozen=True)
class SoapOptions:
    """What the kernel is made of; our choice, near common settings for Ge-Sb-Te.

    Attributes
    ----------
    cutoff_A, sigma_A
        Radius of the surroundings, and the width of the Gaussian that stands for an atom.
    n_max, l_max
        Radial and angular functions.
    zeta
        Power of the kernel.
    species
        Whether elements are told apart. Else all atoms are of one kind: cation disorder does not count, and the cost
        is smaller.
    average_A
        Radius of a mean over neighbours of each atom's own similarity; 0 for none.
    n_references
        Surroundings that are taken of each reference crystal, at random (of each element, with `species`).
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
    """Normalised power spectra of crystals.

    Attributes
    ----------
    options
        That they were made with.
    elements
        Of the crystals, in alphabetical order.
    vectors
        By crystal and by central element ("" without species), shape (m, features), float32.
    """

    options: SoapOptions
    elements: tuple[str, ...]
    vectors: dict[str, dict[str, NDArray]]


def references(crystals: Mapping[str, Atoms], options: SoapOptions | None = None, seed: int = 0) -> References:
    """Return what configurations are compared with.

    Parameters
    ----------
    crystals
        By name: rock-salt and trigonal cells of the composition, at temperature.
    seed
        Of the choice of surroundings.

    Raises
    ------
    InputError
        No crystal, or crystals of different elements or, with species, of different composition.
    """
    options = options or SoapOptions()
    if not crystals:
        raise InputError("there is no reference crystal", "give at least one")
    kinds = {name: tuple(sorted(set(atoms.get_chemical_symbols()))) for name, atoms in crystals.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} of {'-'.join(each)}" for name, each in kinds.items())
        raise InputError(f"the reference crystals have different elements: {said}", "take one composition")
    elements = next(iter(kinds.values()))
    random = np.random.default_rng(seed)
    vectors: dict[str, dict[str, NDArray]] = {}
    for name, atoms in crystals.items():
        _check(atoms, options, elements)
        symbols = np.array(atoms.get_chemical_symbols())
        vectors[name] = {}
        for element in elements if options.species else ("",):
            among = np.flatnonzero(symbols == element) if element else np.arange(len(atoms))
            chosen = np.sort(random.choice(among, min(options.n_references, len(among)), replace=False))
            vectors[name][element] = _vectors(atoms, options, elements, chosen)
    return References(options, elements, vectors)


def similarity(atoms: Atoms, known: References) -> NDArray:
    """Return k-bar of each atom, shape (n,), float32: the mean kernel with the crystal that it is most like.

    With species an atom is compared with surroundings of its own element. The cell is taken in blocks, so memory does
    not grow with it.

    Raises
    ------
    InputError
        The configuration has an element that the references lack.
    DataError
        A position is not finite.
    """
    options = known.options
    _check(atoms, options, known.elements)
    symbols = np.array(atoms.get_chemical_symbols())
    found = np.zeros(len(atoms), dtype=np.float32)
    for centres, vectors in _in_blocks(atoms, options, known.elements):
        for element in np.unique(symbols[centres]) if options.species else [""]:
            own = symbols[centres] == element if element else np.ones(len(centres), dtype=bool)
            each = [
                _mean_kernel(vectors[own], crystal[str(element)], options.zeta) for crystal in known.vectors.values()
            ]
            found[centres[own]] = np.max(each, axis=0)
    return _averaged(atoms, found, options.average_A) if options.average_A else found


def kernel(atoms: Atoms, other: Atoms, options: SoapOptions) -> NDArray:
    """Return the kernel of each pair of atoms of two configurations, shape (n, m)."""
    elements = tuple(sorted({*atoms.get_chemical_symbols(), *other.get_chemical_symbols()}))
    one, two = (_vectors(each, options, elements, np.arange(len(each))) for each in (atoms, other))
    return (one @ two.T) ** options.zeta


@dataclass(frozen=True)
class Calibration:
    """How well a cut-off of k-bar tells crystal from disorder.

    Attributes
    ----------
    cutoffs, crystal_found, disorder_taken
        The ROC: share of the crystal's atoms above each cut-off, and of the disorder's, shape (c,).
    best
        The cut-off with the largest difference of the two (Youden's index).
    area
        Under the ROC; 1 is perfect, 1/2 is guessing.
    published
        Both shares at 0.57.
    """

    cutoffs: NDArray
    crystal_found: NDArray
    disorder_taken: NDArray
    best: float
    area: float
    published: tuple[float, float]


def calibrate(crystal: Sequence[NDArray], disorder: Sequence[NDArray]) -> Calibration:
    """Return the ROC of k-bar values of known crystal frames against known liquid and amorphous ones.

    Raises
    ------
    InputError
        One of them is empty.
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


def _check(atoms: Atoms, options: SoapOptions, elements: Sequence[str]) -> None:
    if not np.all(np.isfinite(atoms.positions)):
        raise DataError("positions are not finite: the configuration comes from a failed run")
    foreign = sorted(set(atoms.get_chemical_symbols()) - set(elements))
    if foreign and options.species:
        raise InputError(f"the reference crystals have no {', '.join(foreign)}", "make references of the composition")
    if len(atoms) == 0 or atoms.cell.volume <= 0:
        raise InputError("k-bar needs atoms in a cell with a volume", "set the cell, also for open boundaries")


def _descriptor(options: SoapOptions, elements: Sequence[str]) -> Any:
    try:
        from dscribe.descriptors import SOAP
    except ImportError as error:
        raise MissingProgramError(
            f"dscribe cannot be imported: {error}", "pip install 'gst_jobflow[analysis]'"
        ) from error
    return SOAP(
        species=list(elements) if options.species else ["Te"],
        periodic=False,
        r_cut=options.cutoff_A,
        n_max=options.n_max,
        l_max=options.l_max,
        sigma=options.sigma_A,
    )


def _vectors(atoms: Atoms, options: SoapOptions, elements: Sequence[str], chosen: NDArray) -> NDArray:
    """Return normalised power spectra of chosen atoms, shape (k, features)."""
    wanted = np.full(len(atoms), -1)
    wanted[chosen] = np.arange(len(chosen))
    found: NDArray | None = None
    for centres, vectors in _in_blocks(atoms, options, elements, wanted >= 0):
        found = np.empty((len(chosen), vectors.shape[1]), dtype=np.float32) if found is None else found
        found[wanted[centres]] = vectors
    if found is None:
        raise InputError("there are no atoms to describe", "check the elements")
    return found


def _in_blocks(atoms: Atoms, options: SoapOptions, elements: Sequence[str], chosen: NDArray | None = None) -> Any:
    """Yield (indices of atoms, their normalised power spectra in float32) block by block."""
    from ase import Atoms as Cluster

    soap, numbers = _descriptor(options, elements), atoms.numbers if options.species else np.full(len(atoms), 52)
    for centres, points, owners in blocks(atoms, options.cutoff_A + _TAIL * options.sigma_A, _BLOCK):
        own = np.arange(len(centres)) if chosen is None else np.flatnonzero(chosen[centres])
        if len(own):
            vectors = soap.create(Cluster(numbers[owners], positions=points), centers=own.tolist())
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            yield centres[own], (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def _mean_kernel(vectors: NDArray, crystal: NDArray, zeta: int) -> NDArray:
    return ((vectors @ crystal.T) ** zeta).mean(axis=1)


def _averaged(atoms: Atoms, values: NDArray, radius_A: float) -> NDArray:
    from scipy.spatial import cKDTree

    points, owners = with_images(atoms, radius_A)
    at_home = atoms.get_scaled_positions(wrap=True) @ np.asarray(atoms.cell)
    near = cKDTree(points).query_ball_point(at_home, radius_A)
    return np.array([values[owners[each]].mean() for each in near], dtype=np.float32)
