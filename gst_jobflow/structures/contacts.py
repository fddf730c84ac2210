"""Find the smallest distances and close pairs of atoms in periodic cells, and push close pairs apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.lattice import volume_A3

# push_apart gives up on jammed atoms: when the energy falls by less than 2 % in 150 steps
_STALL_STEPS, _MOST_STEPS = 150, 2000
_STALL_SHARE = 0.98
# excess of the distances that push_apart aims at, so that the result is strictly on the safe side
_MARGIN = 1e-3
# First cutoff in units of the mean spacing. Closest contacts are 0.7 to 0.85 in liquids and random structures, above
# 0.9 in crystals; a second search costs less than the pairs of a long cutoff.
_FIRST_CUTOFF = 0.75
LONGER = 1.2
# matscipy divides the cell into boxes of the cutoff: 0.001 Å would make more of them than memory holds
_SHORTEST_SEARCH_A = 0.5


class PairDistances:
    """Smallest allowed distance of every pair of elements.

    Parameters
    ----------
    species
        Element of each atom, shape (n_atoms,).
    pairs_A
        Distances in Å for named pairs, ``{"Ge-Te": 2.5}``; order within a pair does not matter.
    default_A
        Distance in Å for all other pairs.

    Attributes
    ----------
    types : numpy.ndarray
        Index of each atom's element in `elements`, shape (n_atoms,), int32.
    matrix_A : numpy.ndarray
        Smallest distances in Å, shape (n_elements, n_elements), symmetric.

    Raises
    ------
    InputError
        A pair is not two element symbols joined by a dash, has two different distances, or a distance is not positive.
    """

    def __init__(self, species: Sequence[str], pairs_A: Mapping[str, float], default_A: float) -> None:
        self.elements = sorted(set(species))
        index = {element: i for i, element in enumerate(self.elements)}
        self.types = np.array([index[element] for element in species], dtype=np.int32)
        self.matrix_A = np.full((len(index), len(index)), float(default_A))
        for (first, second), distance_A in pair_table(pairs_A).items():
            if first in index and second in index:
                self.matrix_A[index[first], index[second]] = distance_A
                self.matrix_A[index[second], index[first]] = distance_A

    def scaled(self, factor: float) -> PairDistances:
        """Return a copy with all distances multiplied by `factor`."""
        other = copy.copy(self)
        other.matrix_A = self.matrix_A * factor
        return other

    def mean_cube_A3(self) -> float:
        """Return the mean over all pairs of atoms of the cubed distance: the volume scale of the packing, in Å^3."""
        share = np.bincount(self.types, minlength=len(self.elements)) / len(self.types)
        return float(share @ self.matrix_A**3 @ share)


def pair_table(pairs_A: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Read ``{"Ge-Te": 2.5}`` into ``{("Ge", "Te"): 2.5}`` with sorted keys; raises InputError as PairDistances."""
    table: dict[tuple[str, str], float] = {}
    for name, distance_A in pairs_A.items():
        parts = tuple(sorted(part.strip() for part in name.split("-")))
        if len(parts) != 2 or any(part == "X" or part not in atomic_numbers for part in parts):
            raise InputError(f"'{name}' is not a pair of elements", "write pairs as 'Ge-Te'")
        if not (math.isfinite(distance_A) and distance_A > 0):
            raise InputError(f"smallest distance of {name} is {distance_A} Å", "give a positive number")
        if table.setdefault(parts, distance_A) != distance_A:
            raise InputError(f"the pair {name} is given twice with different distances", "keep one of them")
    return table


def min_distance(atoms: Atoms) -> float:
    """Return the smallest distance between two atoms in Å, periodic images and an atom's own images included.

    Infinite if there is no pair (one atom, not periodic). Raises DataError if there are no atoms, or positions are not
    finite.
    """
    if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
        raise DataError("there are no atoms, or positions that are not finite", "leave the structure out")
    return smallest_distance(atoms)


def smallest_distance(atoms: Atoms) -> float:
    """Return `min_distance` of one or more atoms with finite positions, without a check."""
    has_pairs = len(atoms) > 1 or atoms.pbc.any()
    cutoff_A = first_cutoff_A(_volume_A3(atoms), len(atoms))
    while has_pairs:
        closest_A = float(_neighbours("d", atoms, cutoff_A).min(initial=math.inf))
        if closest_A < math.inf:
            return closest_A
        cutoff_A *= LONGER
    return math.inf


def first_cutoff_A(volume_A3: float, n_atoms: int) -> float:
    """Return where the search for the smallest distance begins; it goes on to a `LONGER` one if there is no pair."""
    return _FIRST_CUTOFF * (volume_A3 / n_atoms) ** (1 / 3)


def closest_pair(atoms: Atoms, within_A: float) -> float:
    """Return the smallest distance between two atoms in Å, or `within_A` if none is smaller."""
    d = _neighbours("d", atoms, within_A)
    return float(d.min(initial=within_A))


@dataclass(frozen=True)
class Contact:
    """Two close atoms, with their elements in alphabetical order; `across_boundary`: one is a periodic image.

    `places` are their indices, equal for an atom and its own image.
    """

    distance_A: float
    places: tuple[int, int]
    elements: tuple[str, str]
    across_boundary: bool


def closest_contact(atoms: Atoms, within_A: float) -> Contact | None:
    """Return the closest two atoms, or None if they are more than `within_A` Å apart."""
    i, j, d, shift = _neighbours("ijdS", atoms, within_A)
    if len(d) == 0:
        return None
    at = int(d.argmin())
    places = int(i[at]), int(j[at])
    first, second = sorted(atoms.symbols[list(places)])
    return Contact(float(d[at]), places, (first, second), bool(shift[at].any()))


def scaled_min_distance(atoms: Atoms, allowed: PairDistances) -> float:
    """Return the smallest ratio of a distance to the `allowed` one, at most 1.5; 1 or more means no overlap."""
    i, j, d = _neighbours("ijd", atoms, 1.5 * allowed.matrix_A, allowed.types)
    if len(d) == 0:
        return 1.5
    return float((d / allowed.matrix_A[allowed.types[i], allowed.types[j]]).min())


def smallest_by_type(atoms: Atoms, allowed: PairDistances) -> np.ndarray:
    """Return the smallest distance of each pair of types, at most `allowed`, in Å, shape (n_types, n_types)."""
    i, j, d = _neighbours("ijd", atoms, np.maximum(allowed.matrix_A, _SHORTEST_SEARCH_A), allowed.types)
    found = allowed.matrix_A.copy()
    np.minimum.at(found, (allowed.types[i], allowed.types[j]), d)
    return found


def close_pairs(atoms: Atoms, allowed: PairDistances) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of all pairs closer than `allowed`, each pair once, periodic images included.

    An atom too close to its own image is a pair with itself.
    """
    i, j, d = _neighbours("ijd", atoms, allowed.matrix_A, allowed.types)
    kept = (i <= j) & (d < allowed.matrix_A[allowed.types[i], allowed.types[j]])
    return i[kept], j[kept]


def push_apart(
    atoms: Atoms,
    allowed: PairDistances,
    movable: np.ndarray | None = None,
    skin_A: float = 0.0,
) -> int:
    """Move atoms, in place, until no pair is closer than `allowed`; return the number of steps.

    FIRE minimises an energy harmonic in the overlaps until it no longer falls. Coincident atoms have no direction in
    which to part. The caller checks whether overlaps are left (`scaled_min_distance`).

    Parameters
    ----------
    atoms
        Cell and positions; atoms may leave the cell, so wrap them afterwards.
    allowed
        Smallest distances of these atoms.
    movable
        Mask of the atoms that may move, shape (n_atoms,); default: all.
    skin_A
        Extra distance within which pairs are listed; the list is kept until an atom has moved half of it, which is
        quicker if few atoms move. 0 lists pairs at every step.
    """
    target_A = allowed.matrix_A * (1 + _MARGIN)
    free = np.ones(len(atoms), bool) if movable is None else np.asarray(movable, bool)
    pairs = _Overlaps(atoms, allowed, target_A, free, skin_A)
    fire = _Fire(len(atoms), 0.2 * target_A.max())
    energy_before = math.inf
    for step in range(_MOST_STEPS):
        force, energy = pairs.forces()
        if energy == 0.0:
            return step
        if step % _STALL_STEPS == _STALL_STEPS - 1:
            if energy > _STALL_SHARE * energy_before:
                return step
            energy_before = energy
        atoms.positions += fire.step(force)
    return _MOST_STEPS


class _Fire:
    """The minimiser of Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), with steps up to `limit_A`."""

    def __init__(self, n_atoms: int, limit_A: float) -> None:
        self.limit_A, self.velocity = limit_A, np.zeros((n_atoms, 3))
        # halved by the first step, which goes downhill from rest
        self.dt, self.mixing, self.downhill = 0.6, 0.1, 0

    def step(self, force: np.ndarray) -> np.ndarray:
        """Return the displacements that follow from forces, both (n_atoms, 3)."""
        velocity = self.velocity
        if float((force * velocity).sum()) > 0:
            speed, strength = math.sqrt((velocity**2).sum()), math.sqrt((force**2).sum())
            velocity = (1 - self.mixing) * velocity + self.mixing * speed / strength * force
            self.downhill += 1
            if self.downhill > 5:
                self.dt, self.mixing = min(self.dt * 1.1, 1.0), self.mixing * 0.99
        else:
            velocity, self.dt, self.mixing, self.downhill = 0 * velocity, max(self.dt * 0.5, 0.05), 0.1, 0
        self.velocity = velocity + self.dt * force
        move = self.dt * self.velocity
        longest_A = np.sqrt((move**2).sum(axis=1)).max()
        return move * min(1.0, self.limit_A / longest_A) if longest_A > 0 else move


class _Overlaps:
    """Movable pairs of atoms that are closer than `target_A` (n_types, n_types)."""

    def __init__(
        self, atoms: Atoms, allowed: PairDistances, target_A: np.ndarray, free: np.ndarray, skin_A: float
    ) -> None:
        self.atoms, self.types, self.target_A, self.free, self.skin_A = atoms, allowed.types, target_A, free, skin_A
        self.listed_at: np.ndarray | None = None

    def forces(self) -> tuple[np.ndarray, float]:
        """Return forces in Å, shape (n_atoms, 3), and energy in Å^2 of the overlaps that can be reduced."""
        i, j, d, vector = self._near()
        overlap = self.target_A[self.types[i], self.types[j]] - d
        pull = -(overlap / d)[:, None] * vector
        force = np.stack([np.bincount(i, pull[:, k], minlength=len(self.atoms)) for k in range(3)], axis=1)
        force[~self.free] = 0.0
        return force, float((overlap**2).sum()) / 4

    def _near(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if self.skin_A == 0:
            i, j, d, vector = _neighbours("ijdD", self.atoms, self.target_A, self.types)
            kept = (i != j) & (d > 0) & (self.free[i] | self.free[j])
            return i[kept], j[kept], d[kept], vector[kept]
        positions = self.atoms.positions
        if self.listed_at is None or 2 * np.abs(positions - self.listed_at).max() * math.sqrt(3) > self.skin_A:
            i, j, shift = _neighbours("ijS", self.atoms, self.target_A + self.skin_A, self.types)
            kept = (i != j) & (self.free[i] | self.free[j])
            self.i, self.j = i[kept], j[kept]
            self.shift_A = shift[kept] @ self.atoms.cell.complete().array
            self.reach_A = self.target_A[self.types[self.i], self.types[self.j]]
            self.listed_at = positions.copy()
        vector = positions[self.j] - positions[self.i] + self.shift_A
        d = np.sqrt((vector * vector).sum(axis=1))
        near = (d < self.reach_A) & (d > 0)
        return self.i[near], self.j[near], d[near], vector[near]


def _volume_A3(atoms: Atoms) -> float:
    """Return the volume of the cell, or of the bounding box if the cell spans none."""
    cell_A3 = volume_A3(atoms.cell.array.tolist())
    if cell_A3:
        return cell_A3
    extent = np.ptp(atoms.positions, axis=0) + 1.0
    return float(extent.prod())


def _neighbours(quantities: str, atoms: Atoms, cutoff: float | np.ndarray, types: np.ndarray | None = None) -> Any:
    """Call matscipy's neighbour search; `cutoff` in Å is one number or a matrix over `types`."""
    from matscipy.neighbours import neighbour_list

    numbers = np.zeros(len(atoms), np.int32) if types is None else types
    cell = atoms.cell.array
    if not all(map(any, cell.tolist())):
        # directions without a vector (molecules, slabs) get one; they are not periodic, so any length will do
        cell = atoms.cell.complete().array
    return neighbour_list(
        quantities, positions=atoms.positions, cell=cell, pbc=atoms.pbc, numbers=numbers, cutoff=cutoff
    )


def seam_distance(atoms: Atoms, first: np.ndarray) -> float:
    """Return the smallest distance in Å between an atom of the mask `first`, shape (n_atoms,), and one outside it.

    Raises DataError if one side has no atoms.
    """
    first = np.asarray(first, bool)
    if first.all() or not first.any():
        raise DataError("one side of the seam has no atoms", "check the group boundaries")
    cutoff_A = 3.0
    while True:
        # cutoff 0 within a side, whose many pairs do not matter
        d = _neighbours("d", atoms, np.array([[0.0, cutoff_A], [cutoff_A, 0.0]]), first.astype(np.int32))
        if len(d):
            return float(d.min())
        cutoff_A *= 2
