"""Programmes of device cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec, device_counts
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.heating import geometry_of_spec
from gst_jobflow.devices.operations import Reset, on_cell
from gst_jobflow.devices.programme import PROGRAMMES, CyclePlan, Until, load_programme, scaled


def plan(**changes: Any) -> CyclePlan:
    return checked(CyclePlan, {"operations": [{"kind": "READ", "duration_ps": 1}], **changes}, "programme.yaml")


def test_shipped_programmes_match_the_paper() -> None:
    cross_point, mushroom = load_programme("cross-point"), load_programme("mushroom")
    assert cross_point.cell == CrossPointSpec.paper() and mushroom.cell == MushroomSpec.paper()
    relax, reset, crystallise, again = (one.operation for one in cross_point.planned())
    assert (reset.energy_pJ, reset.pulse_ps, reset.cool_ps) == (0.064, 10, 40)
    assert (crystallise.temperature_K, crystallise.duration_ps) == (600, 20_000)
    assert (again.energy_pJ, again.pulse_ps, again.cool_ps) == (0.036, 40, 30)
    assert relax.relax
    _, one, first, two, second = (one.operation for one in mushroom.planned())
    assert (one.energy_pJ, one.pulse_ps, one.cool_ps, one.diameter_A) == (0.011, 100, 200, 500)
    assert (two.energy_pJ, two.pulse_ps, two.cool_ps, two.diameter_A) == (0.022, 100, 200, 700)
    assert (first.temperature_K, first.duration_ps) == (second.temperature_K, second.duration_ps) == (600, 10_000)


@pytest.mark.parametrize("name", PROGRAMMES.names())
def test_every_shipped_programme_fits_its_cell(name: str) -> None:
    programme = load_programme(name)
    assert programme.name == name and programme.description
    geometry = geometry_of_spec(programme.cell)
    for planned in programme.planned():
        if planned.operation.kind == "RESET":
            assert on_cell(planned.operation, geometry).energy_eV > 0


def test_scaling_keeps_the_energy_of_a_heated_atom() -> None:
    full = load_programme("mushroom")
    small = scaled(full, 0.25)
    assert small.cell.repeat == (42, 2, 19) and small.cell.barrier_thickness_A == 15.0
    for before, after in zip(full.planned(), small.planned(), strict=True):
        if before.operation.kind != "RESET":
            assert before.operation == after.operation
            continue
        there, here = geometry_of_spec(full.cell), geometry_of_spec(small.cell)
        large, little = on_cell(before.operation, there), on_cell(after.operation, here)
        assert large.energy_eV / large.heated.n_atoms == pytest.approx(little.energy_eV / little.heated.n_atoms)
        assert after.operation.diameter_A == before.operation.diameter_A / 4
    assert sum(device_counts(small.cell).values()) < 20_000


def test_repeats_expand_to_operations_that_know_their_rounds() -> None:
    reset = {"kind": "RESET", "energy_eV_per_atom": 0.3, "pulse_ps": 10, "cool_ps": 10}
    read = {"kind": "READ", "duration_ps": 1}
    again = {"kind": "REPEAT", "times": 3, "operations": [reset, read], "energy_factor": 2,
             "until": {"crystalline_below": 0.5}}  # fmt: skip
    planned = plan(operations=[read, again, read]).planned()
    assert [one.operation.kind for one in planned] == ["READ", *["RESET", "READ"] * 3, "READ"]
    assert [planned[index].operation.energy_eV_per_atom for index in (1, 3, 5)] == pytest.approx([0.3, 0.6, 1.2])
    assert [one.rounds_end for one in planned] == [(), (), (), (2,), (2,), (2, 4), (2, 4), ()]
    assert planned[7].until is None
    assert Until(crystalline_below=0.5).is_met(0.4) and not Until(crystalline_below=0.5).is_met(0.6)
    assert Until(crystalline_above=0.5).is_met(0.6) and not Until(crystalline_above=0.5).is_met(0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operation": []}, "did you mean 'operations'"),
        ({"cell": {"kind": "mushroon"}}, "mushroon"),
        ({"stop": {"core_hour": 1}}, "did you mean 'core_hours'"),
        ({"stop": {"max_gamma": 10}}, "needs output.gamma_every"),
        ({"operations": [{"kind": "SET", "temperature_K": 600, "duration_ps": 5, "until_crystalline": 0.5}],
          "output": {"dump_every": 0}}, "needs output.dump_every"),
        ({"operations": [{"kind": "SET", "temperature_K": 600, "duration_ps": 1, "until_crystalline": 0.5}],
          "output": {"restart_every": 0}}, "need output.restart_every"),
        ({"stop": {"core_hours": 1}, "output": {"restart_every": 0}}, "need output.restart_every"),
        ({"operations": [{"kind": "REPEAT", "times": 2, "until": {"crystalline_above": 0.5},
                          "operations": [{"kind": "READ", "duration_ps": 1}]}],
          "analysis": {"crystalline": False}}, "needs analysis.crystalline"),
        ({"tuning": {"balance": "always"}}, "balance"),
        ({"operations": []}, "operations"),
        ({"operations": [{"kind": "RESETT"}]}, "RESETT"),
        ({"operations": [{"kind": "REPEAT", "times": 150, "operations": [{"kind": "READ", "duration_ps": 1}] * 2}]},
         "300 operations"),
        ({"operations": [{"kind": "SET", "temperature_K": 600, "duration_ps": 5, "until": 1}]}, "until_crystalline"),
    ],
)  # fmt: skip
def test_an_invalid_programme_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        plan(**changes)
    assert str(refused.value).startswith("programme.yaml") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("barrier", "message"),
    [
        ([{"kind": "anneal", "temperature_K": 600, "duration_ps": 0.0005}], "not a whole number of steps"),
        ([{"kind": "relax"}], "no stage has a temperature"),
    ],
)
def test_an_impossible_barrier_is_refused_before_submission(barrier: list[dict[str, Any]], message: str) -> None:
    cell = CrossPointSpec(repeat=(2, 2, 2), barrier_thickness_A=10.0)
    with pytest.raises(InputError, match=message):
        CycleMaker(plan=plan(cell=cell.model_dump(), barrier=barrier)).make("potential")


def test_a_seed_too_large_for_lammps_is_refused_in_one_line() -> None:
    cell = CrossPointSpec(repeat=(2, 2, 2), barrier_thickness_A=10.0)
    with pytest.raises(InputError, match=r"seed: .* 2147483647"):
        CycleMaker(plan=plan(cell=cell.model_dump()), seed=2**31).make("potential")


def test_an_unknown_programme_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'mushroom-small'"):
        load_programme("mushroom-smal")
    broken = tmp_path / "a.yaml"
    broken.write_text("operations: [")
    with pytest.raises(InputError, match="is not YAML"):
        load_programme(str(broken))
    broken.write_bytes(b"\x89\x00")
    with pytest.raises(InputError, match="is not text"):
        load_programme(str(broken))
    with pytest.raises(InputError, match="cannot be scaled"):
        scaled(plan(), 0.5)


@pytest.mark.parametrize("name", PROGRAMMES.names())
def test_a_shipped_programme_shows_its_operations_and_watches_gamma(name: str) -> None:
    plan = load_programme(name)
    plan.check_output()
    for one in (planned.operation for planned in plan.planned()):
        output = plan.output_of(one.output)
        assert output.gamma_every and output.dump_every % output.gamma_every == 0
        if isinstance(one, Reset):
            # 20 frames and 5 profiles at least: a kick every 1,000 steps
            steps = (one.pulse_ps + (one.cool_ps or 0)) * 500
            assert output.dump_every <= steps / 20 and output.profile_every == 1000


def test_damping_and_intervals_of_an_operation_reach_its_run() -> None:
    given = {"kind": "SET", "temperature_K": 600, "duration_ps": 5}
    plan = checked(CyclePlan, {"operations": [given, given | {"damping_ps": 1, "output": {"dump_every": 50}}]})
    first, second = (one.operation for one in plan.planned())
    assert [stage.damping_ps for one in (first, second) for stage in one.stages()] == [0.1, 1.0]
    assert plan.settings.run_options(first.output).output.dump_every == 500
    assert plan.settings.run_options(second.output).output == plan.output.model_copy(update={"dump_every": 50})
