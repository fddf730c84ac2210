"""Contact floors: how near two atoms may come before a configuration counts as collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from gst_jobflow.structures.contacts import PairDistances, pair_table, smallest_by_type

FLOOR_SHARE = 0.65
"""Contact floor of a pair as a share of the sum of its covalent radii: 1.68 Å for Ge-Te."""


def contact_floors(symbols: Sequence[str], given_A: Mapping[str, float], share: float = FLOOR_SHARE) -> PairDistances:
    """Return the smallest sound contacts of atoms of these elements.

    `given_A` are floors in Å by pair, ``{"Ge-Te": 1.7}``; a pair without one gets `share` of its covalent radii's sum.
    """
    radius_A = {element: covalent_radii[atomic_numbers[element]] for element in set(symbols)}
    floors_A = {
        f"{a}-{b}": share * (radius_A[a] + radius_A[b]) for a, b in combinations_with_replacement(sorted(radius_A), 2)
    }
    named = {"-".join(pair): floor_A for pair, floor_A in pair_table(given_A).items()}
    floors_A |= {pair: floor_A for pair, floor_A in named.items() if pair in floors_A}
    return PairDistances(symbols, floors_A, 1.0)


@dataclass(frozen=True)
class Contacts:
    """Closest contact of each pair of elements that is closer than twice its floor, Å, and the worst pair.

    `share` is the worst contact over its floor.
    """

    by_pair_A: dict[str, float]
    worst: str
    worst_A: float
    share: float

    @property
    def is_sound(self) -> bool:
        """Whether no contact is below its floor."""
        return self.share >= 1.0


def contacts(atoms: Atoms, floors: PairDistances) -> Contacts:
    """Measure the closest contact of every pair; the worst one is nearest to its floor, in proportion."""
    found_A = smallest_by_type(atoms, floors.scaled(2.0))
    share = found_A / floors.matrix_A
    names = {
        (i, j): f"{floors.elements[i]}-{floors.elements[j]}"
        for i, j in combinations_with_replacement(range(len(floors.elements)), 2)
    }
    by_pair = {name: float(found_A[at]) for at, name in names.items() if share[at] < 2.0}
    at = min(names, key=lambda pair: share[pair])
    return Contacts(by_pair, names[at], float(found_A[at]), float(share[at]))
