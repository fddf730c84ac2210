"""Means over frames with errors that know of correlation: by blocks, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_LEAST = 10


@dataclass(frozen=True)
class Mean:
    """A mean over frames and its standard error, of the shape of one frame's values; NaN where it cannot be told."""

    value: NDArray
    error: NDArray

    def minus(self, other: Mean) -> Mean:
        """Return the difference from an independent mean, with its standard error."""
        return Mean(self.value - other.value, np.hypot(self.error, other.error))


@dataclass
class BlockMean:
    """Mean of arrays that come one by one, with the standard error of 10 to 19 successive blocks.

    Blocks get longer as frames come, so correlation within them does no harm (Flyvbjerg and Petersen, J. Chem. Phys.
    91, 461, 1989). The error is right if a block, a tenth of the run, is longer than the memory of the system. Values
    that are not finite are left out; fewer than 10 frames, or 10 blocks with values, give no error.
    """

    _blocks: list[tuple[NDArray, NDArray]] = field(default_factory=list)
    _length: int = 1
    _in_last: int = 0

    def add(self, values: NDArray | float) -> None:
        """Take the values of the next frame; all frames have the same shape."""
        part = _part(values)
        if self._in_last in (0, self._length):
            if len(self._blocks) == 2 * _LEAST:
                pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
                self._blocks = [_joined(one, other) for one, other in pairs]
                self._length *= 2
            self._blocks.append(part)
            self._in_last = 1
        else:
            self._blocks[-1] = _joined(self._blocks[-1], part)
            self._in_last += 1

    def mean(self) -> Mean:
        """Return mean and error of what came so far."""
        n_full = len(self._blocks) - (self._in_last < self._length)
        return _mean_of(self._blocks, n_full, _LEAST)


def mean_of_independent(values: Sequence[NDArray], least: int) -> Mean:
    """Return the mean of independent arrays, and the standard error of what `least` of them or more have.

    Values that are not finite are left out.
    """
    return _mean_of([_part(each) for each in values], len(values), least)


def _mean_of(blocks: Sequence[tuple[NDArray, NDArray]], n_full: int, least: int) -> Mean:
    """Return the mean of blocks, and its error by the scatter of the full ones, which come first."""
    sums, counts = (np.array([block[i] for block in blocks]) for i in (0, 1))
    total = counts.sum(axis=0)
    value = np.divide(sums.sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0)
    sums, counts = sums[:n_full], counts[:n_full]
    number = (counts > 0).sum(axis=0)
    away = np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0) - value
    square = np.sum(away**2 * (counts > 0), axis=0)
    error = np.full(total.shape, np.nan)
    np.divide(square, number * (number - 1.0), out=error, where=number >= least)
    return Mean(value, np.sqrt(error))


def _part(values: NDArray | float) -> tuple[NDArray, NDArray]:
    """Return finite values, 0 for others, and how many each stands for."""
    each = np.asarray(values, dtype=float)
    known = np.isfinite(each)
    return np.where(known, each, 0.0), known.astype(float)


def _joined(one: tuple[NDArray, NDArray], other: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
    return one[0] + other[0], one[1] + other[1]
