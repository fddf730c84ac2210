"""Profiles along z of one configuration: temperature, density, any per-atom quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import DataError, InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ZProfile:
    """Bins along z; `values` is NaN where a bin has no atoms.

    Attributes
    ----------
    z_A, values, counts
        Shape (bins,): centre of the bin in Å, value, number of atoms.
    """

    z_A: NDArray
    values: NDArray
    counts: NDArray


def bin_along_z(atoms: Atoms, values: NDArray, bin_A: float, group: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return (centres, counts, sums) of values (n,) of the atoms of `group` in equal bins along z.

    The cell is cut into the whole number of bins nearest to its height over `bin_A`; atoms are wrapped into it.

    Raises
    ------
    InputError
        If the bins are not positive, or the cell's z axis leans.
    """
    if bin_A <= 0:
        raise InputError(f"bins of {bin_A} Å cannot be", "give a positive width")
    cell = np.asarray(atoms.cell)
    height = cell[2, 2]
    if np.any(np.abs(cell[[0, 1], 2]) > 1e-8 * height):
        raise InputError("profiles along z need a cell whose first two vectors lie in the xy plane")
    n_bins = max(1, round(height / bin_A))
    z = np.mod(atoms.positions[group, 2], height)
    index = np.minimum((z / height * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(index, minlength=n_bins)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float)[group], minlength=n_bins)
    return (np.arange(n_bins) + 0.5) * height / n_bins, counts, sums


def temperature_profile(atoms: Atoms, bin_A: float, group: NDArray | None = None) -> ZProfile:
    """Return the kinetic temperature in K along z, 3 degrees of freedom an atom.

    Raises
    ------
    DataError
        If the atoms have no velocities.
    """
    from ase.units import kB

    if not atoms.has("momenta"):
        raise DataError("the atoms have no velocities", "read them from a data file written after dynamics")
    kinetic = 0.5 * np.sum(atoms.get_momenta() * atoms.get_velocities(), axis=1)
    centres, counts, sums = bin_along_z(atoms, kinetic, bin_A, _indices(atoms, group))
    return ZProfile(centres, _ratio(sums, 1.5 * kB * counts), counts)


def density_profile(atoms: Atoms, bin_A: float, group: NDArray | None = None) -> ZProfile:
    """Return the number density in atoms per Å^3 along z."""
    ones = np.ones(len(atoms))
    centres, counts, sums = bin_along_z(atoms, ones, bin_A, _indices(atoms, group))
    return ZProfile(centres, sums / (atoms.cell.volume / len(centres)), counts)


def mean_profile(atoms: Atoms, values: NDArray, bin_A: float, group: NDArray | None = None) -> ZProfile:
    """Return the mean of values (n,) along z, e.g. of a mask of crystal-like atoms."""
    centres, counts, sums = bin_along_z(atoms, values, bin_A, _indices(atoms, group))
    return ZProfile(centres, _ratio(sums, counts), counts)


def _indices(atoms: Atoms, group: NDArray | None) -> NDArray:
    return np.arange(len(atoms)) if group is None else np.arange(len(atoms))[np.asarray(group)]


def _ratio(over: NDArray, under: NDArray) -> NDArray:
    return np.divide(over, under, out=np.full(len(over), np.nan), where=under > 0)
