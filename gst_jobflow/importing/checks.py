"""What is looked at in an imported record before it is believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.lattice import lengths_A, volume_A3

if TYPE_CHECKING:
    from ase import Atoms


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
    cell_A = atoms.cell.array.tolist()
    cell_A3 = volume_A3(cell_A)
    # closest packing: no arrangement in a smaller cell keeps the distance
    smallest_A3 = len(atoms) * min_distance_A**3 / math.sqrt(2)
    if cell_A3 < smallest_A3:
        raise DataError(f"a cell of {cell_A3:.3g} Å3 cannot hold {len(atoms)} atoms {min_distance_A:g} Å apart")
    if min(lengths_A(cell_A)) < min_distance_A:
        raise DataError(f"a cell vector shorter than {min_distance_A:g} Å: an atom meets its own image")
