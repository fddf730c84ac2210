"""Series of known correlation time give it back; what has none is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from gst_jobflow.base.errors import DataError
from gst_jobflow.selection.decorrelation import (
    FEWEST_VALUES,
    detrended,
    equilibrated,
    smooth,
    statistical_inefficiency,
)

seeds = st.integers(0, 2**32 - 1)


def first_order(memory: float, number: int, seed: int) -> np.ndarray:
    """A stationary autoregressive series of first order: C(t) = memory^t, so g = (1 + memory) / (1 − memory)."""
    noise = np.random.default_rng(seed).normal(size=number)
    first, step = noise[0], np.sqrt(1 - memory**2)
    return np.append(first, lfilter([step], [1, -memory], noise[1:], zi=[memory * first])[0])


def by_hand(series: np.ndarray) -> float:
    """The sum lag by lag, as it stands in the paper."""
    number, deviations = len(series), series - series.mean()
    g = 1.0
    for lag in range(1, number - 1):
        c = (deviations[:-lag] @ deviations[lag:]) / (number - lag) / deviations.var()
        if c <= 0 and lag > 3:
            break
        g += 2 * c * (1 - lag / number)
    return max(1.0, g)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([0.5, 0.8, 0.9, 0.95]), seeds)
def test_the_inefficiency_of_a_first_order_process_is_the_known_one(memory, seed):
    g = (1 + memory) / (1 - memory)
    # of 500 seeds each, all were within 0.86..1.35; a late zero crossing makes the upper tail
    assert 0.75 * g < statistical_inefficiency(first_order(memory, 100_000, seed)) < 1.7 * g


def test_the_inefficiency_is_right_on_average():
    # 40 series: the mean scatters by 1 %, and ending the sum at the first zero adds 2 %
    found = [statistical_inefficiency(first_order(0.9, 100_000, seed)) for seed in range(40)]
    assert np.mean(found) == pytest.approx(19.0, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_white_noise_is_independent(seed):
    # the few lags before the first negative one add up to some multiple of 1 / √N; of 5,000 series the largest had 1.27
    assert 1.0 <= statistical_inefficiency(np.random.default_rng(seed).normal(size=10_000)) < 1.5


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.97), st.integers(FEWEST_VALUES, 400), seeds, st.floats(-1e4, 1e4), st.floats(1e-3, 1e3))
def test_the_inefficiency_is_the_sum_of_the_paper_and_has_no_unit(memory, number, seed, zero, unit):
    series = first_order(memory, number, seed)
    g = statistical_inefficiency(series)
    assert g == pytest.approx(by_hand(series), rel=1e-6)
    assert statistical_inefficiency(zero + unit * series) == pytest.approx(g, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_unequilibrated_part_is_left_out(seed):
    noise = first_order(0.8, 4000, seed)
    relaxing = noise + 20 * np.exp(-np.arange(4000) / 100)
    found, known = equilibrated(relaxing), equilibrated(noise)
    # the relaxation falls from 20 standard deviations to one within 100 ln 20 = 300 values
    assert 200 < found.start < 1600
    assert found.n_independent > 0.6 * known.n_independent
    assert found.n_independent == pytest.approx((4000 - found.start) / found.inefficiency)
    assert statistical_inefficiency(relaxing) > 4 * found.inefficiency


def test_drift_is_not_correlation():
    noise = first_order(0.5, 2000, 1)
    ramp = np.linspace(-50, 50, 2000)
    assert statistical_inefficiency(noise + ramp) > 300
    assert statistical_inefficiency(detrended(noise + ramp + 1e-4 * ramp**3, 3)) == pytest.approx(3.0, rel=0.3)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 3))
def test_a_smooth_course_needs_one_value(values, degree):
    times = np.arange(len(values))
    assert np.isfinite(smooth(times, values, degree)(times)).all()
    assert smooth(times, values, 0)(0.0) == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize("function", [statistical_inefficiency, equilibrated])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(100, -312.4), "constant"),
        (-312.4 + 1e-13 * np.arange(100), "constant"),
        (np.zeros(100), "constant"),
        (np.arange(FEWEST_VALUES - 1), "too few"),
        ([], "too few"),
        ([*range(50), np.nan], "not finite"),
    ],
)
def test_a_series_without_correlation_time_is_an_error_and_never_nan(function, values, words):
    with pytest.raises(DataError, match=words):
        function(values)


def test_a_series_that_freezes_is_judged_by_its_moving_part():
    series = np.concatenate([first_order(0.5, 300, 1), np.zeros(300)])
    assert np.isfinite(equilibrated(series).inefficiency)
