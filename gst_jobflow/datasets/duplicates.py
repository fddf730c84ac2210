"""Find near-duplicates: structures that are equal up to order, origin and orientation of the atoms and small shifts.

Exact duplicates do not exist, since a structure's id is a hash of its content. Reordered, shifted or rotated atoms,
another choice of cell, or fewer decimals give another id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.table import Members, texts_of
from gst_jobflow.documents import Structure
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of

REACH_A = 6.0
"""Longer distances count as this one."""
NEIGHBOURS = 12
"""Nearest atoms of each element that describe an atom."""
_BLOCKS = (slice(0, 1), slice(1, 3), slice(3, 6), slice(6, NEIGHBOURS))
_KEPT_ENVIRONMENTS = 512
_BATCH = 500


@dataclass(frozen=True)
class NearDuplicate:
    """The row of a member, the row of the one that it nearly equals, and their energy difference (eV/atom)."""

    row: int
    of: int
    energy_difference_eV: float


def near_duplicates(
    results: Results, members: Members, tolerance_A: float, progress: Callable[[int, int], None] | None = None
) -> list[NearDuplicate]:
    """Find the members that are near a kept member of a lower label id.

    Two structures are near-duplicates when they have the same numbers of atoms of each element and their atoms can be
    paired, element by element, so that the sorted distances of both to their 12 nearest neighbours of each element (up
    to 6 Å) differ nowhere by more than the tolerance. Moves of up to half the tolerance are always found, whatever the
    order, origin and orientation of the atoms. The relation does not chain: frames of a slow trajectory that are
    further apart than the tolerance stay.

    A k-d tree of mean distances keeps the time linear in the members of a composition, at a few milliseconds for a
    hundred atoms; above 0.05 Å it takes longer, because mean distances no longer separate the frames of a liquid.

    A tolerance of 0.01 Å finds structures that were rounded in files, 0.1 Å a crystal at a few kelvin; InputError is
    raised if it is not between 0 and 1 Å. `progress` is called with the numbers of members read and to read.
    """
    if not 0 < tolerance_A <= 1:
        raise InputError(f"tolerance {tolerance_A:g} Å", "choose one above 0 and up to 1 Å, e.g. 0.01")
    kinds = _same_composition(members)
    total, done = sum(len(rows) for rows in kinds), 0
    found: list[NearDuplicate] = []
    for rows in kinds:
        environments = _Environments(results, members)
        summaries = []
        for environment in environments.read(rows):
            summaries.append(_summary(environment))
            done += 1
            if progress is not None and done % _BATCH == 0:
                progress(done, total)
        for first, second in _greedy(rows, np.array(summaries), environments, tolerance_A):
            difference = abs(float(members.energies_eV[first] - members.energies_eV[second]))
            found.append(NearDuplicate(second, first, difference))
    return sorted(found, key=lambda pair: pair.row)


def without_near_duplicates(results: Results, structures: Sequence[Structure], tolerance_A: float) -> list[Structure]:
    """Leave out stored structures that are near another one; see `near_duplicates`."""
    rows = [
        {"label_id": each.id, "structure_id": each.id, "group": each.group or each.id, "config_type": each.config_type,
         "formula": each.formula, "n_atoms": each.n_atoms, "energy_per_atom_eV": np.nan, "max_force_eV_A": None,
         "split": "train"}
        for each in structures
    ]  # fmt: skip
    near = {pair.row for pair in near_duplicates(results, Members.of(rows), tolerance_A)}
    return [each for place, each in enumerate(structures) if place not in near]


def _same_composition(members: Members) -> list[np.ndarray]:
    """Return the rows of members that share numbers of atoms of each element, where two or more do."""
    keys = np.stack([members.formulas.codes, members.n_atoms], axis=1)
    _, kind, number = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(kind.ravel(), kind="stable")
    return [rows for rows in np.split(order, np.cumsum(number)[:-1]) if len(rows) > 1]


def _greedy(
    rows: np.ndarray, summaries: np.ndarray, environments: _Environments, tolerance_A: float
) -> Iterator[tuple[int, int]]:
    """Yield (kept row, row near it) in rising order of the first."""
    from scipy.spatial import KDTree

    tree = KDTree(summaries)
    gone = np.zeros(len(rows), bool)
    # allows for rounding of the means
    reach = tolerance_A + 1e-9
    for place, row in enumerate(rows.tolist()):
        if gone[place]:
            continue
        near = tree.query_ball_point(summaries[place], reach, p=np.inf, return_sorted=True)
        for other in (other for other in near if other > place and not gone[other]):
            if _match(environments[row], environments[int(rows[other])], reach):
                gone[other] = True
                yield row, int(rows[other])


class _Environments(OrderedDict[int, dict[int, np.ndarray]]):
    """Environments by row, the last ones cached: compared members are often close in the list."""

    def __init__(self, results: Results, members: Members) -> None:
        super().__init__()
        self.results, self.members = results, members

    def read(self, rows: np.ndarray) -> Iterator[dict[int, np.ndarray]]:
        """Yield the environments of rows, in order."""
        structures = self.results.get_many(Structure, texts_of(self.members.structure_ids[rows]))
        for row, structure in zip(rows.tolist(), structures, strict=True):
            self[row] = environment = environments(atoms_of(structure, self.results.artifacts))
            if len(self) > _KEPT_ENVIRONMENTS:
                self.popitem(last=False)
            yield environment

    def __missing__(self, row: int) -> dict[int, np.ndarray]:
        return next(self.read(np.array([row])))


def environments(atoms: Atoms) -> dict[int, np.ndarray]:
    """Return the sorted distances (Å) of atoms to their nearest neighbours of each element, by atomic number.

    Each has the shape (n_atoms of the element, n_elements, `NEIGHBOURS`). Periodic images count; missing neighbours
    and those beyond `REACH_A` are at `REACH_A`. Moving every atom by at most d changes no number by more than 2 d.
    """
    from matscipy.neighbours import neighbour_list

    elements, kinds = np.unique(atoms.numbers, return_inverse=True)
    centre, other, distance_A = neighbour_list("ijd", atoms, REACH_A)
    # sorted by atom, element of the neighbour, distance
    key = centre.astype(np.int64) * len(elements) + kinds[other]
    order = np.lexsort((distance_A, key))
    key, distance_A = key[order], distance_A[order]
    place = np.arange(len(key)) - np.searchsorted(key, key)
    near = place < NEIGHBOURS
    table = np.full((len(atoms) * len(elements), NEIGHBOURS), REACH_A)
    table[key[near], place[near]] = distance_A[near]
    by_atom = table.reshape(len(atoms), len(elements), NEIGHBOURS)
    return {int(number): by_atom[kinds == kind] for kind, number in enumerate(elements)}


def _summary(environment: dict[int, np.ndarray]) -> np.ndarray:
    """Return mean distances by elements and rank; those of near-duplicates differ by no more than the tolerance."""
    means = [np.stack([table[:, :, block].mean(axis=(0, 2)) for block in _BLOCKS]) for table in environment.values()]
    return np.concatenate([mean.ravel() for mean in means])


def _match(first: dict[int, np.ndarray], second: dict[int, np.ndarray], tolerance_A: float) -> bool:
    """Whether all atoms can be paired within the tolerance."""
    return all(_pair_up(first[number], second[number], tolerance_A) for number in first)


def _pair_up(first: np.ndarray, second: np.ndarray, tolerance_A: float) -> bool:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial.distance import cdist

    n_atoms = len(first)
    apart = cdist(first.reshape(n_atoms, -1), second.reshape(n_atoms, -1), "chebyshev")
    alike = apart <= tolerance_A
    if not (alike.any(axis=0).all() and alike.any(axis=1).all()):
        return False
    partners: Any = maximum_bipartite_matching(csr_array(alike), perm_type="column")
    return bool((partners >= 0).all())
