"""Move barrier atoms until none is too close to the crystal."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.barrier import Slab
from gst_jobflow.devices.cell.spec import Floors
from gst_jobflow.structures.contacts import (
    PairDistances,
    closest_pair,
    push_apart,
    scaled_min_distance,
    seam_distance,
    smallest_by_type,
)

_LOG = logging.getLogger(__name__)

# barrier atoms move by an Ångström or two, so they never reach crystal deeper than the contact and this
_CRYSTAL_DEPTH_A = 5.0
# barrier atoms deeper than this move only if the contact cannot be reached without
_MOVABLE_A = 8.0
# pairs up to this much beyond the contact are listed; the list serves until atoms have moved half as far
_SKIN_A = 0.6
# shorter than any distance
_NOTHING_A = 0.01
# shifts below this are rounding
_MOVED_A = 1e-3


@dataclass
class Faces:
    """Crystal atoms within `depth_A` of the barrier, in its frame: above its upper face and below its lower one."""

    length_A: float
    depth_A: float
    _above: list[tuple[NDArray, NDArray]] = field(default_factory=list)
    _below: list[tuple[NDArray, NDArray]] = field(default_factory=list)

    @classmethod
    def of(cls, length_A: float, floors: Floors) -> Faces:
        """Return the faces of a crystal, deep enough for the smallest distances."""
        return cls(length_A, floors.largest_A + _CRYSTAL_DEPTH_A)

    def see(self, numbers: NDArray, positions: NDArray) -> None:
        """Keep the atoms that are near; `positions` (n, 3) in Å count from the crystal's lower cut."""
        z_A = positions[:, 2]
        for kept, near in ((self._above, z_A < self.depth_A), (self._below, z_A > self.length_A - self.depth_A)):
            if near.any():
                kept.append((numbers[near], positions[near]))

    def atoms(self, thickness_A: float) -> tuple[NDArray, NDArray]:
        """Return atomic numbers (n,) and positions (n, 3) in Å, for a barrier from 0 to `thickness_A`."""
        places = [place + np.array([0, 0, thickness_A]) for _, place in self._above]
        places += [place - np.array([0, 0, self.length_A]) for _, place in self._below]
        return np.concatenate([numbers for numbers, _ in [*self._above, *self._below]]), np.concatenate(places)


@dataclass(frozen=True)
class Seam:
    """A barrier that keeps its distance from the crystal: positions (n, 3) in Å of its atoms, in its own frame.

    `before_A`, `after_A` and `inside_A` are the smallest distances to the crystal before and after, and within the
    barrier; `share` is the smallest ratio of a distance to the floor of its pair; `longest_A` is the longest move.
    """

    positions: NDArray
    before_A: float
    after_A: float
    share: float
    inside_A: float
    n_moved: int
    longest_A: float

    def report(self) -> dict[str, float]:
        """Return the numbers for a cell's report."""
        return {
            "seam_contact_before_A": self.before_A,
            "seam_contact_A": self.after_A,
            "seam_contact_share": self.share,
            "n_moved": self.n_moved,
            "longest_move_A": self.longest_A,
        }


def keep_contact(slab: Slab, numbers: NDArray, crystal: NDArray, floors: Floors) -> Seam:
    """Move barrier atoms until no pair across the seam is too close, nor any pair in the barrier closer than before.

    `numbers` (n,) and `crystal`, positions (n, 3) in the barrier's frame, are those of the crystal atoms near it.
    Raises InputError if moving barrier atoms does not suffice.
    """
    moved = slab.positions.copy()
    inside = _inside(slab, floors)
    before = _contact_A(slab, moved, crystal)
    kept = _share(slab, moved, numbers, crystal, floors)
    for movable_A in (_MOVABLE_A, np.inf):
        if kept < 1:
            _push(slab, moved, numbers, crystal, floors, inside, movable_A)
            kept = _share(slab, moved, numbers, crystal, floors)
    after = _contact_A(slab, moved, crystal)
    if kept < 1:
        raise InputError(
            f"barrier and crystal come as near as {after:.2f} Å, and moving barrier atoms does not give each pair of "
            f"elements its {floors.least_A:g} to {floors.largest_A:g} Å (some have {100 * kept:.0f} % of it)",
            "ask for a smaller min_contact_A or a lower barrier_density_g_cm3",
        )
    way_A = np.sqrt(((moved - slab.positions) ** 2).sum(axis=1))
    n_moved = int((way_A > _MOVED_A).sum())
    if n_moved:
        _LOG.info("seam: %d barrier atoms moved by up to %.2f Å", n_moved, way_A.max())
    inside_A = closest_pair(_joined(slab, moved, np.empty((0, 3))), floors.largest_A + 1.0)
    return Seam(moved, before, after, kept, inside_A, n_moved, float(way_A.max()))


def _depth_A(slab: Slab, positions: NDArray) -> NDArray:
    """Return how far atoms lie below the nearer face of the barrier, Å."""
    return np.minimum(positions[:, 2], slab.box_A[2] - positions[:, 2])


def _share(slab: Slab, barrier: NDArray, numbers: NDArray, crystal: NDArray, floors: Floors) -> float:
    """Return the smallest ratio of a distance across the seam to its floor; at least 1 means that all are kept."""
    near = _depth_A(slab, barrier) < floors.largest_A
    if not near.any():
        return np.inf
    across = _allowed(slab.numbers[near], numbers, floors, Floors({}, _NOTHING_A))
    return scaled_min_distance(_joined(slab, barrier[near], crystal), across)


def _push(
    slab: Slab, moved: NDArray, numbers: NDArray, crystal: NDArray, floors: Floors, inside: Floors, movable_A: float
) -> None:
    """Push barrier atoms down to a depth of `movable_A` away from the crystal; `moved` is changed in place."""
    depth = _depth_A(slab, slab.positions)
    # atoms behind the movable ones hold against them
    near = depth < movable_A + floors.largest_A + 1.0
    atoms, n_near = _joined(slab, moved[near], crystal), int(near.sum())
    movable = np.zeros(len(atoms), bool)
    movable[:n_near] = depth[near] < movable_A
    push_apart(atoms, _allowed(slab.numbers[near], numbers, floors, inside), movable=movable, skin_A=_SKIN_A)
    moved[near] = atoms.positions[:n_near]


def _joined(slab: Slab, barrier: NDArray, crystal: NDArray) -> Atoms:
    """Return barrier atoms, then crystal atoms, periodic sideways only; `crystal` holds those at both faces."""
    positions = np.concatenate([barrier, crystal])
    return Atoms(numbers=np.ones(len(positions), int), positions=positions, cell=slab.box_A, pbc=(True, True, False))


def _contact_A(slab: Slab, barrier: NDArray, crystal: NDArray) -> float:
    """Return the smallest distance between barrier and crystal, Å."""
    depth = _depth_A(slab, barrier)
    for reach_A in (_CRYSTAL_DEPTH_A, np.inf):
        near = barrier[depth < reach_A]
        if len(near) == 0:
            continue
        found = seam_distance(_joined(slab, near, crystal), np.arange(len(near) + len(crystal)) < len(near))
        # deeper atoms are further away than the reach
        if found <= reach_A:
            return found
    return np.inf


def _inside(slab: Slab, floors: Floors) -> Floors:
    """Return the floors within the barrier: those across the seam, or the present distance where it is smaller."""
    asked = PairDistances([chemical_symbols[number] for number in slab.numbers], {}, 1.0)
    pairs = list(itertools.product(enumerate(asked.elements), repeat=2))
    for (i, first), (j, second) in pairs:
        asked.matrix_A[i, j] = 1.01 * floors.of_pair(first, second)
    found = smallest_by_type(_joined(slab, slab.positions, np.empty((0, 3))), asked)
    # slightly below the present distance, so that push_apart's margin of 0.1 % creates no overlaps
    kept = {(a, b): min(floors.of_pair(a, b), 0.998 * found[i, j]) for (i, a), (j, b) in pairs if i <= j}
    return Floors(kept, floors.other)


def _allowed(barrier: NDArray, crystal: NDArray, across: Floors, inside: Floors) -> PairDistances:
    """Return the floors of barrier and crystal atoms, given their atomic numbers; none within the crystal."""
    sides = (("barrier", barrier), ("crystal", crystal))
    names = [f"{side} {chemical_symbols[number]}" for side, numbers in sides for number in numbers]
    allowed = PairDistances(names, {}, _NOTHING_A)
    for (i, first), (j, second) in itertools.product(enumerate(allowed.elements), repeat=2):
        (one, element), (other, its) = first.split(), second.split()
        if one != other or one == "barrier":
            allowed.matrix_A[i, j] = (across if one != other else inside).of_pair(element, its)
    return allowed
