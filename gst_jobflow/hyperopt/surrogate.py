"""A Gaussian process of the loss over a space, and the point where it expects the largest improvement.

scikit-learn's Gaussian process with a Matérn 5/2 kernel, a length scale for each field and a little noise. The loss
goes through a Box-Cox transformation first: errors of fits spread over decades, and without it one bad corner of the
space sets the scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gst_jobflow.hyperopt.space import Point, Space

_CANDIDATES = 1024
_NEAR_THE_BEST = 64
_NEAR = 0.05
_STARTS = 6


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
        from sklearn.gaussian_process import GaussianProcessRegressor

        self.space = space
        self._rows = encode(space, points)
        self._transform = _Transform(losses)
        self._values = self._transform.forward(losses)
        self._best = float(self._values.min())
        process = GaussianProcessRegressor(_kernel(self._rows.shape[1]), n_restarts_optimizer=2, random_state=seed)
        with _quiet():
            self._process = process.fit(self._rows, self._values)

    def predict(self, points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the transformed loss, each of shape (n,)."""
        return self._predict(encode(self.space, points))

    def expected_loss(self, points: Sequence[Point]) -> np.ndarray:
        """The loss that is expected at points (the median of its distribution), shape (n,)."""
        return self._transform.back(self.predict(points)[0])

    def believe(self, points: Sequence[Point]) -> None:
        """Take points that are being tried to give what is expected there (Kriging believer, Ginsbourger et al. 2010).

        So the next proposal lies elsewhere. Kernel and best loss stay as they are.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor

        for point in points:
            expected, _ = self.predict([point])
            self._rows = np.vstack([self._rows, encode(self.space, [point])])
            self._values = np.append(self._values, expected)
            with _quiet():
                process = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
                self._process = process.fit(self._rows, self._values)

    def best_point(self, seen: Sequence[Point], seed: int) -> Point | None:
        """The point of the largest expected improvement that is not among `seen`; None where all were.

        It is looked for among points spread over the space and around the best ones, and from the best of those
        uphill.
        """
        points = [self.space.at(unit) for unit in [*_spread(self.space, seed), *self._around_the_best(seed)]]
        rows = encode(self.space, points)
        best_first = np.argsort(-self._log_gain(rows), kind="stable")
        climbed = [self._climb(rows[place]) for place in best_first[:_STARTS]]
        ordered = [self.space.at(decode_units(self.space, row)) for row in climbed]
        ordered = [point for point in ordered if not _is_in(point, seen)]
        # behind them the best that was not climbed from, in case all of those were tried
        ordered += [point for place in best_first if not _is_in(point := points[place], seen)][:1]
        if not ordered:
            return None
        return ordered[int(np.argmax(self._log_gain(encode(self.space, ordered))))]

    def length_scales(self) -> dict[str, float]:
        """Length scale of each field in widths of its range: a long one says that the field matters little."""
        scales = np.atleast_1d(self._process.kernel_.k1.k2.length_scale)
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
            "log_likelihood": float(self._process.log_marginal_likelihood_value_),
            "amplitude": float(self._process.kernel_.k1.k1.constant_value),
            "noise": float(self._process.kernel_.k2.noise_level),
            "length_scales": [self.length_scales()[name] for name in self.space.names],
            "box_cox_lambda": self._transform.power,
        }

    def _predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with _quiet():
            mean, deviation = self._process.predict(rows, return_std=True)
        return mean, np.maximum(deviation, 1e-9)

    def _log_gain(self, rows: np.ndarray) -> np.ndarray:
        mean, deviation = self._predict(rows)
        return log_expected_improvement(mean, deviation, self._best)

    def _around_the_best(self, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        order = np.argsort(self._values[: len(self._transform.losses)], kind="stable")[:4]
        centres = np.repeat(self._units[order], _NEAR_THE_BEST, axis=0)
        return np.clip(centres + random.normal(scale=_NEAR, size=centres.shape), 0.0, 1.0)

    @property
    def _units(self) -> np.ndarray:
        return np.array([decode_units(self.space, row) for row in self._rows])

    def _climb(self, row: np.ndarray) -> np.ndarray:
        """Go uphill from an encoded point in the fields that are continuous, the others fixed."""
        from scipy.optimize import minimize

        free = _continuous_columns(self.space)
        if not free:
            return row
        steps = 1e-6 * np.eye(len(row))[free]

        def slope(values: np.ndarray) -> tuple[float, np.ndarray]:
            moved = row.copy()
            moved[free] = values
            # the point and a step from it in each field, by one call
            gains = self._log_gain(np.vstack([moved, moved + steps]))
            return -gains[0], -(gains[1:] - gains[0]) / 1e-6

        bounds = [(0.0, 1.0)] * len(free)
        ended = minimize(slope, row[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
        climbed = row.copy()
        climbed[free] = ended.x
        return climbed


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


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of the expected improvement below `best`; also where the improvement itself underflows.

    For u = (best - mean) / deviation it is log(deviation) + log(pdf(u) + u cdf(u)); far below zero the second term
    tends to log(pdf(u) / u^2).
    """
    from scipy.stats import norm

    u = (best - mean) / deviation
    near = np.maximum(norm.pdf(u) + u * norm.cdf(u), 1e-300)
    far = norm.logpdf(u) - 2.0 * np.log(np.maximum(np.abs(u), 1.0))
    return np.where(u > -6.0, np.log(near), far) + np.log(deviation)


def encode(space: Space, points: Sequence[Point]) -> np.ndarray:
    """Points as rows of numbers between 0 and 1, shape (n, columns): a column a choice, one for another field."""
    return np.array([[x for name in space.names for x in _encoded(space, name, point[name])] for point in points])


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


def _kernel(n_columns: int) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    # length scales in widths of a range: shorter ones than a tenth cannot be told from noise with tens of points
    shape = Matern(np.full(n_columns, 0.5), length_scale_bounds=(0.1, 10.0), nu=2.5)
    return ConstantKernel(1.0, (0.05, 20.0)) * shape + WhiteKernel(1e-4, (1e-6, 0.1))


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
    """On one thread, and without the warnings of a length scale that ends at its bound.

    A field without effect does that. Threads would cost more than these small matrices, and add up in other orders.
    """
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield
