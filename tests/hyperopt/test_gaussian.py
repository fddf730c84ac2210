"""Closed forms of the Gaussian process against scikit-learn's, and slopes against differences."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.hyperopt.gaussian import Posterior, log_expected_improvement, log_gain_slope
from gst_jobflow.hyperopt.likelihood import log_likelihood, most_likely


@pytest.fixture
def posterior() -> Posterior:
    random = np.random.default_rng(1)
    rows = random.random((12, 3))
    return Posterior(2.5, 1e-3, np.array([0.4, 0.9, 3.0]), rows, np.sin(5 * rows[:, 0]) + rows[:, 1])


def test_mean_and_deviation_are_those_of_scikit_learn(posterior: Posterior) -> None:
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = gaussian_process.kernels
    kernel = kernels.ConstantKernel(2.5) * kernels.Matern([0.4, 0.9, 3.0], nu=2.5) + kernels.WhiteKernel(1e-3)
    process = gaussian_process.GaussianProcessRegressor(kernel, optimizer=None)
    theirs = process.fit(posterior.rows, posterior.values)
    rows = np.vstack([np.random.default_rng(2).random((20, 3)), posterior.rows[:2]])
    mean, deviation = theirs.predict(rows, return_std=True)
    ours = posterior.predict(rows)
    # scikit-learn adds 1e-10 to the diagonal
    assert ours[0] == pytest.approx(mean, abs=1e-6) and ours[1] == pytest.approx(deviation, abs=1e-6)
    squares = (posterior.rows[:, None] - posterior.rows[None]) ** 2
    value, _ = log_likelihood(np.log([2.5, 1e-3, 0.4, 0.9, 3.0]), squares, posterior.values)
    assert value == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-5)


def test_the_slope_of_the_likelihood_is_that_of_differences(posterior: Posterior) -> None:
    squares = (posterior.rows[:, None] - posterior.rows[None]) ** 2
    logs = np.log([2.5, 1e-2, 0.4, 0.9, 3.0])
    _, slope = log_likelihood(logs, squares, posterior.values)
    values = [
        [log_likelihood(logs + sign * 1e-5 * step, squares, posterior.values)[0] for sign in (1, -1)]
        for step in np.eye(5)
    ]
    assert slope == pytest.approx(np.subtract(*np.transpose(values)) / 2e-5, rel=1e-5, abs=1e-6)


def test_the_most_likely_process_is_the_same_from_other_seeds_and_no_less_likely_than_others(
    posterior: Posterior,
) -> None:
    squares = (posterior.rows[:, None] - posterior.rows[None]) ** 2
    found = [most_likely(posterior.rows, posterior.values, seed) for seed in (1, 2)]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-3)
    for lengths in ([0.3, 0.3, 0.3], [1.0, 1.0, 1.0], [0.5, 2.0, 9.0]):
        for amplitude in (0.1, 1.0, 10.0):
            other, _ = log_likelihood(np.log([amplitude, 1e-4, *lengths]), squares, posterior.values)
            assert other <= found[0][1]


def test_a_value_as_expected_changes_no_expectation_but_its_doubt(posterior: Posterior) -> None:
    rows = np.random.default_rng(3).random((5, 3))
    before = posterior.predict(rows)
    after = posterior.knowing(rows[:1], before[0][:1]).predict(rows)
    assert after[0] == pytest.approx(before[0], abs=1e-9)
    assert after[1][0] < 0.2 * before[1][0] and np.all(after[1] <= before[1] + 1e-12)


@pytest.mark.parametrize("best", [-0.5, 1.0, -40.0])
def test_the_slope_of_the_expected_improvement_is_that_of_differences(posterior: Posterior, best: float) -> None:
    for row in np.random.default_rng(4).random((5, 3)):
        value, slope = log_gain_slope(posterior, row, best)
        assert value == pytest.approx(log_expected_improvement(*posterior.predict(row[None]), best)[0], rel=1e-9)
        steps = np.vstack([row + 1e-6 * np.eye(3), row - 1e-6 * np.eye(3)])
        gains = log_expected_improvement(*posterior.predict(steps), best)
        assert slope == pytest.approx((gains[:3] - gains[3:]) / 2e-6, rel=1e-4, abs=1e-4)


def test_expected_improvement_agrees_with_its_integral_and_does_not_underflow() -> None:
    samples = np.random.default_rng(0).normal(0.3, 0.5, 2_000_000)
    by_hand = np.log(np.maximum(0.1 - samples, 0).mean())
    assert log_expected_improvement(np.array([0.3]), np.array([0.5]), 0.1)[0] == pytest.approx(by_hand, abs=5e-3)
    far = log_expected_improvement(np.array([10.0, 20.0, 40.0]), np.array([0.5] * 3), 0.0)
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()
    # the two formulas meet where one takes over
    near = log_expected_improvement(np.array([5.999, 6.001]), np.array([1.0, 1.0]), 0.0)
    assert near[0] - near[1] < 0.2
