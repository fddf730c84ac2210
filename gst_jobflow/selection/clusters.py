"""Cut cells that are small enough to label around single atoms of large frames.

The environment of the atom within the cutoff stays unchanged; the rest of the cell only needs sound distances where
its faces meet. Procedure: Hodapp and Shapeev, Mach. Learn.: Sci. Technol. 1, 045005 (2020); Lysogorskiy et al., Phys.
Rev. Mater. 7, 043801 (2023).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.contacts import PairDistances, close_pairs, push_apart
from gst_jobflow.structures.floors import contact_floors

SHELL_A = 0.5
"""Width beyond the radius in which atoms are held, too, so that moving atoms stay clear of the centre's environment."""
GAP_A = 3.0
"""Smallest gap between held atoms and their images, wide enough for a contact and a moving atom."""
_EDGE_STEPS_A = np.arange(0.0, 3.01, 0.25)
_FLOOR_OF_RADII = 0.8
_COINCIDENT = 0.7
"""Share of the floor below which one of two atoms is removed; above it, they are pushed apart."""


@dataclass(frozen=True)
class Cluster:
    """A periodic cell around one atom.

    `atoms` are the centre first, in the middle of the cell; then the rest of the core, then the seam. The first
    `n_core` keep their positions relative to the centre; `n_deleted` were removed at the seam because they overlapped
    with others. The `frozen` ones of the core, from 0, were frozen in the frame; their grades do not count.
    """

    atoms: Atoms
    n_core: int
    n_deleted: int
    frozen: tuple[int, ...] = ()

    def max_gamma(self, gamma: np.ndarray) -> float:
        """Return the largest of the grades (n_atoms,) without those of the frozen atoms."""
        return float(np.delete(gamma, self.frozen).max())


def floors(species: Iterable[str], floor_A: float | None = None) -> PairDistances:
    """Return the smallest distances allowed at a seam: `floor_A`, else 0.8 of the sum of the covalent radii."""
    listed = list(species)
    return PairDistances(listed, {}, floor_A) if floor_A else contact_floors(listed, {}, _FLOOR_OF_RADII)


def centres(atoms: Atoms, gamma: np.ndarray, window: tuple[float, float], apart_A: float, most: int) -> list[int]:
    """Return atoms with a grade in `window`, largest first, each at least `apart_A` from earlier ones.

    `gamma` is the grade of each atom, shape (n_atoms,); nan is in no window.
    """
    from matscipy.neighbours import neighbour_list

    low, high = window
    inside = np.flatnonzero((gamma >= low) & (gamma <= high))
    inside = inside[np.argsort(-gamma[inside], kind="stable")]
    i, j = neighbour_list("ij", positions=atoms.positions[inside], cell=atoms.cell.array, pbc=[True] * 3,
                          cutoff=apart_A)  # fmt: skip
    starts = np.searchsorted(i, np.arange(len(inside) + 1))
    free = np.ones(len(inside), bool)
    chosen: list[int] = []
    for place in range(len(inside)):
        if len(chosen) == most:
            break
        if free[place]:
            chosen.append(int(inside[place]))
            free[j[starts[place] : starts[place + 1]]] = False
    return chosen


class LargeFrame:
    """A large periodic frame to cut cells from; atoms that are not mobile are frozen."""

    def __init__(self, atoms: Atoms, is_mobile: np.ndarray | None = None) -> None:
        self.atoms = atoms
        self.is_frozen = np.zeros(len(atoms), bool) if is_mobile is None else ~is_mobile
        self.cell = atoms.cell.array
        self.fractional = atoms.positions @ np.linalg.inv(self.cell)
        self.heights_A = 1 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)

    def cut(self, centre: int, radius_A: float, max_atoms: int, floor_A: float | None = None) -> Cluster:
        """Cut a cell around an atom, and part the atoms that are too close at its seam.

        Its vectors are parallel to those of the frame; a direction in which the frame is narrower than the cell keeps
        its period. Of widths up to 3 Å above the smallest, the one with the fewest contacts below the floor is taken.

        Atoms within `radius_A` of the centre stay where they are; `floor_A` is as for :func:`floors`. Raises InputError
        if the smallest cell has more than `max_atoms` atoms.
        """
        smallest_A, held_A = 2 * (radius_A + SHELL_A) + GAP_A, radius_A + SHELL_A
        # in [-1/2, 1/2)
        offset = (self.fractional - self.fractional[centre] + 0.5) % 1.0 - 0.5
        near = np.flatnonzero((np.abs(offset) <= (smallest_A + _EDGE_STEPS_A[-1]) / self.heights_A / 2).all(axis=1))
        places = near[np.argsort(near != centre, kind="stable")]
        tried: list[tuple[int, int, Cluster]] = []
        for more_A in _EDGE_STEPS_A:
            cell = self._cell(places, offset[places], float(smallest_A + more_A), held_A)
            if len(cell.atoms) > max_atoms:
                break
            tried.append((len(close_pairs(cell.atoms, floors(cell.atoms.symbols, floor_A))[0]), len(tried), cell))
        if not tried:
            raise InputError(
                f"the cell around atom {centre} has {len(cell.atoms)} atoms, {smallest_A:.3g} Å wide for a radius of "
                f"{radius_A:g} Å",
                f"--max-atoms {10 * (len(cell.atoms) // 10 + 1)}, or a potential of shorter cutoff",
            )
        return part_seam(min(tried)[2], floor_A)

    def _cell(self, places: np.ndarray, offset: np.ndarray, width_A: float, held_A: float) -> Cluster:
        """Return the periodic cell of `width_A` around the first of `places`, its core first."""
        share = np.minimum(1.0, width_A / self.heights_A)
        inside = ((offset >= -share / 2) & (offset < share / 2)).all(axis=1)
        apart = offset[inside] @ self.cell
        beyond = np.linalg.norm(apart, axis=1) > held_A
        order = np.argsort(beyond, kind="stable")
        cell = share[:, None] * self.cell
        origins, n_core = places[inside][order], int((~beyond).sum())
        positions = apart[order] + cell.sum(axis=0) / 2
        atoms = Atoms(self.atoms.numbers[origins], positions=positions, cell=cell, pbc=True)
        return Cluster(atoms, n_core, 0, tuple(np.flatnonzero(self.is_frozen[origins[:n_core]]).tolist()))


def part_seam(cluster: Cluster, floor_A: float | None = None) -> Cluster:
    """Remove atoms beyond the core that overlap with others, and push the rest apart up to the floor."""
    atoms, deleted = cluster.atoms.copy(), cluster.n_deleted
    while (worst := _coincident(atoms, cluster, floor_A)) is not None:
        del atoms[worst]
        deleted += 1
    movable = np.arange(len(atoms)) >= cluster.n_core
    push_apart(atoms, floors(atoms.symbols, floor_A), movable)
    return replace(cluster, atoms=atoms, n_deleted=deleted)


def _coincident(atoms: Atoms, cluster: Cluster, floor_A: float | None) -> int | None:
    """Return the atom beyond the core with most overlaps, preferably of an element in excess; None without overlaps."""
    first, second = close_pairs(atoms, floors(atoms.symbols, floor_A).scaled(_COINCIDENT))
    free = (first >= cluster.n_core) | (second >= cluster.n_core)
    ends = np.concatenate([first[free], second[free]])
    ends = ends[ends >= cluster.n_core]
    if not len(ends):
        return None
    counts = np.bincount(ends, minlength=len(atoms))
    share = {symbol: (atoms.symbols == symbol).mean() - (cluster.atoms.symbols == symbol).mean()
             for symbol in set(atoms.symbols)}  # fmt: skip
    return max(np.flatnonzero(counts).tolist(), key=lambda place: (counts[place], share[atoms.symbols[place]], place))


def seam_problem(cluster: Cluster, radius_A: float, floor_A: float | None = None) -> str:
    """Return what is wrong with a cell, contacts of moved atoms below the floor or an atom too near; empty if sound."""
    atoms = cluster.atoms
    first, second = close_pairs(atoms, floors(atoms.symbols, floor_A))
    if bad := int(((first >= cluster.n_core) | (second >= cluster.n_core)).sum()):
        return f"{bad} contacts at the seam are below the floor"
    near = atoms.get_distances(0, range(cluster.n_core, len(atoms)), mic=True) if len(atoms) > cluster.n_core else []
    if np.min(near, initial=np.inf) <= radius_A:
        return "an atom of the seam moved into the surroundings of the centre"
    return ""


def with_positions(cluster: Cluster, positions: np.ndarray) -> Cluster:
    """Return the cell with new positions (n_atoms, 3), Å, of the atoms beyond the core.

    Raises DataError if one is not finite.
    """
    if not np.isfinite(positions).all():
        raise DataError("a position is not finite", "the seam cannot be relaxed with this potential")
    atoms = cluster.atoms.copy()
    atoms.positions[cluster.n_core :] = positions[cluster.n_core :]
    return replace(cluster, atoms=atoms)
