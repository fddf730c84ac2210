"""Values of atoms in bins: along z, by the distance from a centre, over x and z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import kB
from numpy.typing import NDArray

from gst_jobflow.base.errors import DataError, InputError

Centre = tuple[float, float | None, float]
_FINE_2D, _FINE_3D = 16, 6
"""Grid points in the width of a shell, for its volume."""


@dataclass(frozen=True)
class Bins:
    """Atoms sorted into bins.

    `edges_A` are the borders of the bins by axis (``z``, ``r``, or ``x`` and ``z``), shape (bins + 1,) each. `index`
    (m,) is the bin of each atom of the group, as an index into the raveled bins. `volume_A3` is that of each bin, shape
    (bins,) or (nx, nz).
    """

    edges_A: dict[str, NDArray]
    index: NDArray
    volume_A3: NDArray

    @property
    def counts(self) -> NDArray:
        """Atoms in each bin, in the shape of the bins."""
        return np.bincount(self.index, minlength=self.volume_A3.size).reshape(self.volume_A3.shape)

    def mean(self, values: NDArray, least_share: float = 0.0) -> NDArray:
        """Return the mean of values (m,) in each bin; NaN where a bin has no atoms.

        A bin needs `least_share` of the median number of atoms of the bins that have some: single atoms that left a
        crystal are no part of it with a value of its own.
        """
        sums = np.bincount(self.index, np.asarray(values, dtype=float), self.volume_A3.size)
        counts = self.counts
        least = least_share * float(np.median(counts[counts > 0])) if counts.any() else 0.0
        return _ratio(sums.reshape(self.volume_A3.shape), np.where(counts >= least, counts, 0))

    def density(self) -> NDArray:
        """Return atoms per Å³ in each bin; NaN where a bin lies outside of the cell."""
        return _ratio(self.counts, self.volume_A3)


def along_z(atoms: Atoms, bin_A: float, group: NDArray) -> Bins:
    """Cut the cell into the whole number of slices nearest to its height over `bin_A`; atoms are wrapped into it.

    `group` holds the indices of the atoms to sort, shape (m,); also below. Raises InputError if the bins are not
    positive, or the cell's z axis leans.
    """
    cell = np.asarray(atoms.cell)
    if np.any(np.abs(cell[[0, 1], 2]) > 1e-8 * cell[2, 2]):
        raise InputError("profiles along z need a cell whose first two vectors lie in the xy plane")
    edges, index = _sorted(atoms.positions[group, 2], cell[2, 2], bin_A)
    return Bins({"z": edges}, index, np.full(len(edges) - 1, atoms.cell.volume / (len(edges) - 1)))


def over_xz(atoms: Atoms, bin_A: float, group: NDArray) -> Bins:
    """Cut the cell into rectangles of x and z, over its whole depth.

    Raises InputError if the bins are not positive, or the cell has no right angles.
    """
    sides = _sides(atoms)
    (x, in_x), (z, in_z) = (_sorted(atoms.positions[group, axis], sides[axis], bin_A) for axis in (0, 2))
    shape = (len(x) - 1, len(z) - 1)
    return Bins({"x": x, "z": z}, in_x * shape[1] + in_z, np.full(shape, atoms.cell.volume / (shape[0] * shape[1])))


def by_radius(atoms: Atoms, bin_A: float, group: NDArray, centre_A: Centre) -> Bins:
    """Sort atoms by their distance from a centre, or from a line along y where its y is None.

    x and y are periodic. z begins above the largest gap of the group, which is the barrier: atoms that vibrate through
    the lower face stay below it. The volume of a shell is that part of it which lies between the lowest and the highest
    atom, counted on a grid. Raises InputError as `over_xz`.
    """
    sides = _sides(atoms)
    if bin_A <= 0:
        raise InputError(f"bins of {bin_A} Å cannot be", "give a positive width")
    wrapped = np.mod(atoms.positions[group], sides)
    wrapped[:, 2] = _above_gap(wrapped[:, 2], float(sides[2]))
    distance = _distance(wrapped.T, centre_A, sides)
    edges = np.arange(0.0, distance.max(initial=bin_A) + bin_A, bin_A)
    low, high = (wrapped[:, 2].min(), wrapped[:, 2].max()) if len(wrapped) else (0.0, 0.0)
    lengths = np.array([sides[0], sides[1], max(high - low, bin_A)])
    numbers = np.maximum(1, np.round(lengths / bin_A * (_FINE_2D if centre_A[1] is None else _FINE_3D))).astype(int)
    numbers[1] = 1 if centre_A[1] is None else numbers[1]
    axes = [(np.arange(n) + 0.5) * length / n for n, length in zip(numbers, lengths, strict=True)]
    axes[2] = axes[2] + low
    far = np.concatenate([_distance(np.meshgrid([x], *axes[1:]), centre_A, sides).ravel() for x in axes[0]])
    volume = np.histogram(far, edges)[0] * float(np.prod(lengths)) / len(far)
    return Bins({"r": edges}, np.minimum((distance / bin_A).astype(int), len(edges) - 2), volume)


def kinetic_temperature(atoms: Atoms, group: NDArray) -> NDArray:
    """Return the temperature in K that the kinetic energy of each atom of a group stands for, shape (m,).

    Raises DataError if the atoms have no velocities.
    """
    if not atoms.has("momenta"):
        raise DataError("the frame has no velocities", "run with output.dump_velocities")
    kinetic = 0.5 * np.sum(atoms.get_momenta()[group] ** 2, axis=1) / atoms.get_masses()[group]
    return kinetic / (1.5 * kB)


def _sides(atoms: Atoms) -> NDArray:
    sides = np.diag(np.asarray(atoms.cell))
    if not np.allclose(np.asarray(atoms.cell), np.diag(sides), atol=1e-6 * sides.max()):
        raise InputError("a map needs an orthogonal cell")
    return sides


def _sorted(places: NDArray, length: float, bin_A: float) -> tuple[NDArray, NDArray]:
    if bin_A <= 0:
        raise InputError(f"bins of {bin_A} Å cannot be", "give a positive width")
    number = max(1, round(length / bin_A))
    index = np.minimum((np.mod(places, length) / length * number).astype(int), number - 1)
    return np.linspace(0.0, length, number + 1), index


def _above_gap(z: NDArray, height: float) -> NDArray:
    if len(z) == 0:
        return z
    ordered = np.sort(z)
    start = ordered[int(np.argmax(np.diff(ordered, prepend=ordered[-1] - height)))]
    start = start - height if start > height / 2 else start
    return start + np.mod(z - start, height)


def _distance(places: Sequence[NDArray] | NDArray, centre_A: Centre, sides: NDArray) -> NDArray:
    square = (places[2] - centre_A[2]) ** 2
    for axis in (0, 1):
        if (middle := centre_A[axis]) is not None:
            away = places[axis] - middle
            square = square + (away - sides[axis] * np.round(away / sides[axis])) ** 2
    return np.sqrt(square)


def _ratio(over: NDArray, under: NDArray) -> NDArray:
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
