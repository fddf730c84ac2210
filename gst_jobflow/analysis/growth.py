"""Grains through time by the atoms that they share, and what of a crystallisation is growth or nucleation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.base.errors import DataError

ORIGINS = ("disordered", "crystal before", "grown", "nucleated", "crystal-like in no grain")
"""What the numbers of `Growth.origin` mean."""


@dataclass(frozen=True)
class Followed:
    """The grains of one frame under names that last.

    `label` (n,) is the lasting number of each atom's grain from 1; 0 for none. Grains `born` overlap with none of the
    frame before. Of the grains of that frame, those in `merged` ended in a larger one, as pairs (ended, which took it),
    and nothing is left of those in `ended`.
    """

    label: NDArray
    born: tuple[int, ...]
    merged: tuple[tuple[int, int], ...]
    ended: tuple[int, ...]


@dataclass(frozen=True)
class Growth:
    """Atoms that became crystal-like since a first state, by how.

    `grown` atoms are in grains that hold crystal of the first state, `nucleated` ones in grains that hold none, and
    `new` is the sum of both. `loose` ones are in no grain and not in `new`. `origin` (n,) is one of `ORIGINS` for each
    atom.
    """

    new: int
    grown: int
    nucleated: int
    loose: int
    origin: NDArray

    @property
    def growth_share(self) -> float:
        """Grown over new atoms; NaN where none are new."""
        return self.grown / self.new if self.new else float("nan")


def follow(labels: Iterable[NDArray]) -> Iterator[Followed]:
    """Give grains of successive frames lasting numbers, by the largest number of atoms in common.

    A grain keeps the number of the grain that it shares most atoms with, and of several grains that share most with the
    same one the largest overlap keeps it; the others get new numbers, as fragments, and are not born.

    `labels` are those of each frame, shape (n,), 0 for no grain; as `Grains.label`, in any order of sizes. Raises
    DataError if the number of atoms changes.
    """
    before: NDArray | None = None
    next_number = 1
    for label in labels:
        label = np.asarray(label, dtype=int)
        before = np.zeros_like(label) if before is None else before
        if before.shape != label.shape:
            raise DataError(f"a frame has {len(label)} atoms, the one before {len(before)}", "follow one trajectory")
        names, taken = {0: 0}, dict[int, int]()
        born: list[int] = []
        for own, old in _overlaps(label, before):
            taken.setdefault(own, old)
        used: set[int] = set()
        # overlaps come largest first, so the largest heir keeps the number
        for own in [*taken, *(int(g) for g in np.unique(label[label > 0]) if g not in taken)]:
            keeps = own in taken and taken[own] not in used
            names[own] = taken[own] if keeps else next_number
            next_number += not keeps
            used.add(names[own])
            if own not in taken:
                born.append(names[own])
        lasting = np.array([names[int(g)] for g in np.unique(label)])[np.unique(label, return_inverse=True)[1]]
        gone = [int(g) for g in np.unique(before[before > 0]) if g not in used]
        heirs = {old: int(names[own]) for own, old in reversed(_overlaps(label, before)) if old in gone}
        merged = tuple((old, heirs[old]) for old in gone if old in heirs)
        before = lasting
        yield Followed(lasting, tuple(born), merged, tuple(old for old in gone if old not in heirs))


def growth(first_crystal: NDArray, crystal: NDArray, label: NDArray, least_shared: float = 0.01) -> Growth:
    """Split the atoms that became crystal-like since a first state into growth and nucleation.

    Parameters
    ----------
    first_crystal, crystal
        Shape (n,), which atoms are crystal-like in the first state and now.
    label
        Shape (n,), grain of each atom now; 0 for none.
    least_shared
        Share of a grain's atoms that must have been crystal-like before for it to be joined to the old crystal: a
        few atoms look crystal-like by chance in a melt.

    Raises
    ------
    DataError
        The arrays do not have a value for each of the same atoms.
    """
    first_crystal, crystal = np.asarray(first_crystal, dtype=bool), np.asarray(crystal, dtype=bool)
    label = np.asarray(label, dtype=int)
    if not first_crystal.shape == crystal.shape == label.shape:
        raise DataError(
            f"{first_crystal.size}, {crystal.size} and {label.size} values are not of the same atoms",
            "compare frames of one trajectory",
        )
    sizes = np.bincount(label)
    old = np.bincount(label, first_crystal, len(sizes))
    joined = old >= np.maximum(1, least_shared * sizes)
    joined[0] = False
    new = crystal & ~first_crystal
    origin = np.select([crystal & first_crystal, new & joined[label], new & (label > 0), new], [1, 2, 3, 4])
    _, _, grown, nucleated, loose = np.bincount(origin, minlength=len(ORIGINS)).tolist()
    return Growth(grown + nucleated, grown, nucleated, loose, origin)


def growth_rows(
    crystals: Iterable[NDArray], labels: Iterable[NDArray], first: NDArray | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, NDArray]]]:
    """Yield numbers and arrays of growth and nucleation of successive frames.

    `crystals` tell which atoms of each frame are crystal-like and `labels` the grain of each, shape (n,). `first` tells
    which atoms were crystal-like in the first state; without it, that of the first frame counts.
    """
    begun = False
    for crystal, grain in zip(crystals, follow(labels), strict=True):
        first = crystal if first is None else first
        found = growth(first, crystal, grain.label)
        numbers = {
            "new_atoms": found.new,
            "grown_atoms": found.grown,
            "nucleated_atoms": found.nucleated,
            "loose_atoms": found.loose,
            "growth_share": found.growth_share if found.new else None,
            # all grains of the first frame are new to it
            "grains_born": len(grain.born) if begun else 0,
            "grains_merged": len(grain.merged),
            "grains_ended": len(grain.ended),
        }
        begun = True
        yield numbers, {"grain_followed": grain.label, "origin": found.origin}


def _overlaps(label: NDArray, before: NDArray) -> list[tuple[int, int]]:
    """Return (grain now, grain before) of all that share atoms, the largest overlap first."""
    both = (label > 0) & (before > 0)
    pairs, counts = np.unique(np.stack([label[both], before[both]], axis=1), axis=0, return_counts=True)
    return [(int(own), int(old)) for own, old in pairs[np.argsort(-counts, kind="stable")]]
