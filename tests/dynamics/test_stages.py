"""Protocols as typed values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.stages import Anneal, Cool, LinearZ, Protocol, Pulse, Quench, Relax, kick_count


def test_boundaries_count_steps_from_the_start_and_relax_takes_none():
    protocol = Protocol(
        name="p",
        stages=[Relax(), Anneal(temperature_K=600, duration_ps=1.0), Quench(start_K=600, end_K=300, duration_ps=0.5)],
    )
    assert protocol.boundaries() == [(0, 0), (0, 500), (500, 750)]
    assert protocol.total_steps == 750
    assert protocol.duration_ps == pytest.approx(1.5)


def test_a_protocol_reads_back_from_json_as_it_was():
    protocol = Protocol(
        name="p",
        stages=[
            Pulse(energy_eV=3, duration_ps=4, profile=LinearZ(bottom_A=0, top_A=9)),
            Cool(end_K=300, duration_ps=2),
        ],
    )
    again = Protocol.model_validate_json(protocol.model_dump_json())
    assert again == protocol
    assert again.digest() == protocol.digest()


def test_the_digest_follows_the_seed():
    stages = [Anneal(temperature_K=600, duration_ps=1.0)]
    assert Protocol(name="p", stages=stages, seed=1).digest() != Protocol(name="p", stages=stages, seed=2).digest()


def test_a_duration_between_steps_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"nearest is 1 ps"):
        Protocol(name="p", stages=[Anneal(temperature_K=600, duration_ps=1.0009)])


def test_a_pulse_that_is_no_multiple_of_its_interval_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"nearest duration is 4 ps"):
        Protocol(name="p", stages=[Pulse(energy_eV=1, duration_ps=5.0 - 0.2)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "anneal", "temperature_K": -1, "duration_ps": 1},
        {"kind": "cool", "end_K": 0, "duration_ps": 2},
        {"kind": "pulse", "energy_eV": 0, "duration_ps": 2},
        {"kind": "melt", "duration_ps": 2},
        {"kind": "pulse", "energy_eV": 1, "duration_ps": 2, "profile": {"kind": "linear_z", "bottom_A": 5, "top_A": 1}},
    ],
)
def test_impossible_stages_are_refused(wrong):
    with pytest.raises(ValidationError):
        Protocol(name="p", stages=[wrong])


def test_a_misspelt_key_is_answered_with_the_right_one():
    with pytest.raises(ValidationError, match="temperature_K"):
        Protocol(name="p", stages=[{"kind": "anneal", "temperatur_K": 600, "duration_ps": 1}])


@given(kicks=st.integers(1, 200), every=st.sampled_from([0.5, 1.0, 2.0]), timestep=st.sampled_from([1.0, 2.0]))
def test_every_multiple_of_the_interval_has_that_many_kicks(kicks, every, timestep):
    assert kick_count(Pulse(energy_eV=1, duration_ps=kicks * every, every_ps=every), timestep) == kicks
