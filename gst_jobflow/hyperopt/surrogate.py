"""Model the loss over a space by a Gaussian process, and find the point where it promises the most.

The process is scikit-learn's, with a Matérn 5/2 kernel, a length scale for each field and a little noise. The loss goes
through a Box-Cox transformation first: errors of fits spread over decades, and without it one bad corner of the space
sets the scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from gst_jobflow.hyperopt.space import Point, Range, Space

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

# bounds of the amplitude, the noise, and length scales in widths of a range: with tens of points, length scales below a
# tenth cannot be told from noise
_AMPLITUDE, _NOISE, _LENGTH = (0.05, 20.0), (1e-6, 0.1), (0.1, 10.0)
_RESTARTS = 2
# candidates: spread over the space, then around the best known points, then closer and closer to the most promising
_SPREAD, _AROUND, _CENTRES = 1024, 64, 6
_STEPS = (0.05, 0.05, 0.02, 0.01, 0.005, 0.002)
_SMALLEST = 1e-9


class Surrogate:
    """A Gaussian process of the loss.

    Parameters
    ----------
    points, losses
        Trials that have ended, in order; losses are positive.
    seed
        Seed of the restarts that maximise the likelihood.

    Examples
    --------
    >>> space = Space(fields={"loss.kappa": {"low": 0.1, "high": 0.9}})
    >>> model = Surrogate(space, [{"loss.kappa": x} for x in (0.1, 0.4, 0.9)], [3.0, 1.0, 4.0], seed=1)
    >>> sorted(model.best_point([], seed=1))
    ['loss.kappa']
    """

    def __init__(self, space: Space, points: Sequence[Point], losses: Sequence[float], seed: int) -> None:
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self.space = space
        self._points = list(points)
        self._transform = _Transform(losses)
        self._values = self._transform.forward(losses)
        self._best = float(self._values.min())
        rows = encode(space, points)
        kernel = ConstantKernel(1.0, _AMPLITUDE) * Matern([0.5] * rows.shape[1], _LENGTH, nu=2.5)
        self._process = self._fitted(kernel + WhiteKernel(1e-4, _NOISE), rows, self._values, _RESTARTS, seed)

    def predict(self, points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the transformed loss at points, each of shape (n,)."""
        with _reproducible():
            mean, deviation = self._process.predict(encode(self.space, points), return_std=True)
        return mean, np.maximum(deviation, _SMALLEST)

    def expected_loss(self, points: Sequence[Point]) -> np.ndarray:
        """Return the median of the loss at points, shape (n,)."""
        return self._transform.back(self.predict(points)[0])

    def believe(self, points: Sequence[Point]) -> None:
        """Assume that running trials give what is expected of them (Kriging believer, Ginsbourger et al. 2010).

        The next proposal then lies elsewhere. Kernel and best loss stay as they are.
        """
        if points:
            self._values = np.append(self._values, self.predict(points)[0])
            self._points += points
            self._process = self._fitted(self._process.kernel_, encode(self.space, self._points), self._values)

    def best_point(self, seen: Sequence[Point], seed: int) -> Point | None:
        """Return the point of largest expected improvement that is not among `seen`; None where all candidates are.

        Candidates are spread over the space and drawn around the best points. Further ones are drawn around the most
        promising, in smaller and smaller steps.
        """
        random = np.random.default_rng(seed)
        order = np.argsort(self._values, kind="stable")[:_CENTRES]
        known = np.array([self.space.unit(self._points[place]) for place in order])
        units = np.vstack([_spread(self.space, seed), _around(known, _STEPS[0], random)])
        gains = self._gains(units)
        for step in _STEPS[1:]:
            promising = units[np.argsort(-gains, kind="stable")[:_CENTRES]]
            closer = _around(promising, step, random)
            units, gains = np.vstack([units, closer]), np.append(gains, self._gains(closer))
        for place in np.argsort(-gains, kind="stable"):
            point = self.space.at(units[place])
            if not any(same_point(point, other) for other in seen):
                return point
        return None

    def length_scales(self) -> dict[str, float]:
        """Return the length scale of each field in widths of its range; a long one means that the field matters little.

        A categorical field has one for each choice, of which the shortest counts.
        """
        scales = iter(np.atleast_1d(self._process.kernel_.k1.k2.length_scale))
        return {
            field.field: float(min(next(scales) for _ in range(1 if field.choices is None else len(field.choices))))
            for field in self.space.fields
        }

    def describe(self) -> dict[str, Any]:
        """Return the process in numbers; with the points, losses and seed it can be rebuilt."""
        kernel = self._process.kernel_
        return {
            "kernel": "constant * Matern 5/2 + white noise",
            "log_likelihood": float(self._process.log_marginal_likelihood_value_),
            "amplitude": float(kernel.k1.k1.constant_value),
            "noise": float(kernel.k2.noise_level),
            "length_scales": [self.length_scales()[name] for name in self.space.names],
            "box_cox_lambda": self._transform.power,
        }

    def _gains(self, units: np.ndarray) -> np.ndarray:
        return log_expected_improvement(*self.predict([self.space.at(unit) for unit in units]), self._best)

    @staticmethod
    def _fitted(
        kernel: Any, rows: np.ndarray, values: np.ndarray, restarts: int | None = None, seed: int = 0
    ) -> GaussianProcessRegressor:
        """Fit a process; without restarts its kernel stays as it is."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        climb = {"optimizer": None} if restarts is None else {"n_restarts_optimizer": restarts, "random_state": seed}
        with _reproducible():
            return GaussianProcessRegressor(kernel, **climb).fit(rows, values)


class _Transform:
    """Box-Cox, then zero mean and unit deviation; plain standardisation where there are too few or equal values."""

    def __init__(self, losses: Sequence[float]) -> None:
        from scipy.stats import boxcox

        self.losses = np.asarray(losses, dtype=float)
        self.power = 1.0
        if len(self.losses) > 3 and np.ptp(self.losses) > 1e-12 * self.losses.max():
            with _reproducible():
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

        # a negative power has an end, beyond which there is no loss
        with np.errstate(invalid="ignore"):
            found = inv_boxcox(values * self.scale + self.mean, self.power)
        return np.where(np.isfinite(found), found, self.losses.max())


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Return the logarithm of the expected improvement below `best`, also where the improvement itself underflows."""
    from scipy.special import ndtr

    u = (best - mean) / deviation
    log_pdf = -0.5 * (u**2 + math.log(2.0 * math.pi))
    near = np.log(np.maximum(np.exp(log_pdf) + u * ndtr(u), 1e-300))
    # far below, pdf(u) + u cdf(u) tends to pdf(u) / u^2
    far = log_pdf - 2.0 * np.log(-np.minimum(u, -1.0))
    return np.where(u > -6.0, near, far) + np.log(deviation)


def encode(space: Space, points: Sequence[Point]) -> np.ndarray:
    """Return points as rows of numbers between 0 and 1: a column for each choice, and one for each range."""
    return np.array([[x for field in space.fields for x in _columns(field, point[field.field])] for point in points])


def _columns(field: Range, value: Any) -> list[float]:
    if field.choices is None:
        return [field.unit(value)]
    place = field.place(value)
    return [float(place == other) for other in range(len(field.choices))]


def _spread(space: Space, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Sobol(len(space.names), scramble=True, rng=seed).random(_SPREAD)


def _around(centres: np.ndarray, step: float, random: np.random.Generator) -> np.ndarray:
    units = np.repeat(centres, _AROUND, axis=0)
    return np.clip(units + random.normal(scale=step, size=units.shape), 0.0, 1.0)


def same_point(one: Point, other: Point) -> bool:
    """Return whether two points are equal within rounding."""
    return all(
        math.isclose(one[name], other[name], rel_tol=1e-9)
        if isinstance(one[name], float) and isinstance(other[name], float)
        else one[name] == other[name]
        for name in one
    )


@contextmanager
def _reproducible() -> Iterator[None]:
    """Compute on one thread, since more would sum in other orders; silence warnings about bounds."""
    import scipy.linalg  # noqa: F401  a library of its own, which has to be there to be limited

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield
