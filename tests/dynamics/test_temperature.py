"""Equilibrated temperatures of runs with kicks."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.dynamics.stages import Anneal, Cool, Protocol, Pulse
from gst_jobflow.dynamics.temperature import equilibrated_K

PROTOCOL = Protocol(
    name="RESET",
    stages=[Pulse(energy_eV=1.0, duration_ps=4.0, every_ps=2.0), Cool(end_K=300, duration_ps=4.0, every_ps=2.0)],
)


def _tables(every: int) -> tuple[dict, dict]:
    """A spike of 2,054 K after each kick that falls to 1,375 K within 0.5 ps; cooling halves what is above 300 K."""
    step = np.arange(0, 4001, every)
    in_interval = step % 1000
    level = np.select([step < 1000, step < 2000, step < 3000], [1000.0, 1375.0, 1375.0], 800.0)
    spike = np.where((in_interval < 250) & (step < 2000), 679.0, 0.0)
    series = {"step": step, "temp_K": level + spike}
    # a kick of the end sets 300 K: the row after it has the same step as the row before it
    series = {"step": np.append(step, 4000), "temp_K": np.append(series["temp_K"], 300.0)}
    kicks = {"step": np.array([0, 1000, 3000, 4000]), "temp_before_K": np.array([300.0, 1000.0, 1375.0, 800.0])}
    return series, kicks


@pytest.mark.parametrize("every", [10, 100, 1000])
def test_equilibrated_temperatures_ignore_spikes_and_the_last_kick(every: int) -> None:
    series, kicks = _tables(every)
    highest_K, end_K = equilibrated_K(series, kicks, PROTOCOL)
    assert series["temp_K"].max() == 2054.0 or every == 1000
    # rows every 1,000 steps fall on kicks only, where the log of kicks says what was before
    assert highest_K == pytest.approx(1375.0) and end_K == pytest.approx(800.0)


def test_without_kicks_temperatures_are_means_of_half_of_every_2_ps() -> None:
    protocol = Protocol(name="SET", stages=[Anneal(temperature_K=600, duration_ps=6.0)])
    step = np.arange(0, 3001, 100)
    series = {"step": step, "temp_K": np.where(step <= 1000, 600.0, 700.0) + np.where(step % 1000 == 0, 50.0, 0.0)}
    none = {"step": np.array([]), "temp_before_K": np.array([])}
    assert equilibrated_K(series, none, protocol) == (pytest.approx(710.0), pytest.approx(710.0))


def test_a_series_that_is_too_coarse_has_no_equilibrated_temperature() -> None:
    none = {"step": np.array([]), "temp_before_K": np.array([])}
    assert equilibrated_K({"step": np.array([0]), "temp_K": np.array([300.0])}, none, PROTOCOL) == (None, None)
