"""Points of the start, proposals, and the order that makes them repeatable."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from gst_jobflow.hyperopt import table
from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.hyperopt.propose import Known, next_point, start_points
from gst_jobflow.hyperopt.rows import best_row, front
from gst_jobflow.hyperopt.space import Point, Space
from gst_jobflow.hyperopt.surrogate import Surrogate

MIXED = Space(
    fields={
        "radial.rcut_A": {"low": 4.0, "high": 8.0},
        "loss.L2_coeffs": {"low": 1e-10, "high": 1e-4, "scale": "log"},
        "functions.number_of_functions_per_element": {"low": 10, "high": 40, "scale": "int"},
        "radial.radbase": {"choices": ["SBessel", "ChebExpCos", "ChebPow"]},
    }
)


def loss_of(point: Point) -> float:
    """A valley at 6 Å, 1e-7, 25 functions, ChebExpCos."""
    bowl = (point["radial.rcut_A"] - 6.0) ** 2 + (math.log10(point["loss.L2_coeffs"]) + 7) ** 2 / 4
    bowl += (point["functions.number_of_functions_per_element"] - 25) ** 2 / 200
    return 10 * math.exp(bowl / 4) * (1.0 if point["radial.radbase"] == "ChebExpCos" else 1.4)


@pytest.mark.parametrize("kind", ["hammersley", "sobol"])
def test_the_start_is_spread_over_every_field(kind: Any) -> None:
    points = start_points(MIXED, 12, kind, seed=42)
    assert len({tuple(point.values()) for point in points}) == 12
    for field in MIXED.fields:
        values = [point[field.field] for point in points]
        if field.choices is not None:
            assert set(values) == set(field.choices)
            continue
        units = np.sort([field.unit(value) for value in values])
        # no third of a range is without a point
        assert np.diff(np.concatenate([[0.0], units, [1.0]])).max() < 1 / 3


def test_a_proposal_is_in_its_ranges_and_new() -> None:
    known = [Known(point, loss_of(point)) for point in start_points(MIXED, 8, "hammersley", 1)]
    for seed in range(4):
        point = next_point(MIXED, known, [], seed)
        assert all(other.point != point for other in known)
        assert 4.0 <= point["radial.rcut_A"] <= 8.0 and 1e-10 <= point["loss.L2_coeffs"] <= 1e-4
        assert isinstance(point["functions.number_of_functions_per_element"], int)
        assert point["radial.radbase"] in ("SBessel", "ChebExpCos", "ChebPow")
        known.append(Known(point, loss_of(point)))


def test_few_values_are_each_tried_once_before_any_is_again() -> None:
    space = Space(fields={"embedding.npot": {"choices": ["a", "b", "c", "d", "e"]}})
    known = [Known({"embedding.npot": choice}, float(place + 1)) for place, choice in enumerate("abc")]
    fourth = next_point(space, known, [], seed=0)
    fifth = next_point(space, known, [fourth], seed=0)
    assert {fourth["embedding.npot"], fifth["embedding.npot"]} == {"d", "e"}


def test_running_trials_are_not_proposed_again() -> None:
    known = [Known(point, loss_of(point)) for point in start_points(MIXED, 8, "hammersley", 1)]
    first = next_point(MIXED, known, [], seed=3)
    second = next_point(MIXED, known, [first], seed=3)
    assert second != first


def test_a_failed_point_counts_as_the_worst_that_finished() -> None:
    points = start_points(MIXED, 8, "hammersley", 1)
    losses = [loss_of(point) for point in points]
    others = [*losses[:2], *losses[3:]]
    failed = [*losses[:2], None, *losses[3:]]
    stated = [*losses[:2], max(others), *losses[3:]]
    proposals = [
        next_point(MIXED, [Known(*each) for each in zip(points, known, strict=True)], [], seed=5)
        for known in (failed, stated)
    ]
    assert proposals[0] == proposals[1]


def test_a_search_goes_on_after_failures_only() -> None:
    known = [Known(point, None) for point in start_points(MIXED, 4, "hammersley", 1)]
    assert next_point(MIXED, known, [], seed=1) not in [each.point for each in known]


def test_the_surrogate_finds_the_field_that_matters() -> None:
    space = Space(fields={"a": {"low": 0, "high": 1}, "b": {"low": 0, "high": 1}})
    points = start_points(space, 24, "hammersley", 1)
    model = Surrogate(space, points, [1 + 9 * (point["a"] - 0.3) ** 2 for point in points], seed=1)
    scales = model.length_scales()
    assert scales["a"] < 2 < scales["b"]
    expected = model.expected_loss([{"a": 0.3, "b": 0.5}, {"a": 0.9, "b": 0.5}])
    assert expected == pytest.approx([1.0, 4.24], rel=0.05)


def by_trial(plan: SearchPlan, order: random.Random) -> list[dict[str, Any]]:
    """A whole search, whose trials begin and end in any order that their waiting allows."""
    rows = table.waiting_rows(plan.n_fits)
    while any(row["state"] != "finished" for row in rows):
        ended = {row["trial"] for row in rows if row["state"] == "finished"}
        ready = [
            row["trial"]
            for row in rows
            if row["state"] == "running"
            or (row["state"] == "waiting" and ended.issuperset(table.waits_for(plan, row["trial"])))
        ]
        assert len(ready) <= plan.at_once
        trial = order.choice(ready)
        if rows[trial]["state"] == "waiting":
            point = table.propose(plan, rows, trial)
            rows[trial] = {"trial": trial, "state": "running", "values": [point[name] for name in plan.space.names]}
        else:
            point = dict(zip(plan.space.names, rows[trial]["values"], strict=True))
            rows[trial] = {**rows[trial], "state": "finished", "loss": loss_of(point)}
    return rows


def test_fits_that_begin_and_end_in_any_order_give_the_same_search() -> None:
    plan = SearchPlan(space=MIXED, n_fits=9, n_start=5, at_once=3)
    expected = by_trial(plan, random.Random(0))
    assert by_trial(plan, random.Random(1)) == expected


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_a_trial_knows_exactly_the_trials_it_waits_for(at_once: int) -> None:
    plan = SearchPlan(space=MIXED, n_fits=20, n_start=6, at_once=at_once)
    before: dict[int, set[int]] = {}
    for trial in range(plan.n_fits):
        direct = table.waits_for(plan, trial)
        assert len(direct) <= at_once
        before[trial] = {*direct}.union(*(before[other] for other in direct))
        if trial >= plan.n_start:
            assert before[trial] == set(range(table.known_to(plan, trial)))


def row(trial: int, loss: float, cost: float | None = None) -> dict[str, Any]:
    return {"trial": trial, "state": "finished", "loss": loss, "values": [6.0], **({"cost": cost} if cost else {})}


def test_a_search_ends_at_a_target_and_without_progress() -> None:
    space = {"fields": {"radial.rcut_A": {"low": 4, "high": 8}}}
    rows = [row(trial, loss) for trial, loss in enumerate([9.0, 8.0, 7.0, 6.99, 6.98])]
    target = SearchPlan(space=space, n_fits=9, n_start=2, at_once=2, ending={"target": 7.0})
    # trial 3 does not know of trial 2 yet
    assert [table.why_ended(target, rows, trial) for trial in (2, 3, 4)] == ["", "", "target"]
    patient = SearchPlan(space=space, n_fits=9, n_start=2, ending={"patience": 2, "min_progress": 0.01})
    assert [table.why_ended(patient, rows, trial) for trial in (3, 4, 5)] == ["", "", "no progress"]


def test_a_running_fit_may_let_a_search_go_on_after_a_skipped_one() -> None:
    plan = SearchPlan(
        space=MIXED,
        n_fits=12,
        n_start=3,
        at_once=2,
        ending={"patience": 2},  # type: ignore[arg-type]
    )
    rows: list[dict[str, Any]] = []
    for trial in range(6):
        point = table.propose(plan, rows, trial)
        values = [point[name] for name in MIXED.names]
        rows.append({"trial": trial, "state": "finished", "values": values, "loss": 5.0})
    assert table.why_ended(plan, rows, 6) == "no progress"
    rows[5]["loss"] = 1.0
    rows += [{"trial": 6, "state": "left out", "reason": "no progress"}, {"trial": 7, "state": "waiting"}]
    for trial in (7, 8):
        assert table.why_ended(plan, rows, trial) == ""
        assert set(table.propose(plan, rows, trial)) == set(MIXED.names)


def test_the_front_holds_trials_that_no_other_beats_in_both() -> None:
    rows = [row(0, 5.0, 10.0), row(1, 4.0, 20.0), row(2, 6.0, 15.0), row(3, 4.0, 30.0), row(4, 9.0, 5.0)]
    assert front(rows) == [4, 0, 1]
    assert best_row(rows)["trial"] == 1


def test_with_speed_as_second_objective_proposals_follow_both() -> None:
    space = {"fields": {"radial.rcut_A": {"low": 4, "high": 8}}}
    plan = SearchPlan(space=space, n_fits=40, n_start=6, objective={"speed": "functions"})
    rows = [{**row(trial, 10.0 - trial, 1.0 + trial), "values": [4.0 + trial / 2]} for trial in range(6)]
    scalars = [table.scalars(plan, rows, trial) for trial in range(6, 12)]
    best = {int(np.argmin(each)) for each in scalars}
    # the weights change from trial to trial, and with them what is best
    assert len(best) > 1 and all(value > 0 for each in scalars for value in each)
