"""What is looked at in an imported record before it is believed."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.documents import Structure
    from gst_jobflow.store.records import Record


def check_atoms(atoms: Atoms, min_distance_A: float) -> None:
    """Refuse what cannot be a periodic structure, before anything is computed from it.

    Raises
    ------
    DataError
        No atoms, an unknown species, what is not finite, not periodic in all directions, or a cell too small for its
        atoms.
    """
    if len(atoms) == 0:
        raise DataError("no atoms")
    if atoms.numbers.min() < 1 or atoms.numbers.max() > 118:
        raise DataError("an unknown species: not an element")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError("a position or the cell is not finite")
    if not atoms.pbc.all():
        raise DataError("not periodic in all directions: volume and density are not known (put molecules in a box)")
    volume_A3 = float(atoms.get_volume()) if atoms.cell.rank == 3 else 0.0
    # closest packing: no arrangement in a smaller cell keeps the distance
    smallest_A3 = len(atoms) * min_distance_A**3 / math.sqrt(2)
    if volume_A3 < smallest_A3:
        raise DataError(f"a cell of {volume_A3:.3g} Å3 cannot hold {len(atoms)} atoms {min_distance_A:g} Å apart")
    if min(atoms.cell.lengths()) < min_distance_A:
        raise DataError(f"a cell vector shorter than {min_distance_A:g} Å: an atom meets its own image")


class EnergyWatch:
    """Energies per atom far from those of the last structures of the same elements.

    Far is 10 robust standard deviations (1.4826 × median absolute deviation) from the median, and at least 1 eV: it
    finds totals given per atom, hartree for eV, and runs that went wrong, not the merely unusual. Nothing is said of
    elements with fewer than 30 structures; single atoms are left out, for theirs are far from all others by right.
    """

    SAMPLE = 500
    FEWEST = 30
    FACTOR = 10 * 1.4826
    FLOOR_EV = 1.0

    def __init__(self) -> None:
        self._samples: dict[tuple[str, ...], deque[tuple[tuple[Path, int], float]]] = {}
        self._seen: dict[tuple[str, ...], int] = {}
        self._bounds: dict[tuple[str, ...], tuple[float, float]] = {}

    def odd(self, record: Record, structure: Structure, per_atom_eV: float) -> list[tuple[tuple[Path, int], str]]:
        """Add an energy; return (file, index) and reason of those that turn out to be far off."""
        if structure.n_atoms == 1:
            return []
        key = tuple(structure.elements)
        sample = self._samples.setdefault(key, deque(maxlen=self.SAMPLE))
        sample.append(((record.file, record.index), per_atom_eV))
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if seen < self.FEWEST:
            return []
        # medians are costly for every record, and change slowly
        if seen == self.FEWEST or seen % 50 == 0:
            energies = np.array([energy for _, energy in sample])
            median = float(np.median(energies))
            spread = float(np.median(np.abs(energies - median)))
            self._bounds[key] = (median, max(self.FACTOR * spread, self.FLOOR_EV))
        median, limit = self._bounds[key]
        candidates = list(sample) if seen == self.FEWEST else [sample[-1]]
        return [
            (place, f"energy {energy:.4g} eV/atom, the median of {'-'.join(key)} is {median:.4g}")
            for place, energy in candidates
            if abs(energy - median) > limit
        ]
