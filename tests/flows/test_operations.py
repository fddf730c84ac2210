"""What operations of a cell mean in molecular dynamics."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gst_jobflow.flows.operations import Reset, Rest, Set, duration_ps, stages_of


def test_a_reset_gives_its_energy_to_the_mobile_atoms_and_cools() -> None:
    reset = Reset(energy_eV_per_atom=0.749, pulse_ps=10, cool_ps=40)
    pulse, cool = stages_of(reset, 1000, (5.0, 55.0))
    assert pulse.energy_eV == pytest.approx(749.0)
    assert (pulse.profile.bottom_A, pulse.profile.top_A) == (5.0, 55.0)
    assert (cool.end_K, cool.duration_ps) == (300.0, 40)
    assert duration_ps(reset) == 50


def test_a_uniform_reset_a_set_and_a_relaxed_rest() -> None:
    assert (
        stages_of(Reset(energy_eV_per_atom=0.4, pulse_ps=2, cool_ps=2, profile="uniform"), 10, (0, 1))[0].profile.kind
        == "uniform"
    )
    assert stages_of(Set(temperature_K=600, duration_ps=20), 10, (0, 1))[0].temperature_K == 600
    assert [stage.kind for stage in stages_of(Rest(duration_ps=2, relax=True), 10, (0, 1))] == ["relax", "hold"]


@pytest.mark.parametrize("energy", [0, -1, 100])
def test_absurd_energies_are_refused(energy: float) -> None:
    with pytest.raises(ValidationError):
        Reset(energy_eV_per_atom=energy, pulse_ps=10, cool_ps=10)
