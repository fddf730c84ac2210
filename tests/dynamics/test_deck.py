"""What is in a deck."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gst_jobflow.dynamics.deck import DeckSpec, Group, Limits, Output, PotentialFiles, Tuning, render_deck
from gst_jobflow.dynamics.stages import Anneal, Cool, Hold, Protocol, Pulse, Quench, Relax

POTENTIAL = PotentialFiles(yace="p.yace", yaml="p.yaml", asi="p.asi", elements=["Ge", "Sb", "Te"])
STAGES = [
    Relax(),
    Anneal(temperature_K=600, duration_ps=2),
    Pulse(energy_eV=10, duration_ps=6),
    Cool(end_K=300, duration_ps=4),
]


def _spec(**changes) -> DeckSpec:
    given = {"protocol": Protocol(name="p", stages=STAGES), "potential": POTENTIAL, "start_file": "start.data"}
    return DeckSpec(**(given | changes))


def _restart(step: int, **changes) -> str:
    return render_deck(_spec(start_file="r", start_kind="restart", start_step=step, **changes))


def test_a_first_deck_reads_data_draws_velocities_and_names_the_potential():
    text = render_deck(_spec(create_velocities_K=300))
    assert "read_data start.data" in text
    assert "pair_style pace recursive" in text
    assert "pair_coeff * * p.yace Ge Sb Te" in text
    assert text.count("velocity mobile create 300 1 ") == 1
    assert "thermo_modify lost error" in text


def test_stages_appear_in_order_with_their_ensembles():
    stages = [
        Anneal(temperature_K=500, duration_ps=1),
        Quench(start_K=500, end_K=300, duration_ps=1),
        Hold(temperature_K=300, duration_ps=1, ensemble="nve"),
        Pulse(energy_eV=1, duration_ps=2),
    ]
    text = render_deck(_spec(protocol=Protocol(name="p", stages=stages)))
    blocks = text.split("# stage ")[1:]
    assert [block.split("\n")[0] for block in blocks] == ["1: anneal", "2: quench", "3: hold", "4: pulse"]
    # the paper: NVE for pulses, Langevin otherwise
    assert "langevin 500 500 0.1" in blocks[0]
    assert "langevin 500 300 0.1" in blocks[1]
    assert "run 1000 upto start 500 stop 1000" in blocks[1]
    assert "langevin" not in blocks[2]
    assert "langevin" not in blocks[3]


def test_a_relaxation_continues_from_its_own_restart_file_at_its_first_step():
    stages = [Pulse(energy_eV=10, duration_ps=2), Cool(end_K=300, duration_ps=2), Relax(max_iterations=500), STAGES[1]]
    given = {"protocol": Protocol(name="p", stages=stages)}
    assert "restart 50 relaxing_2000.a relaxing_2000.b" in render_deck(_spec(**given))
    text = _restart(2000, relaxing=True, **given)
    # its own step counts iterations
    assert "read_restart r\nreset_timestep 2000\n" in text and "the restart file is of step" not in text
    # the cooling before it is over, its last kick included
    assert [block.split("\n")[0] for block in text.split("# stage ")[1:]] == ["3: relax", "4: anneal"]
    assert "2: cool" in _restart(2000, **given)


def test_a_continuation_gives_the_potential_again_and_never_draws_velocities():
    text = _restart(2500)
    assert "read_restart r" in text
    assert "pair_coeff * * p.yace Ge Sb Te" in text
    assert "create" not in text
    assert "# stage 2" not in text
    assert "reset_timestep" not in text
    with pytest.raises(ValidationError, match="never drawn again"):
        _restart(2500, create_velocities_K=300)


@pytest.mark.parametrize(
    ("step", "loop", "lead"),
    [
        # the pulse spans steps 1000-4000; a restart file never holds the kick of its own step
        (1000, "loop 1 3", None),
        (1001, "loop 2 3", "run 2000 upto"),
        (2000, "loop 2 3", "run 2000 upto"),
        (2500, "loop 3 3", "run 3000 upto"),
    ],
)
def test_a_restart_within_a_pulse_continues_with_the_next_kick(step, loop, lead):
    block = _restart(step).split("# stage 3: pulse")[1].split("# stage 4")[0]
    assert f"variable kick {loop}" in block
    assert (lead is None) or block.index(lead) < block.index("label kicks_3")


def test_a_restart_in_the_last_interval_of_a_pulse_only_runs_to_its_end():
    block = _restart(3500).split("# stage 3: pulse")[1].split("# stage 4")[0]
    assert "label kicks_3" not in block
    assert "run 4000 upto" in block


def test_a_restart_at_the_end_of_cooling_still_owes_the_last_kick():
    text = _restart(6000)
    assert "variable kick loop 2 2" in text
    assert "# stage 3" not in text


def test_frozen_groups_have_no_integrator_no_force_and_no_velocity():
    groups = {"mobile": Group(ranges=[(1, 90)]), "barrier": Group(ranges=[(91, 100), (121, 130)], frozen=True)}
    text = render_deck(_spec(groups=groups))
    assert "group barrier id 91:100 121:130" in text
    assert "fix freeze_barrier barrier setforce 0.0 0.0 0.0" in text
    assert "velocity barrier set 0.0 0.0 0.0" in text
    assert not [line for line in text.splitlines() if line.startswith("fix gst_nve") and "mobile" not in line]


def test_every_stage_that_takes_time_ends_with_a_frame():
    text = render_deck(_spec())
    ends = [line for line in text.splitlines() if line.startswith("write_dump")]
    assert [line.split()[3] for line in ends] == [f"dump_{stage:03d}_*.lammpstrj.gz" for stage in (2, 3, 4)]
    # a cooling ends with its last kick, so its frame comes after that
    assert text.index("next kick", text.index("# stage 4")) < text.index(ends[-1])
    # a run that was cut right at the end of the pulse may have lost its frame
    continued = _restart(4000)
    assert "# stage 3" not in continued and continued.count("write_dump all custom dump_003_") == 1
    assert "write_dump" not in render_deck(_spec(output=Output(dump_every=0)))


@pytest.mark.parametrize(("every", "sampled"), [(1000, "50 10 1000"), (25, "1 12 25"), (1, "1 1 1"), (41, "1 20 41")])
def test_profiles_average_the_second_half_of_their_interval(every, sampled):
    assert f"ave/chunk {sampled} gst_bins" in render_deck(_spec(output=Output(profile_every=every)))


def test_extrapolation_reads_the_b_basis_and_halts_on_gamma():
    text = render_deck(
        _spec(pair_style="extrapolation", output=Output(gamma_every=10), limits=Limits(halt_gamma=25, walltime_s=3725))
    )
    assert "pair_coeff * * p.yaml p.asi Ge Sb Te" in text
    assert "fix gst_gamma all pair 10 pace/extrapolation gamma 1" in text
    assert "compute gst_max_gamma all reduce max f_gst_gamma" in text
    assert "halt 10 v_s_gamma > 25 " in text
    assert "id type x y z f_gst_gamma" in text
    assert "timer timeout 1:02:05" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pair_style": "extrapolation", "potential": PotentialFiles(yace="p", elements=["Te"])}, "active set"),
        ({"pair_style": "extrapolation"}, "gamma_every"),
        ({"limits": Limits(halt_gamma=5)}, "gamma_every"),
        ({"groups": {"other": Group(ranges=[(1, 2)])}}, "acts on group 'mobile'"),
        ({"groups": {"mobile": Group(ranges=[(1, 2)], frozen=True)}}, "frozen"),
        ({"start_kind": "restart", "start_step": 10**6}, "after the last step"),
        ({"start_step": 5}, "continuation"),
        (
            {"pair_style": "extrapolation", "output": Output(gamma_every=20, dump_every=50)},
            "set dump_every to 40, or gamma_every",
        ),
    ],
)
def test_contradictions_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        _spec(**changes)


def test_a_deck_is_a_pure_function_of_its_values():
    assert render_deck(_spec()) == render_deck(_spec())


def test_a_gpu_gets_the_product_evaluator_in_chunks():
    text = render_deck(_spec(on_gpu=True, pair_style="product", tuning=Tuning(chunk=8192)))
    assert "pair_style pace product chunksize 8192" in text
    with pytest.raises(ValidationError, match="product"):
        _spec(on_gpu=True)


@pytest.mark.parametrize(
    ("balance", "lines"), [("off", 0), ("start", 1), (5000, 2)]
)  # fmt: skip
def test_ranks_are_balanced_when_asked(balance, lines):
    text = render_deck(_spec(tuning=Tuning(balance=balance)))
    assert sum("balance" in line for line in text.splitlines()) == lines


def test_layers_are_equal_slices_along_z():
    text = render_deck(_spec(output=Output(layers=4)))
    assert "region gst_layer_0 block INF INF INF INF INF $(zlo+1.0*lz/4.0:%.15g) units box" in text
    assert "region gst_layer_3 block INF INF INF INF $(zlo+3.0*lz/4.0:%.15g) INF units box" in text
    assert "region" not in render_deck(_spec(output=Output(layers=0)))
