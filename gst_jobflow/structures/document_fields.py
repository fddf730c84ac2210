"""Compute what the database stores of a structure beside its atoms: derived numbers, and the hash that is its id."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.composition import reduced_formula
from gst_jobflow.structures.contacts import LONGER, first_cutoff_A, smallest_distance
from gst_jobflow.structures.lattice import AMU_PER_A3_IN_G_CM3, LEAST_VOLUME_A3, Vector, reciprocal_rows
from gst_jobflow.structures.plain_atoms import PlainAtoms

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

T = TypeVar("T")

# positions and cells are compared on a grid of 1e-8 Å, which is also what extxyz files keep
_PER_A = 1e8
# Atoms this close below the far face count as on the near one. It exceeds the rounding on the grid in a skewed cell
# (0.87e-8 Å) and is no whole number of grid steps, where atoms of an earlier rounding may lie.
_FACE_A = 2.5e-8
# frames of a trajectory have the same atoms; for larger ones counting costs little in comparison
_REMEMBERED_ATOMS = 10_000
_HEAVIEST = 118


def describe(atoms: Atoms) -> dict[str, Any]:
    """Return the numbers by which structures are searched.

    They are ``formula`` (reduced), ``composition`` (element to share), ``elements`` (sorted), ``n_atoms``,
    ``min_distance_A`` (None for a single atom without periodic images), and ``volume_per_atom_A3`` and
    ``density_g_cm3`` (None unless periodic in all directions). Raises DataError if there are no atoms, or positions or
    cell are not finite.
    """
    return _described(_checked(atoms), smallest_distance(atoms))


def identified(atoms: Atoms | PlainAtoms) -> tuple[str, dict[str, Any]]:
    """Return `content_hash` and `describe` of a structure, with one check for both; raises as they do.

    Plain values of periodic atoms are read by compiled loops, which pays for many of them.
    """
    if isinstance(atoms, PlainAtoms):
        if all(atoms.pbc):
            return _identified_by_kernels(atoms)
        atoms = atoms.atoms()
    plain = _checked(atoms)
    return _hashed(atoms), _described(plain, smallest_distance(atoms))


def _identified_by_kernels(atoms: PlainAtoms) -> tuple[str, dict[str, Any]]:
    from gst_jobflow.structures.kernels import identify

    _checked(atoms)
    if atoms.volume_A3 < LEAST_VOLUME_A3:
        # raises the error
        _periodic_directions(atoms.pbc, atoms.cell_A)
    positions, cell = np.ascontiguousarray(atoms.positions), np.array(atoms.cell_A)
    # as `_hashed` has them: species, cell, positions, pbc
    words = np.empty(4 * len(atoms) + 12, "<i8")
    cutoff_A = first_cutoff_A(atoms.volume_A3, len(atoms))
    closest_A = identify(atoms.numbers, positions, cell, _FACE_A, _PER_A, cutoff_A, LONGER, words)
    return hashlib.sha256(words.data).hexdigest()[:32], _described(atoms, closest_A)


def _described(atoms: PlainAtoms, closest_A: float) -> dict[str, Any]:
    cell_A3 = atoms.volume_A3 if all(atoms.pbc) else 0.0
    formula, shares, mass = _of_species(_composition, atoms.numbers)
    if "masses" in atoms.arrays:
        mass = float(atoms.arrays["masses"].sum())
    return {
        "formula": formula,
        "composition": dict(shares),
        "n_atoms": len(atoms),
        "elements": [element for element, _ in shares],
        "min_distance_A": closest_A if math.isfinite(closest_A) else None,
        "density_g_cm3": mass / cell_A3 * AMU_PER_A3_IN_G_CM3 if cell_A3 else None,
        "volume_per_atom_A3": cell_A3 / len(atoms) if cell_A3 else None,
    }


def are_elements(numbers: np.ndarray) -> bool:
    """Return whether all atomic numbers, shape (n,), are those of elements."""
    return _of_species(_are_elements, numbers)


def _of_species(function: _lru_cache_wrapper[T], numbers: np.ndarray) -> T:
    """Call a function of packed atomic numbers (int64) that remembers its results, for few atoms."""
    packed = numbers.astype(np.int64, copy=False).tobytes()
    return function(packed) if len(numbers) <= _REMEMBERED_ATOMS else function.__wrapped__(packed)


@lru_cache(maxsize=8)
def _are_elements(packed: bytes) -> bool:
    numbers = np.frombuffer(packed, np.int64)
    return bool(numbers.min() >= 1 and numbers.max() <= _HEAVIEST)


@lru_cache(maxsize=8)
def _composition(packed: bytes) -> tuple[str, tuple[tuple[str, float], ...], float]:
    """Return reduced formula, each element's share in alphabetical order, and mass of packed numbers (int64)."""
    numbers = np.frombuffer(packed, np.int64)
    present = np.bincount(numbers)
    counts = {chemical_symbols[number]: int(present[number]) for number in np.flatnonzero(present).tolist()}
    n_atoms = sum(counts.values())
    shares = tuple((element, counts[element] / n_atoms) for element in sorted(counts))
    return reduced_formula(counts), shares, float(atomic_masses[numbers].sum())


def content_hash(atoms: Atoms) -> str:
    """Return the id of a structure: 32 hexadecimal characters of a SHA-256.

    It covers, in the order of the atoms, species, cell, positions wrapped along the periodic directions and rounded to
    1e-8 Å, and pbc; nothing else (no velocities, energies, tags, constraints).

    Shifts by lattice vectors, -0.0 for 0.0, and atoms at the far face instead of 0 do not change the id; neither does a
    file with eight decimals, if the atoms lie inside the cell (see `canonical`). Noise may move a coordinate across a
    rounding boundary, which no hash can avoid. Elementwise IEEE operations and little-endian 64-bit integers make the
    id the same on every platform.

    Raises DataError if there are no atoms, values are not finite, or a periodic direction has no cell vector.
    """
    _checked(atoms)
    return _hashed(atoms)


def _hashed(atoms: Atoms) -> str:
    cell, positions = _grid(atoms)
    parts = (atoms.numbers, cell, positions, atoms.pbc)
    return hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()[:32]


def canonical(atoms: Atoms) -> Atoms:
    """Return a copy wrapped and rounded as in `content_hash`, for storage.

    Files with eight decimals keep it, and so its id, exactly. Other arrays and info are kept.
    """
    _checked(atoms)
    cell, positions = _grid(atoms)
    copy = atoms.copy()
    copy.set_constraint()
    copy.set_cell(cell / _PER_A)
    copy.set_positions(positions / _PER_A)
    copy.set_constraint(atoms.constraints)
    return copy


def _grid(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return cell, shape (3, 3), and wrapped positions, shape (n_atoms, 3), as whole numbers of 1e-8 Å, int64."""
    cell = atoms.cell.array
    # rows x, y, z: adjacent numbers are read faster
    axes, reciprocal, faces = _periodic_directions(atoms.pbc.tolist(), cell.tolist())
    wrapped = atoms.positions.T.copy()
    # most structures are wrapped already: check all directions at once
    if axes and _outside(_fractions(wrapped, reciprocal, faces)):
        for row, axis in enumerate(axes):
            fraction = _fractions(wrapped, reciprocal[row : row + 1], faces[row : row + 1])[0]
            if _outside(fraction):
                wrapped -= np.floor(fraction) * cell[axis][:, None]
    return np.rint(cell * _PER_A).astype(np.int64), np.rint(wrapped * _PER_A).astype(np.int64).T


def _fractions(positions: np.ndarray, reciprocal: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return fractional coordinates, shape (directions, n_atoms), of positions, shape (3, n_atoms).

    They are summed term by term, since matrix products may use fused operations that differ between machines.
    """
    fractions = reciprocal[:, :1] * positions[0]
    fractions += reciprocal[:, 1:2] * positions[1]
    fractions += reciprocal[:, 2:] * positions[2]
    fractions += faces
    return fractions


def _outside(fractions: np.ndarray) -> bool:
    return bool(fractions.min() < 0 or fractions.max() >= 1)


def _periodic_directions(pbc: list[bool], rows: list[Vector]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return k periodic axes, their reciprocal vectors (k, 3) in 1/Å, and `_FACE_A` as a fraction of each, (k, 1)."""
    axes = [axis for axis, periodic in enumerate(pbc) if periodic]
    if not axes:
        return [], np.empty((0, 3)), np.empty((0, 1))
    if not all(any(rows[axis]) for axis in axes):
        raise DataError("a periodic direction has no cell vector", "set the cell, or pbc to False")
    if not all(map(any, rows)):
        from ase.cell import Cell

        rows = Cell.new(rows).complete().array.tolist()
    reciprocal = reciprocal_rows(rows)
    if reciprocal is None:
        raise DataError("the cell vectors are not independent", "set a cell that spans a volume")
    chosen = [reciprocal[axis] for axis in axes]
    heights_A = [1 / math.sqrt(sum(x * x for x in row)) for row in chosen]
    return axes, np.array(chosen), np.array([[_FACE_A / height_A] for height_A in heights_A])


def _checked(atoms: Atoms | PlainAtoms) -> PlainAtoms:
    """Return the plain values of a structure that can be stored; raises DataError."""
    plain = PlainAtoms.of(atoms)
    if len(plain) == 0:
        raise DataError("a structure without atoms cannot be stored", "leave it out")
    if not plain.is_finite:
        raise DataError("a position or the cell is not finite", "leave the structure out")
    return plain
