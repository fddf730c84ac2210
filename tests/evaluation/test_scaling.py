"""Scaling: the plan of a study, cells of blocks, and the row of several runs."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.evaluation.scaling import (
    NUMBERS,
    Layout,
    ScalingPlan,
    TimedRun,
    add_efficiency,
    block,
    block_repeat,
    scaling_row,
    steps_for,
)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "strong", "n_atoms": [1000], "ranks": [2]}, "strong scaling of one point"),
        ({"mode": "size", "n_atoms": [1000], "ranks": [1, 2]}, "give several n_atoms"),
        ({"mode": "weak", "n_atoms": [1000, 2000], "nodes": [4], "ranks_per_node": 8}, "give several ranks or nodes"),
        ({"mode": "strong", "n_atoms": [1000], "nodes": [1, 2]}, "ranks_per_node is missing"),
        ({"mode": "strong", "n_atoms": [1000]}, "ranks .* or nodes"),
        ({"mode": "strong", "n_atoms": [1000], "ranks": [1, 1]}, "different positive"),
        ({"mode": "size", "n_atoms": list(range(1, 502)), "ranks": [1]}, "more than 500 points"),
        (
            {"mode": "strong", "n_atoms": [9], "ranks": [1, 2],
             "pair_styles": [{"name": "lj", "elements": ["Te"], "lines": ["pair_coeff * *"]}]},
            "no line 'pair_style",
        ),
    ],
)  # fmt: skip
def test_a_plan_without_a_curve_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        checked(ScalingPlan, values)
    assert re.search(said, f"{caught.value.message} {caught.value.fix}")


def test_weak_scaling_multiplies_atoms_by_nodes_or_ranks() -> None:
    by_rank = ScalingPlan(mode="weak", n_atoms=[1000], ranks=[2, 1])
    assert [by_rank.sizes(layout) for layout in by_rank.layouts] == [[1000], [2000]]
    by_node = ScalingPlan(mode="weak", n_atoms=[100_000], nodes=[1, 4], ranks_per_node=128)
    assert [(layout.ranks, by_node.sizes(layout)) for layout in by_node.layouts] == [(128, [100_000]), (512, [400_000])]
    strong = ScalingPlan(mode="strong", n_atoms=[100_000], nodes=[1, 4], ranks_per_node=128)
    assert {tuple(strong.sizes(layout)) for layout in strong.layouts} == {(100_000,)}


@pytest.mark.parametrize("n_atoms", [1_000, 10_000, 200_000, 1_000_000, 650_000_000])
def test_cells_have_about_the_atoms_asked_for_and_are_nearly_cubes(n_atoms: int) -> None:
    repeat = block_repeat(n_atoms, 448)
    assert abs(math.prod(repeat) * 448 / n_atoms - 1) < 0.15
    assert max(repeat) <= 2 * min(repeat)


def test_a_block_has_its_composition() -> None:
    assert block("Ge1Sb2Te4").get_chemical_formula() == "Ge64Sb128Te256"
    assert set(block("GeSbTe2Sn").get_chemical_symbols()) == {"Ge", "Sb", "Te", "Sn"}


def timed(loop_s: float, n_atoms: int = 1000, peak_MB: float = 60.0, failure: str = "") -> TimedRun:
    parts = {"pair": 0.7 * loop_s, "comm": 0.2 * loop_s}
    return TimedRun(failure, failure, n_atoms, 100, loop_s, parts, 1.1, 0.9, round(1e6 * peak_MB), 0.5, loop_s)


def test_the_row_of_a_point_is_its_median_run() -> None:
    row = scaling_row([timed(3.0), timed(1.0), timed(2.0, peak_MB=61.0)], timed(0.1, 200, 50.0), Layout(ranks=2))
    assert row["us_per_atom_step"] == pytest.approx(20.0) and row["core_us_per_atom_step"] == pytest.approx(40.0)
    assert (row["us_per_atom_step_low"], row["us_per_atom_step_high"]) == pytest.approx((10.0, 30.0))
    assert row["steps_per_day"] == pytest.approx(86_400 * 50)
    assert row["comm_share"] == pytest.approx(0.2) and row["neigh_s"] == 0.0
    assert row["memory_B_per_atom"] == pytest.approx(11e6 / 800)
    assert row["repeats"] == 3 and row["state"] == "measured" and set(NUMBERS) <= set(row)


def test_memory_that_loading_hides_is_not_known() -> None:
    """A peak below that of the smallest cell would be a negative memory an atom."""
    row = scaling_row([timed(1.0, peak_MB=59.0)], timed(0.1, 200, 60.0), Layout(ranks=2))
    assert row["memory_B_per_atom"] is None and row["peak_rss_MB"] == pytest.approx(59.0)


def test_one_run_out_of_memory_makes_the_point_one() -> None:
    row = scaling_row([timed(1.0), timed(0.0, failure="out_of_memory")], timed(0.1), Layout(ranks=1))
    assert (row["state"], row["us_per_atom_step"]) == ("out_of_memory", None)
    assert scaling_row([], timed(0.1), Layout(ranks=1))["state"] == "not_run"


def test_steps_take_the_time_of_the_plan_at_the_speed_of_the_smallest_cell() -> None:
    plan = ScalingPlan(mode="size", n_atoms=[1, 2], ranks=[1], seconds=10)
    base = timed(1.0, 1000)
    assert steps_for(plan, base, 10_000) == 100
    assert steps_for(plan, base, 10**9) == 5
    assert steps_for(plan.model_copy(update={"n_steps": 7}), base, 10_000) == 7


def test_efficiency_is_core_time_against_the_fewest_ranks_of_the_curve() -> None:
    def row(potential: str, ranks: int, core_us: float, state: str = "measured") -> dict[str, Any]:
        return {
            "potential": potential,
            "ranks": ranks,
            "asked_atoms": 9,
            "core_us_per_atom_step": core_us,
            "state": state,
        }

    table = [row("a", 2, 5.0), row("a", 1, 4.0), row("b", 1, 8.0), row("b", 4, 0.0, "out_of_memory")]
    add_efficiency(table, "strong")
    assert [each["efficiency"] for each in table] == [0.8, 1.0, 1.0, None]
    add_efficiency(table, "size")
    assert [each["efficiency"] for each in table] == [None] * 4
