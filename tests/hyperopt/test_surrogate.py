"""The expected improvement, and the process before and after it believes in points that are being tried."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.hyperopt.space import Space
from gst_jobflow.hyperopt.surrogate import Surrogate, encode, log_expected_improvement

SPACE = Space(
    fields={
        "a": {"low": 0, "high": 1},
        "b": {"low": 1, "high": 100, "scale": "log"},
        "c": {"choices": ["x", "y"]},
    }
)


@pytest.fixture
def model() -> Surrogate:
    random = np.random.default_rng(1)
    points = [SPACE.at(unit) for unit in random.random((14, 3))]
    losses = [2 + np.sin(5 * p["a"]) + np.log(p["b"]) / 4 + (p["c"] == "x") for p in points]
    return Surrogate(SPACE, points, losses, seed=1)


def test_every_choice_is_a_column_and_every_range_one_between_0_and_1() -> None:
    rows = encode(SPACE, [{"a": 0.25, "b": 10.0, "c": "x"}, {"a": 1.0, "b": 1.0, "c": "y"}])
    assert rows == pytest.approx(np.array([[0.25, 0.5, 1, 0], [1, 0, 0, 1]]))
    assert SPACE.at(SPACE.unit({"a": 0.25, "b": 10.0, "c": "y"})) == {"a": 0.25, "b": pytest.approx(10.0), "c": "y"}


def test_the_process_is_the_same_from_other_seeds_and_no_less_likely_than_others(model: Surrogate) -> None:
    points, losses = model._points, model.expected_loss(model._points)
    found = [Surrogate(SPACE, points, losses, seed).describe()["log_likelihood"] for seed in (1, 2)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    process = model._process
    for lengths in (0.3, 1.0, 3.0):
        for amplitude in (0.1, 1.0, 10.0):
            theta = np.log([amplitude, *[lengths] * 4, 1e-4])
            assert process.log_marginal_likelihood(theta) <= model.describe()["log_likelihood"] + 1e-9


def test_an_expected_value_changes_no_mean_but_the_uncertainty(model: Surrogate) -> None:
    points = [SPACE.at(unit) for unit in np.random.default_rng(3).random((5, 3))]
    before = model.predict(points)
    model.believe(points[:1])
    after = model.predict(points)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert after[1][0] < 0.5 * before[1][0] and np.all(after[1] <= before[1] + 1e-9)


def test_the_best_point_has_a_larger_expected_improvement_than_any_of_many_others(model: Surrogate) -> None:
    best = model.best_point([], seed=5)
    assert best is not None
    others = np.random.default_rng(6).random((4000, 3))
    gain = model._gains(np.array([SPACE.unit(best)]))[0]
    assert gain >= model._gains(others).max()


def test_expected_improvement_agrees_with_its_integral_and_does_not_underflow() -> None:
    samples = np.random.default_rng(0).normal(0.3, 0.5, 2_000_000)
    by_hand = np.log(np.maximum(0.1 - samples, 0).mean())
    assert log_expected_improvement(np.array([0.3]), np.array([0.5]), 0.1)[0] == pytest.approx(by_hand, abs=5e-3)
    far = log_expected_improvement(np.array([10.0, 20.0, 40.0]), np.array([0.5] * 3), 0.0)
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()
    # the two formulas meet where one takes over
    near = log_expected_improvement(np.array([5.999, 6.001]), np.array([1.0, 1.0]), 0.0)
    assert near[0] - near[1] < 0.2
