"""Where a cell is disordered, seen along y: a map of order in x and z, and the size of its largest disordered patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.profiles import over_xz

BIN_A = 6.0
"""One cell of rock-salt: below it a square holds single atomic planes, and a map shows these."""
LEAST_ORDER = 0.5
"""A square of which a smaller share is crystal-like counts as disordered."""
# a square with less than this share of the atoms of the median one lies beside the crystal
_FEWEST = 0.3


@dataclass(frozen=True)
class OrderMap:
    """Share of crystal-like atoms in squares of x and z, over the whole depth.

    `x_A` (nx + 1,) and `z_A` (nz + 1,) are the borders of the squares. `fraction` (nx, nz) is NaN where hardly any
    atoms of the group are, and `counts` (nx, nz) are its atoms.
    """

    x_A: NDArray
    z_A: NDArray
    fraction: NDArray
    counts: NDArray


@dataclass(frozen=True)
class Region:
    """The largest patch of disorder, connected side by side and through the periodic boundary along x.

    `n_atoms` are all in it, crystal-like or not. `width_A` and `height_A` are its extent along x and z, in whole
    squares. `diameter_A` is that of the half-disc of the same area: to compare with a pulse.
    """

    n_atoms: int
    width_A: float
    height_A: float
    diameter_A: float


def order_map(atoms: Atoms, mask: NDArray, group: NDArray, bin_A: float = BIN_A) -> OrderMap:
    """Return the map of a mask of crystal-like atoms, shape (n,); only atoms of `group` (indices) count.

    Raises InputError as `over_xz`.
    """
    bins = over_xz(atoms, bin_A, group)
    fraction = bins.mean(np.asarray(mask)[group], _FEWEST)
    return OrderMap(bins.edges_A["x"], bins.edges_A["z"], fraction, bins.counts)


def largest_region(order: OrderMap) -> Region:
    """Return the largest patch of squares with less than `LEAST_ORDER` of their atoms crystal-like.

    The lowest and the highest squares are taken to be as those next to them: the planes beside a barrier match no
    crystal, in a perfect cell either.
    """
    patches = _patches(np.nan_to_num(_without_faces(order.fraction), nan=1.0) < LEAST_ORDER)
    sizes = np.bincount(patches.ravel(), weights=order.counts.ravel())
    sizes[0] = 0
    if not sizes.any():
        return Region(0, 0.0, 0.0, 0.0)
    inside = patches == int(np.argmax(sizes))
    dx, dz = float(order.x_A[1] - order.x_A[0]), float(order.z_A[1] - order.z_A[0])
    return Region(
        n_atoms=int(order.counts[inside].sum()),
        width_A=dx * int(inside.any(axis=1).sum()),
        height_A=dz * int(inside.any(axis=0).sum()),
        diameter_A=float(np.sqrt(8.0 * dx * dz * inside.sum() / np.pi)),
    )


def smooth_order(order: OrderMap) -> NDArray:
    """Return the crystal-like share (nx, nz) averaged over neighbouring squares, for contours.

    As for `largest_region`, the lowest and highest squares count as those next to them, and empty ones as crystal.
    """
    from scipy.ndimage import uniform_filter

    filled = np.nan_to_num(_without_faces(order.fraction), nan=1.0)
    return np.asarray(uniform_filter(filled, 3, mode=("wrap", "nearest")))


def _without_faces(fraction: NDArray) -> NDArray:
    rows = np.flatnonzero(np.isfinite(fraction).any(axis=0))
    if len(rows) < 3:
        return fraction
    inner = fraction.copy()
    inner[:, rows[0]], inner[:, rows[-1]] = fraction[:, rows[1]], fraction[:, rows[-2]]
    return inner


def _patches(where: NDArray) -> NDArray:
    """Number the connected patches of a mask (nx, nz) from 1, those that meet across the ends of x as one."""
    from scipy.ndimage import label

    patches, _ = label(where)
    for first, last in zip(patches[0], patches[-1], strict=True):
        # earlier rows may have renamed either
        if first and last and first != last:
            patches[patches == last] = first
    return patches
