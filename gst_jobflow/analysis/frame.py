"""All analyses of one frame by name: numbers for a table and arrays with a value for each atom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.analysis.crystallinity import RMSD_CUTOFF, crystallinity
from gst_jobflow.analysis.distributions import Pair
from gst_jobflow.analysis.grains import MIN_ANIONS, grains
from gst_jobflow.analysis.motifs import motifs
from gst_jobflow.analysis.soap import References, similarity
from gst_jobflow.base.errors import InputError, nearest

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameOptions:
    """What is computed of each frame, and with what.

    Attributes
    ----------
    what
        Names of analyses, see `ANALYSES`.
    known
        Reference surroundings for k-bar.
    k_bar_cutoff
        Above it an atom is crystal-like; no share without it, for it depends on references and hyperparameters.
    min_anions
        Smallest grain.
    bonds_A
        Longest bond by pair, for motifs.
    mobile
        First and last id, from 1, of the atoms that shares and means count; all atoms without it. Others are seen as
        neighbours. Motifs and grains count all atoms.
    """

    what: tuple[str, ...]
    known: References | None = None
    k_bar_cutoff: float | None = None
    rmsd_cutoff: float = RMSD_CUTOFF
    min_anions: int = MIN_ANIONS
    bonds_A: Mapping[Pair, float] = field(default_factory=dict)
    mobile: tuple[int, int] | None = None

    @property
    def counted(self) -> slice:
        """The atoms that shares count."""
        return slice(None) if self.mobile is None else slice(self.mobile[0] - 1, self.mobile[1])

    def __post_init__(self) -> None:
        for name in self.what:
            if name not in ANALYSES:
                raise InputError(f"no analysis '{name}'", nearest(name, ANALYSES))
        if "k-bar" in self.what and self.known is None:
            raise InputError("k-bar needs reference crystals of the composition at temperature", "--reference FILE")


Answer = tuple[dict[str, Any], dict[str, "NDArray"]]


def analyse_frame(atoms: Atoms, options: FrameOptions) -> Answer:
    """Return the numbers of a frame, and arrays (n,) by name.

    Raises
    ------
    InputError, DataError
        The frame cannot be analysed; the message says why.
    """
    numbers: dict[str, Any] = {}
    arrays: dict[str, NDArray] = {}
    for name in options.what:
        some, each = ANALYSES[name](atoms, options)
        numbers |= some
        arrays |= each
    return numbers, arrays


def _k_bar(atoms: Atoms, options: FrameOptions) -> Answer:
    assert options.known is not None
    values = similarity(atoms, options.known)
    some = values[options.counted]
    numbers = {"k_bar_mean": float(some.mean())}
    if options.k_bar_cutoff is not None:
        numbers["k_bar_fraction"] = float((some > options.k_bar_cutoff).mean())
    return numbers, {"k_bar": values}


def _tellurium(atoms: Atoms, options: FrameOptions) -> Answer:
    group = np.arange(len(atoms))[options.counted]
    found = crystallinity(atoms, group, options.rmsd_cutoff)
    return {"crystalline_fraction": found.fraction}, {"crystalline": found.mask.astype(np.float32)}


def _grains(atoms: Atoms, options: FrameOptions) -> Answer:
    found = grains(atoms, options.min_anions, options.rmsd_cutoff)
    diameter = found.diameter_A
    numbers: dict[str, Any] = {"n_grains": len(found.n_atoms)}
    numbers |= {f"n_grains_from_{size}": count for size, count in found.counts.items()}
    numbers |= {
        "grain_diameter_A": float(diameter.mean()) if len(diameter) else None,
        "largest_grain_atoms": int(found.n_atoms.max(initial=0)),
        "share_in_grains": float((found.label > 0)[options.counted].mean()),
        "boundary_share": found.boundary_share,
    }
    return numbers, {"grain": found.label.astype(np.float32)}


def _motifs(atoms: Atoms, options: FrameOptions) -> Answer:
    numbers = motifs(atoms, options.bonds_A).numbers
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}, {}


ANALYSES: dict[str, Callable[[Any, FrameOptions], Answer]] = {
    "k-bar": _k_bar,
    "tellurium": _tellurium,
    "grains": _grains,
    "motifs": _motifs,
}
"""By the name that a user gives."""
