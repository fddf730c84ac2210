"""Means over frames with errors that know of correlation: by blocks, in bounded memory."""

from __future__ import annotations

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
        each = np.asarray(values, dtype=float)
        known = np.isfinite(each)
        part = (np.where(known, each, 0.0), known.astype(float))
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
        sums, counts = (np.array([block[i] for block in self._blocks]) for i in (0, 1))
        total = counts.sum(axis=0)
        value = np.divide(sums.sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0)
        full = self._blocks[: len(self._blocks) - (self._in_last < self._length)]
        sums, counts = (np.array([block[i] for block in full]).reshape(len(full), *total.shape) for i in (0, 1))
        number = (counts > 0).sum(axis=0)
        away = np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0) - value
        square = np.sum(away**2 * (counts > 0), axis=0)
        error = np.full(total.shape, np.nan)
        np.divide(square, number * (number - 1.0), out=error, where=number >= _LEAST)
        return Mean(value, np.sqrt(error))


def _joined(one: tuple[NDArray, NDArray], other: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
    return one[0] + other[0], one[1] + other[1]
