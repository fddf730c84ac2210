"""A Gaussian process of the loss over a space, and the point where it expects the largest improvement.

Its kernel is a Matérn 5/2 with a length scale for each field and a little noise. The loss goes through a Box-Cox
transformation first: errors of fits spread over decades, and without it one bad corner of the space sets the scale.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.hyperopt.gaussian import log_expected_improvement, log_gain_slope
from gst_jobflow.hyperopt.likelihood import most_likely
from gst_jobflow.hyperopt.space import Point, Space

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_CANDIDATES = 1024
_NEAR_THE_BEST = 64
_NEAR = 0.05
_STARTS = 6
_STEPS = 30


class Surrogate:
    """What is expected of points that were not tried.

    Parameters
    ----------
    points, losses
        What is known, in the order of the trials; losses are positive.
    seed
        Of the restarts of the likelihood's maximum.
    """

    def __init__(self, space: Space, points: Sequence[Point], losses: Sequence[float], seed: int) -> None:
        self.space = space
        rows = encode(space, points)
        self._transform = _Transform(losses)
        values = self._transform.forward(losses)
        self._best = float(values.min())
        with _quiet():
            self._posterior, self._log_likelihood = most_likely(rows, values, seed)

    def predict(self, points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the transformed loss, each of shape (n,)."""
        with _quiet():
            return self._posterior.predict(encode(self.space, points))

    def expected_loss(self, points: Sequence[Point]) -> np.ndarray:
        """The loss that is expected at points (the median of its distribution), shape (n,)."""
        return self._transform.back(self.predict(points)[0])

    def believe(self, points: Sequence[Point]) -> None:
        """Take points that are being tried to give what is expected there (Kriging believer, Ginsbourger et al. 2010).

        So the next proposal lies elsewhere. Kernel and best loss stay as they are.
        """
        if points:
            # what is expected of the second does not change with the first: that was taken to be as expected
            self._posterior = self._posterior.knowing(encode(self.space, points), self.predict(points)[0])

    def best_point(self, seen: Sequence[Point], seed: int) -> Point | None:
        """The point of the largest expected improvement that is not among `seen`; None where all were.

        It is looked for among points spread over the space and around the best ones, and from the best of those
        uphill.
        """
        with _quiet():
            rows = encode_units(self.space, np.vstack([_spread(self.space, seed), self._around_the_best(seed)]))
            best_first = np.argsort(-self._log_gain(rows), kind="stable")
            climbed = (self._climb(rows[place]) for place in best_first[:_STARTS])
            ordered = [point for row in climbed if not _is_in(point := self._point(row), seen)]
            # behind them the best that was not climbed from, in case all of those were tried
            others = (self._point(rows[place]) for place in best_first)
            ordered += itertools.islice((point for point in others if not _is_in(point, seen)), 1)
            if not ordered:
                return None
            return ordered[int(np.argmax(self._log_gain(encode(self.space, ordered))))]

    def length_scales(self) -> dict[str, float]:
        """Length scale of each field in widths of its range: a long one says that the field matters little."""
        scales = self._posterior.length_scales
        found, place = {}, 0
        for name in self.space.names:
            width = _columns(self.space, name)
            found[name] = float(scales[place : place + width].min())
            place += width
        return found

    def describe(self) -> dict[str, Any]:
        """What the Gaussian process is, in numbers: with points, losses and seed it is rebuilt."""
        return {
            "kernel": "constant * Matern 5/2 + white noise",
            "log_likelihood": self._log_likelihood,
            "amplitude": self._posterior.amplitude,
            "noise": self._posterior.noise,
            "length_scales": [self.length_scales()[name] for name in self.space.names],
            "box_cox_lambda": self._transform.power,
        }

    def _log_gain(self, rows: np.ndarray) -> np.ndarray:
        return log_expected_improvement(*self._posterior.predict(rows), self._best)

    def _point(self, row: np.ndarray) -> Point:
        return self.space.at(decode_units(self.space, row))

    def _around_the_best(self, seed: int) -> np.ndarray:
        """Points around the best, as numbers between 0 and 1, shape (n, fields)."""
        random = np.random.default_rng(seed)
        known = slice(len(self._transform.losses))
        order = np.argsort(self._posterior.values[known], kind="stable")[:4]
        best = np.array([decode_units(self.space, row) for row in self._posterior.rows[order]])
        centres = np.repeat(best, _NEAR_THE_BEST, axis=0)
        return np.clip(centres + random.normal(scale=_NEAR, size=centres.shape), 0.0, 1.0)

    def _climb(self, row: np.ndarray) -> np.ndarray:
        """Go uphill from an encoded point in the fields that are continuous, the others fixed."""
        from scipy.optimize import minimize

        free = _continuous_columns(self.space)
        if not free:
            return row
        moved = row.copy()

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            moved[free] = values
            gain, slope = log_gain_slope(self._posterior, moved, self._best)
            return -gain, -slope[free]

        bounds = [(0.0, 1.0)] * len(free)
        ended = minimize(loss, row[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
        moved[free] = ended.x
        return moved


class _Transform:
    """Box-Cox, then zero mean and unit deviation; plain standardisation where there are too few or equal values."""

    def __init__(self, losses: Sequence[float]) -> None:
        from scipy.stats import boxcox

        self.losses = np.asarray(losses, dtype=float)
        self.power = 1.0
        if len(self.losses) > 3 and np.ptp(self.losses) > 1e-12 * self.losses.max():
            with _quiet():
                self.power = float(np.clip(boxcox(self.losses)[1], -2.0, 2.0))
        powered = self._power(self.losses)
        self.mean, self.scale = float(powered.mean()), float(powered.std()) or 1.0

    def _power(self, losses: np.ndarray) -> np.ndarray:
        from scipy.special import boxcox

        return boxcox(losses, self.power)

    def forward(self, losses: Sequence[float]) -> np.ndarray:
        return (self._power(np.asarray(losses, dtype=float)) - self.mean) / self.scale

    def back(self, values: np.ndarray) -> np.ndarray:
        from scipy.special import inv_boxcox

        # beyond the end that the transformation has for negative powers lies no loss
        with np.errstate(invalid="ignore"):
            found = inv_boxcox(values * self.scale + self.mean, self.power)
        return np.where(np.isfinite(found), found, self.losses.max())


def encode(space: Space, points: Sequence[Point]) -> np.ndarray:
    """Points as rows of numbers between 0 and 1, shape (n, columns): a column a choice, one for another field."""
    return np.array([[x for name in space.names for x in _encoded(space, name, point[name])] for point in points])


def encode_units(space: Space, units: np.ndarray) -> np.ndarray:
    """`encode` of the points at numbers between 0 and 1 of each range, shape (n, fields)."""
    columns = []
    for field, unit in zip(space.fields, units.T, strict=True):
        if field.choices is not None:
            n = len(field.choices)
            columns.append(np.eye(n)[np.minimum((unit * n).astype(int), n - 1)])
        elif field.is_continuous:
            columns.append(unit[:, None])
        else:
            columns.append(np.array([[field.unit(field.at(u))] for u in unit]))
    return np.hstack(columns)


def decode_units(space: Space, row: np.ndarray) -> np.ndarray:
    """A row of `encode` as one number between 0 and 1 for each field."""
    units, place = [], 0
    for name in space.names:
        width = _columns(space, name)
        units.append(row[place] if width == 1 else (int(np.argmax(row[place : place + width])) + 0.5) / width)
        place += width
    return np.array(units)


def _encoded(space: Space, name: str, value: Any) -> list[float]:
    field = space[name]
    if field.choices is None:
        return [field.unit(value)]
    place = field.place(value)
    return [float(place == other) for other in range(len(field.choices))]


def _columns(space: Space, name: str) -> int:
    choices = space[name].choices
    return 1 if choices is None else len(choices)


def _continuous_columns(space: Space) -> list[int]:
    columns, place = [], 0
    for name in space.names:
        columns += [place] if space[name].is_continuous else []
        place += _columns(space, name)
    return columns


def _spread(space: Space, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Sobol(len(space.names), scramble=True, rng=seed).random(_CANDIDATES)


def _is_in(point: Point, seen: Sequence[Point]) -> bool:
    return any(same_point(point, other) for other in seen)


def same_point(one: Point, other: Point) -> bool:
    """Whether two points are one but for rounding."""
    return all(
        math.isclose(one[name], other[name], rel_tol=1e-9)
        if isinstance(one[name], float) and isinstance(other[name], float)
        else one[name] == other[name]
        for name in one
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """On one thread, and without the warnings of a loss that the transformation does nothing to.

    Threads would cost more than these small matrices, and add up in other orders.
    """
    with warnings.catch_warnings(), _libraries().limit(limits=1):
        warnings.simplefilter("ignore")
        yield


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of linear algebra; to find them takes milliseconds."""
    import scipy.linalg  # noqa: F401  a library of its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
