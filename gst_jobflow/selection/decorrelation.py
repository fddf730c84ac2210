"""How many values of a time series are independent: equilibration and statistical inefficiency.

The estimators are those of J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), and of Chodera et al., J. Chem.
Theory Comput. 3, 26 (2007). Their reference implementation is pymbar.timeseries, whose inefficiencies are these to the
last digits (4.0.3, autoregressive series). It would bring numexpr and, from conda, JAX, without which it prints a
banner; what is needed of it is a Fourier transform and a sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gst_jobflow.base.errors import DataError

FEWEST_VALUES = 20
"""Of a series that anything is said about."""
# the sum over lags does not end before this one, so that noise around 0 cannot cut it off at once (pymbar's mintime)
_LEAST_LAG = 3
_STARTS = 50
# relative to the values: what is left of a constant after rounding
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Equilibrated:
    """The part of a series that is equilibrated, and how correlated it is.

    Attributes
    ----------
    start
        Place of its first value.
    inefficiency
        Statistical inefficiency g of the values from there on: each g-th is independent.
    n_independent
        Number of these values over g.
    """

    start: int
    inefficiency: float
    n_independent: float


def statistical_inefficiency(values: ArrayLike) -> float:
    """Return g = 1 + 2 Σ (1 − t/N) C(t), in numbers of values; 1 where they are independent.

    C(t) is the normalised autocorrelation at lag t. The sum ends where C first falls to 0 or below, for what follows is
    noise. Oscillations, as vibrations make, are so not counted against it: g errs to the large side.

    Parameters
    ----------
    values
        Shape (N,), evenly spaced in time, without drift.

    Raises
    ------
    DataError
        Fewer than `FEWEST_VALUES`, one that is not finite, or all the same: then nothing can be said.
    """
    series = _checked(values)
    deviations = series - series.mean()
    number = len(series)
    # twice as long, filled up with zeros: else the end would be correlated with the beginning
    spectrum = np.fft.rfft(deviations, 1 << (2 * number - 1).bit_length())
    products = np.fft.irfft(np.abs(spectrum) ** 2)[:number] / np.arange(number, 0, -1)
    correlation = products[1 : number - 1] / products[0]
    ends = np.flatnonzero(correlation[_LEAST_LAG:] <= 0)
    last = _LEAST_LAG + int(ends[0]) if len(ends) else len(correlation)
    lags = np.arange(1, last + 1)
    return max(1.0, 1.0 + 2.0 * float(np.sum((1 - lags / number) * correlation[:last])))


def equilibrated(values: ArrayLike) -> Equilibrated:
    """Find the start from which on a series holds most independent values (Chodera 2016), and its inefficiency.

    Parameters
    ----------
    values
        Shape (N,), evenly spaced in time, at constant conditions. 50 starts are tried, evenly over the first half:
        the end of a series that is short or slow may look independent by chance.

    Raises
    ------
    DataError
        As :func:`statistical_inefficiency`.
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
    """Return values (N,) less the polynomial of least squares in time: a drift is no correlation.

    What is slower than the polynomial can follow stays in; what is as slow as the polynomial is lost, and with it
    correlation over times of the order of N / `degree`.
    """
    series = np.asarray(values, dtype=float)
    return series - smooth(np.arange(len(series)), series, degree)(np.arange(len(series)))


def smooth(times: ArrayLike, values: ArrayLike, degree: int) -> np.polynomial.Polynomial:
    """Return the polynomial of least squares through values at times, of at most `degree`; it needs one value."""
    x, y = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    if len(np.unique(x)) < 2:
        return np.polynomial.Polynomial([y.mean()])
    return np.polynomial.Polynomial.fit(x, y, min(degree, len(np.unique(x)) - 1))


def _checked(values: ArrayLike) -> NDArray:
    series = np.asarray(values, dtype=float)
    if series.ndim != 1 or len(series) < FEWEST_VALUES:
        raise DataError(f"{series.size} values are too few to tell their correlation", f"{FEWEST_VALUES} at least")
    if not np.isfinite(series).all():
        raise DataError("the series holds a value that is not finite", "leave out what a broken run left")
    if _is_constant(series):
        raise DataError("the series is constant: it has no correlation time", "nothing moves, or it was not measured")
    return series


def _is_constant(series: NDArray) -> bool:
    return bool(np.ptp(series) <= _ROUNDING * max(1.0, float(np.abs(series).max())))
