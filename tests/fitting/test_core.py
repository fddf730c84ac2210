"""The core of chosen size that is put into a potential after the fit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gst_jobflow.fitting.config import CoreRepulsion, FitConfig, RadialConfig, render_input
from gst_jobflow.fitting.run import with_core

REFERENCES = {"Ge": -1.0, "Sb": -1.0, "Te": -1.0}
TEXT = """bonds:
  [0, 0]:
    r_in: 1.91
    delta_in: 0.1
    core-repulsion: [1, 1]
  [0, 1]:
    r_in: 2.5
    delta_in: 0.1
  [1, 1]:
    r_in: 3.7000000000000002
    delta_in: 0.1
"""


def test_the_core_of_every_pair_is_clamped_to_the_range() -> None:
    changed = with_core(TEXT, CoreRepulsion(r_in_min_A=2.4, r_in_max_A=2.8, width_A=0.8))
    assert [line.split()[1] for line in changed.splitlines() if "r_in" in line] == ["2.4", "2.5", "2.8"]
    assert [line.split()[1] for line in changed.splitlines() if "delta_in" in line] == ["0.8"] * 3
    assert "core-repulsion: [1, 1]" in changed


def test_setting_the_core_twice_changes_nothing() -> None:
    core = CoreRepulsion()
    assert with_core(with_core(TEXT, core), core) == with_core(TEXT, core)


@pytest.mark.parametrize("wrong", [{"r_in_min_A": 3.0}, {"width_A": 2.5}, {"r_in_max_A": -1.0}])
def test_an_impossible_core_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CoreRepulsion(**wrong)


def test_there_is_no_core_by_default() -> None:
    assert "repulsion" not in render_input(FitConfig(), "a", "b", REFERENCES)["fit"]
    radial = RadialConfig(repulsion=CoreRepulsion())
    assert render_input(FitConfig(radial=radial), "a", "b", REFERENCES)["fit"]["repulsion"] == "auto"
    assert FitConfig.gst_ace_24().radial.repulsion is None
