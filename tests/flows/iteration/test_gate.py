"""The gate of a training protocol."""

from __future__ import annotations

from gst_jobflow.flows.iteration.gate import Gate

ROW = {
    "energy_meV_per_atom": 12.0,
    "force_meV_per_A": 140.0,
    "rmse_by_config_type": {"rss": {"energy_meV_per_atom": 30.0, "force_meV_per_A": 300.0}},
    "success": 0.9,
    "success_low": 0.6,
    "gamma": 3.0,
    "spread_meV_per_A": None,
}


def test_conditions_that_are_met_leave_nothing() -> None:
    gate = Gate(
        rmse={"all": {"force_meV_per_A": 140}, "rss": {"energy_meV_per_atom": 31}}, success=0.9,
        gamma={"quantile": 0.9, "at_most": 3},
    )  # fmt: skip
    assert gate.unmet(ROW) == [] and not gate.is_open
    assert Gate().is_open


def test_each_condition_that_is_not_met_is_named_with_value_and_limit() -> None:
    gate = Gate(
        rmse={"all": {"force_meV_per_A": 100}, "rss": {"force_meV_per_A": 200}, "aimd": {"energy_meV_per_atom": 5}},
        success_low=0.8, gamma={"at_most": 2}, spread_meV_per_A=40,
    )  # fmt: skip
    assert gate.unmet(ROW) == [
        "force_meV_per_A of all is 140, above 100",
        "force_meV_per_A of rss is 300, above 200",
        "energy_meV_per_atom of aimd is not measured",
        "success_low is 0.6, below 0.8",
        "gamma is 3, above 2",
        "spread_meV_per_A is not measured",
    ]
