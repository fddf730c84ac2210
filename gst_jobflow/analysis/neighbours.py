"""Neighbourhoods of atoms: periodic images around a cell, and blocks that bound the memory of a large cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


def with_images(atoms: Atoms, reach_A: float, among: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Return the atoms of a cell and all periodic images within reach of it.

    Parameters
    ----------
    atoms
        Any cell; positions outside are wrapped along periodic axes.
    reach_A
        How far images are kept beyond the faces of the cell.
    among
        Indices of the atoms to copy; all by default.

    Returns
    -------
    points, owners
        Positions (m, 3) in Å, and for each the index into `among`, shape (m,).
    """
    cell = np.asarray(atoms.cell)
    scaled = atoms.get_scaled_positions(wrap=True)
    scaled = scaled if among is None else scaled[among]
    heights = atoms.cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    pad = np.where(atoms.pbc, reach_A / heights, 0.0)
    images = [np.arange(-int(np.ceil(p)), int(np.ceil(p)) + 1) for p in pad]
    shifts = np.stack(np.meshgrid(*images, indexing="ij"), axis=-1).reshape(-1, 3)
    low, high = np.where(atoms.pbc, -pad - 1e-9, -np.inf), np.where(atoms.pbc, 1.0 + pad + 1e-9, np.inf)
    points, owners = [], []
    for shift in shifts:
        moved = scaled + shift
        inside = np.all((moved >= low) & (moved <= high), axis=1)
        points.append(moved[inside])
        owners.append(np.flatnonzero(inside))
    return np.concatenate(points) @ cell, np.concatenate(owners)


def blocks(atoms: Atoms, reach_A: float, n_atoms: int) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Cut a cell into blocks of about `n_atoms`, each with all neighbours within reach.

    Yields
    ------
    centres, points, owners
        Indices of the atoms of the block (k,); positions (m, 3) of these, first and in the same order, and of every
        atom or image within `reach_A` of their bounding box; indices of all of them into the cell, shape (m,).
    """
    points, owners = with_images(atoms, reach_A)
    cell = np.asarray(atoms.cell)
    at_home = atoms.get_scaled_positions(wrap=True) @ cell
    number = np.maximum(
        1, np.round(np.linalg.norm(cell, axis=1) * (len(atoms) / n_atoms / atoms.cell.volume) ** (1 / 3))
    )
    place = np.minimum((atoms.get_scaled_positions(wrap=True) * number).astype(int), number.astype(int) - 1)
    place = np.maximum(place, 0)
    flat = np.ravel_multi_index(tuple(place.T), tuple(number.astype(int)))
    order = np.argsort(flat, kind="stable")
    along = np.argsort(points[:, 2])
    heights = points[along, 2]
    for centres in np.split(order, np.flatnonzero(np.diff(flat[order])) + 1):
        low, high = at_home[centres].min(axis=0) - reach_A, at_home[centres].max(axis=0) + reach_A
        # sorted along z: a block looks at its own layer only
        layer = along[np.searchsorted(heights, low[2]) : np.searchsorted(heights, high[2], side="right")]
        near = layer[np.all((points[layer, :2] >= low[:2]) & (points[layer, :2] <= high[:2]), axis=1)]
        own = np.isin(owners[near], centres) & np.all(np.abs(points[near] - at_home[owners[near]]) < 1e-6, axis=1)
        rest = near[~own]
        yield centres, np.concatenate([at_home[centres], points[rest]]), np.concatenate([centres, owners[rest]])
