"""A Gaussian process of fixed hyperparameters, the expected improvement, and the slopes of both.

Their closed forms: a climb of the expected improvement asks for them hundreds of times, with tens of known points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_SMALLEST = 1e-9
_FAR = -6.0


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process that knows values at some points.

    Its kernel is ``amplitude * Matern52(distance / length_scales)``, and `noise` on top at each point, known or not.

    Attributes
    ----------
    amplitude, noise
        Variances.
    length_scales
        Shape (columns,).
    rows, values
        What is known, of shapes (n, columns) and (n,).
    """

    amplitude: float
    noise: float
    length_scales: np.ndarray
    rows: np.ndarray
    values: np.ndarray

    def knowing(self, rows: np.ndarray, values: np.ndarray) -> Posterior:
        """The process that knows these values as well."""
        known = np.vstack([self.rows, rows]), np.append(self.values, values)
        return Posterior(self.amplitude, self.noise, self.length_scales, *known)

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at rows, each of shape (n,)."""
        from scipy.linalg import solve_triangular

        shared = self._shape(self._distances(rows))
        explained = solve_triangular(self._cholesky, shared.T, lower=True, check_finite=False)
        variance = self.amplitude + self.noise - np.einsum("ij,ij->j", explained, explained)
        return shared @ self._weights, np.sqrt(np.maximum(variance, _SMALLEST**2))

    def slopes(self, row: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Mean and standard deviation at one row, and their derivatives by its columns."""
        distances = self._distances(row[None])[0]
        shared = self._shape(distances)
        # d/dx of (1 + s + s^2/3) exp(-s) with s = sqrt(5) r: -5/3 (1 + s) exp(-s) (x - x_i) / l^2
        s = math.sqrt(5.0) * distances
        factor = -5.0 / 3.0 * self.amplitude * (1.0 + s) * np.exp(-s)
        shared_slopes = factor[:, None] * (row - self.rows) / self.length_scales**2
        solved = self._inverse @ shared
        deviation = math.sqrt(max(self.amplitude + self.noise - float(shared @ solved), _SMALLEST**2))
        mean = float(shared @ self._weights)
        return mean, deviation, self._weights @ shared_slopes, -(solved @ shared_slopes) / deviation

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        away = (rows[:, None, :] - self.rows[None, :, :]) / self.length_scales
        return np.sqrt(np.einsum("ijk,ijk->ij", away, away))

    def _shape(self, distances: np.ndarray) -> np.ndarray:
        s = math.sqrt(5.0) * distances
        return self.amplitude * (1.0 + s + s**2 / 3.0) * np.exp(-s)

    @cached_property
    def _cholesky(self) -> np.ndarray:
        covariance = self._shape(self._distances(self.rows))
        return np.linalg.cholesky(covariance + self.noise * np.eye(len(self.rows)))

    @cached_property
    def _inverse(self) -> np.ndarray:
        from scipy.linalg import cho_solve

        return cho_solve((self._cholesky, True), np.eye(len(self.rows)))

    @cached_property
    def _weights(self) -> np.ndarray:
        from scipy.linalg import cho_solve

        return cho_solve((self._cholesky, True), self.values)


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of the expected improvement below `best`; also where the improvement itself underflows."""
    return _log_gain((best - mean) / deviation)[0] + np.log(deviation)


def log_gain_slope(posterior: Posterior, row: np.ndarray, best: float) -> tuple[float, np.ndarray]:
    """Logarithm of the expected improvement at one row, and its derivatives by the row's columns."""
    mean, deviation, mean_slope, deviation_slope = posterior.slopes(row)
    u = (best - mean) / deviation
    value, slope = _log_gain(np.array([u]))
    u_slope = -(mean_slope + u * deviation_slope) / deviation
    return float(value[0]) + math.log(deviation), slope[0] * u_slope + deviation_slope / deviation


def _log_gain(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(pdf(u) + u cdf(u)) and its derivative; far below zero it tends to log(pdf(u) / u^2)."""
    from scipy.special import ndtr

    log_pdf = -0.5 * (u**2 + math.log(2.0 * math.pi))
    cdf = ndtr(u)
    near = np.maximum(np.exp(log_pdf) + u * cdf, 1e-300)
    away = np.minimum(u, -1.0)
    far = log_pdf - 2.0 * np.log(-away)
    is_near = u > _FAR
    return np.where(is_near, np.log(near), far), np.where(is_near, cdf / near, -u - 2.0 / away)
