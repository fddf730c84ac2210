"""Neighbourhoods of atoms: periodic images around a cell, and a grid to find neighbours in without a list of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from gst_jobflow.base.errors import DataError, InputError


class CellGrid(NamedTuple):
    """Atoms and images in cubes of at least the reach: all neighbours of a point are in the 27 cubes around it.

    Attributes
    ----------
    points, owners
        Positions (m, 3) in Å, cube by cube, and the atom of each, shape (m,).
    home
        The point of each atom that is in the cell itself, shape (n,).
    start
        First point of each cube, and their number, shape (cubes + 1,); z runs fastest.
    shape, low, edge_A
        Numbers of cubes (3,), their lowest corner (3,), and their edge.
    """

    points: NDArray
    owners: NDArray
    home: NDArray
    start: NDArray
    shape: NDArray
    low: NDArray
    edge_A: float


def cell_grid(atoms: Atoms, reach_A: float, among: NDArray | None = None) -> CellGrid:
    """Return the atoms of a cell, or those `among` some indices, and all images within reach, sorted into cubes.

    Owners are indices into `among`. Errors are those of `with_images`.
    """
    points, owners = with_images(atoms, reach_A, among)
    low = points.min(axis=0)
    extent = points.max(axis=0) - low
    # atoms far apart in vacuum need larger cubes, not more of them
    edge = max(reach_A, float(np.cbrt(np.prod(np.maximum(extent, reach_A)) / (4 * len(points)))))
    shape = (extent / edge).astype(int) + 1
    flat = np.ravel_multi_index(tuple(((points - low) / edge).astype(int).T), tuple(shape))
    order = np.argsort(flat, kind="stable")
    start = np.zeros(int(np.prod(shape)) + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat, minlength=len(start) - 1), out=start[1:])
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    n = len(atoms) if among is None else len(among)
    return CellGrid(points[order], owners[order], place[:n], start, shape, low, edge)


def elements_of(atoms: Atoms) -> list[str]:
    """Return the elements in alphabetical order; without a name for each atom, which takes long in large cells."""
    return sorted(chemical_symbols[number] for number in np.unique(atoms.numbers))


def kinds_of(atoms: Atoms, elements: Sequence[str]) -> NDArray:
    """Return the place of each atom's element among `elements`, shape (n,); −1 for another element."""
    place = np.full(max(atomic_numbers.values()) + 1, -1)
    place[[atomic_numbers[element] for element in elements]] = np.arange(len(elements))
    return place[atoms.numbers]


def with_images(atoms: Atoms, reach_A: float, among: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Return the atoms of a cell, wrapped along periodic axes, and all periodic images within reach of it.

    Parameters
    ----------
    reach_A
        How far images are kept beyond the faces of the cell.
    among
        Indices of the atoms to copy; all by default.

    Returns
    -------
    points, owners
        Positions (m, 3) in Å, atoms of the cell first and in order, and for each the index into `among`, shape (m,).

    Raises
    ------
    InputError
        There are no atoms, or the cell has no volume.
    DataError
        A position is not finite.
    """
    if not np.all(np.isfinite(atoms.positions)):
        raise DataError("positions are not finite: the configuration comes from a failed run")
    if len(atoms) == 0 or atoms.cell.volume <= 0:
        raise InputError("neighbours need atoms in a cell with a volume", "set the cell, also for open boundaries")
    cell = np.asarray(atoms.cell)
    scaled = atoms.get_scaled_positions(wrap=True)
    scaled = scaled if among is None else scaled[among]
    owners = np.arange(len(scaled))
    heights = atoms.cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    for axis in np.flatnonzero(atoms.pbc):
        pad = reach_A / heights[axis] + 1e-9
        along = scaled[:, axis]
        pieces, indices = [scaled], [owners]
        for shift in range(1, int(np.ceil(pad)) + 1):
            for sign in (shift, -shift):
                inside = np.flatnonzero((along + sign >= -pad) & (along + sign <= 1.0 + pad))
                moved = scaled[inside]
                moved[:, axis] += sign
                pieces.append(moved)
                indices.append(owners[inside])
        scaled, owners = np.concatenate(pieces), np.concatenate(indices)
    return scaled @ cell, owners
