"""Geometry of lattice vectors, mostly as plain numbers: several times as fast as arrays for three rows."""

from __future__ import annotations

import math

from ase import Atoms

Vector = list[float]
AMU_PER_A3_IN_G_CM3 = 1.66053906660
LEAST_VOLUME_A3 = 1e-12
"""Below, vectors are not independent."""


def volume_A3(rows: list[Vector]) -> float:
    """Return the volume that three vectors in Å span."""
    return abs(_triple(rows))


def lengths_A(rows: list[Vector]) -> list[float]:
    """Return the length of each vector."""
    return [math.sqrt(_dot(row, row)) for row in rows]


def reciprocal_rows(rows: list[Vector]) -> list[Vector] | None:
    """Return reciprocal vectors in 1/Å (without 2π), each one over a height long; None if the cell spans no volume."""
    volume = _triple(rows)
    if abs(volume) < LEAST_VOLUME_A3:
        return None
    a, b, c = rows
    return [[x / volume, y / volume, z / volume] for x, y, z in (_cross(b, c), _cross(c, a), _cross(a, b))]


def right_handed(atoms: Atoms) -> Atoms:
    """Return the atoms, with the second and third vector of a left-handed cell exchanged, which moves no atom.

    VASP and pyace refuse left-handed cells.
    """
    if atoms.cell.handedness >= 0:
        return atoms
    order = [0, 2, 1]
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array[order], scale_atoms=False)
    turned.pbc = atoms.pbc[order]
    return turned


def _triple(rows: list[Vector]) -> float:
    return _dot(rows[0], _cross(rows[1], rows[2]))


def _cross(a: Vector, b: Vector) -> Vector:
    a0, a1, a2 = a
    b0, b1, b2 = b
    return [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
