"""Equilibration and statistical inefficiency of a time series.

The estimators are those of J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), and of Chodera et al., J. Chem.
Theory Comput. 3, 26 (2007). The reference implementation, pymbar.timeseries 4.0.3, gives the same inefficiencies to
the last digits for autoregressive series. It would add numexpr and, from conda, JAX for a Fourier transform and a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gst_jobflow.base.errors import DataError

FEWEST_VALUES = 20
"""Shortest series that is analysed."""
# lag before which noise around 0 does not end the sum (pymbar's mintime)
_LEAST_LAG = 3
_STARTS = 50
# rounding errors of a constant, relative to it
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Equilibrated:
    """The equilibrated part of a series, and its correlation.

    `start` is the index of its first value. Every g-th value is independent, where g is the statistical `inefficiency`;
    `n_independent` is the number of values divided by g.
    """

    start: int
    inefficiency: float
    n_independent: float


def statistical_inefficiency(values: ArrayLike) -> float:
    """Return g = 1 + 2 Σ (1 − t/N) C(t), in numbers of values; 1 if they are independent.

    C(t) is the normalised autocorrelation at lag t. The sum ends where C first reaches 0, beyond which it is noise.
    Negative parts, as of vibrations, are not counted, so g is rather too large than too small.

    Values (N,) are evenly spaced in time, without drift. Raises DataError if there are fewer than `FEWEST_VALUES`, one
    is not finite, or all are equal.
    """
    series = _checked(values)
    deviations = series - series.mean()
    number = len(series)
    # padded with zeros to twice the length, so that the end does not correlate with the beginning
    spectrum = np.fft.rfft(deviations, 1 << (2 * number - 1).bit_length())
    products = np.fft.irfft(np.abs(spectrum) ** 2)[:number] / np.arange(number, 0, -1)
    correlation = products[1 : number - 1] / products[0]
    ends = np.flatnonzero(correlation[_LEAST_LAG:] <= 0)
    last = _LEAST_LAG + int(ends[0]) if len(ends) else len(correlation)
    lags = np.arange(1, last + 1)
    return max(1.0, 1.0 + 2.0 * float(np.sum((1 - lags / number) * correlation[:last])))


def equilibrated(values: ArrayLike) -> Equilibrated:
    """Find the start that leaves the most independent values (Chodera 2016), and the inefficiency from there.

    Values (N,) are evenly spaced in time, at constant conditions. 50 starts are tried in the first half; the end of a
    short or slow series may look independent by chance. Raises as :func:`statistical_inefficiency`.
    """
    series = _checked(values)
    best: Equilibrated | None = None
    latest = max(0, min(len(series) // 2, len(series) - FEWEST_VALUES))
    for start in np.unique(np.linspace(0, latest, _STARTS).astype(int)).tolist():
        rest = series[start:]
        if start and _is_constant(rest):
            break
        inefficiency = statistical_inefficiency(rest)
        number = len(rest) / inefficiency
        if best is None or number > best.n_independent:
            best = Equilibrated(start, inefficiency, number)
    assert best is not None  # 0 is always tried
    return best


def detrended(values: ArrayLike, degree: int) -> NDArray:
    """Return values (N,) minus their least-squares polynomial in time, since drift is not correlation.

    Correlation over times of the order of N / `degree` is lost with it.
    """
    series = np.asarray(values, dtype=float)
    return series - smooth(np.arange(len(series)), series, degree)(np.arange(len(series)))


def smooth(times: ArrayLike, values: ArrayLike, degree: int) -> np.polynomial.Polynomial:
    """Return the least-squares polynomial of at most `degree` through one or more values."""
    x, y = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    if len(np.unique(x)) < 2:
        return np.polynomial.Polynomial([y.mean()])
    return np.polynomial.Polynomial.fit(x, y, min(degree, len(np.unique(x)) - 1))


def _checked(values: ArrayLike) -> NDArray:
    series = np.asarray(values, dtype=float)
    if series.ndim != 1 or len(series) < FEWEST_VALUES:
        raise DataError(f"{series.size} values are too few for a correlation time", f"{FEWEST_VALUES} at least")
    if not np.isfinite(series).all():
        raise DataError("the series holds a value that is not finite", "leave out the end of a broken run")
    if _is_constant(series):
        raise DataError("the series is constant: it has no correlation time", "check that atoms move")
    return series


def _is_constant(series: NDArray) -> bool:
    return bool(np.ptp(series) <= _ROUNDING * max(1.0, float(np.abs(series).max())))
