"""The Gaussian process that makes what is known most likely.

Its hyperparameters are the maximum of the logarithmic marginal likelihood (Rasmussen and Williams 2006, eq. 5.8 and
5.9), climbed with its gradient from one fixed point and some that the seed draws. With tens of known points a step
takes 0.2 ms; a general library of kernels took six times that, and a second to import, in the job of every trial.
"""

from __future__ import annotations

import math

import numpy as np

from gst_jobflow.hyperopt.gaussian import Posterior

# of the amplitude, the noise, and length scales in widths of a range: shorter ones than a tenth cannot be told from
# noise with tens of points
_AMPLITUDE, _NOISE, _LENGTH = (0.05, 20.0), (1e-6, 0.1), (0.1, 10.0)
_FIRST = (1.0, 1e-4, 0.5)
_RESTARTS = 2


def most_likely(rows: np.ndarray, values: np.ndarray, seed: int) -> tuple[Posterior, float]:
    """The process, and its logarithmic marginal likelihood.

    Parameters
    ----------
    rows, values
        What is known, of shapes (n, columns) and (n,).
    seed
        Of the points that the maximum is looked for from, besides the fixed one.
    """
    from scipy.optimize import minimize

    n_columns = rows.shape[1]
    bounds = np.log([_AMPLITUDE, _NOISE, *[_LENGTH] * n_columns])
    starts = [np.log([*_FIRST[:2], *[_FIRST[2]] * n_columns])]
    drawn = np.random.default_rng(seed).uniform(size=(_RESTARTS, len(bounds)))
    starts += list(bounds[:, 0] + drawn * (bounds[:, 1] - bounds[:, 0]))
    squares = (rows[:, None, :] - rows[None, :, :]) ** 2

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = log_likelihood(logs, squares, values)
        return -value, -slope

    ended = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(ended, key=lambda each: float(each.fun))
    amplitude, noise, *lengths = np.exp(best.x)
    return Posterior(float(amplitude), float(noise), np.array(lengths), rows, values), -float(best.fun)


def log_likelihood(logs: np.ndarray, squares: np.ndarray, values: np.ndarray) -> tuple[float, np.ndarray]:
    """Logarithmic marginal likelihood and its derivatives by the logarithms of the hyperparameters.

    Parameters
    ----------
    logs
        Logarithms of amplitude, noise and length scales.
    squares
        Squared differences between all known rows in each column, shape (n, n, columns).
    """
    from scipy.linalg import cho_factor, cho_solve

    amplitude, noise = math.exp(logs[0]), math.exp(logs[1])
    scaled = squares * np.exp(-2.0 * logs[2:])
    s = np.sqrt(5.0 * scaled.sum(axis=2))
    decay = np.exp(-s)
    shared = amplitude * (1.0 + s + s**2 / 3.0) * decay
    try:
        factor = cho_factor(shared + noise * np.eye(len(values)), lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return -1e10, np.zeros_like(logs)
    inverse = cho_solve(factor, np.eye(len(values)), check_finite=False)
    weights = inverse @ values
    value = -0.5 * float(values @ weights) - float(np.log(np.diag(factor[0])).sum())
    value -= 0.5 * len(values) * math.log(2.0 * math.pi)
    # of each hyperparameter: half the trace of this times the derivative of the covariance
    outer = np.outer(weights, weights) - inverse
    by_length = (outer * (5.0 / 3.0 * amplitude * (1.0 + s) * decay)).ravel() @ scaled.reshape(-1, scaled.shape[2])
    slope = [float((outer * shared).sum()), noise * float(np.trace(outer)), *by_length]
    return value, 0.5 * np.array(slope)
