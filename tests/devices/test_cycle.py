"""Cycles of device cells: run with a tiny potential, gone on from, refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.analysis.series import series_of
from gst_jobflow.base.energy import EV_PER_PJ
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.devices.submit import prepare_cycle
from gst_jobflow.documents import Cycle, Potential, Structure, Trajectory
from gst_jobflow.dynamics.dump import iter_frames
from gst_jobflow.dynamics.series import read_series
from gst_jobflow.flows.estimate import estimate
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.store.lookup import located_runs
from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401
from tests.dynamics.test_maker import stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

    Run = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.mongo, pytest.mark.lammps, pytest.mark.pacemaker]

# the potential is soft: its melt has atoms on top of each other
CELL = {"kind": "cross-point", "formula": "Sb2Te3", "repeat": [3, 2, 1], "barrier_thickness_A": 10.0,
        "min_contact_A": 0.001}  # fmt: skip
BARRIER = [{"kind": "relax"}, {"kind": "anneal", "temperature_K": 300, "duration_ps": 0.04}]
RESET = {"kind": "RESET", "energy_eV_per_atom": 0.05, "pulse_ps": 0.2, "every_ps": 0.1, "cool_ps": 0.2,
         "cool_every_ps": 0.1}  # fmt: skip
HOLD = {"kind": "HOLD", "duration_ps": 0.1, "relax": True}
READ = {"kind": "READ", "duration_ps": 0.1}
OUTPUT = {"series_every": 5, "profile_every": 20, "profile_bin_A": 3, "dump_every": 25, "restart_every": 25}


def plan(*operations: dict[str, Any], **changes: Any) -> CyclePlan:
    given = {"name": "test", "cell": CELL, "barrier": BARRIER, "operations": list(operations), "output": OUTPUT}
    return checked(CyclePlan, given | changes)


@pytest.fixture
def potential(results: Results, engine: object, tiny_potential: Any) -> str:  # noqa: F811
    return stored(results, tiny_potential)


@pytest.fixture
def cycle(project: Project, results: Results, potential: str, run: Run) -> Cycle:
    """A cycle whose REPEAT is over after its first round."""
    again = {"kind": "REPEAT", "times": 2, "energy_factor": 1.5, "until": {"crystalline_below": 1.0},
             "operations": [RESET, READ]}  # fmt: skip
    maker = CycleMaker(name="test", plan=plan(HOLD, again, {"kind": "SET", "temperature_K": 400, "duration_ps": 0.1}))
    run(prepare_cycle(project, results, maker, "cross-point", potential).flow)
    (found,) = results.find(Cycle, {})
    return found


def test_a_cycle_runs_skips_unneeded_operations_and_can_be_continued(
    project: Project, results: Results, cycle: Cycle, run: Run
) -> None:
    assert [(one.kind, one.state) for one in cycle.operations] == [
        ("HOLD", "finished"), ("RESET", "finished"), ("READ", "finished"), ("RESET", "skipped"), ("READ", "skipped"),
        ("SET", "finished"),
    ]  # fmt: skip
    assert cycle.state == "finished"
    assert "after operation 3" in cycle.operations[3].ended_by
    reset = cycle.operations[1]
    assert reset.energy_eV_per_atom == pytest.approx(0.05)
    assert reset.heated_atoms == cycle.groups["mobile"][1]
    assert reset.added_energy_eV == pytest.approx(reset.asked_energy_eV, rel=1e-6)
    assert reset.added_energy_pJ == pytest.approx(reset.added_energy_eV / EV_PER_PJ)
    assert reset.asked_energy_pJ == pytest.approx(reset.asked_energy_eV / EV_PER_PJ)
    assert reset.added_energy_eV_per_atom == pytest.approx(reset.energy_eV_per_atom, rel=1e-6)
    assert reset.added_energy is not None and reset.added_energy.pJ == reset.added_energy_pJ
    assert cycle.operations[3].energy_eV_per_atom == pytest.approx(0.075)
    run_of = results.get(Trajectory, str(reset.trajectory_id))
    # 0.2 ps of pulse and 0.2 ps of cooling, a frame every 25 steps: the last one is of the end
    final = atoms_of(results.get(Structure, str(run_of.final_structure_id)), results.artifacts)
    mobile = np.arange(cycle.groups["mobile"][1])
    assert reset.crystalline_fraction == crystallinity(final, mobile).fraction
    assert run_of.analysis["crystalline"]["time_ps"][-1] == pytest.approx(0.4)
    assert reset.end_equilibrated_K != pytest.approx(300, abs=0.1) and reset.final_temperature_K == pytest.approx(300)
    assert reset.max_equilibrated_K is not None and reset.max_equilibrated_K < reset.max_temperature_K
    assert run_of.max_drift_A_ps is not None and run_of.max_drift_A_ps < 1e-6
    layers = run_of.analysis["layers"]
    assert sum(layers["added_eV"]) == pytest.approx(reset.added_energy_eV, rel=1e-6)
    assert sum(layers["removed_eV"]) == pytest.approx(run_of.removed_energy_eV, rel=1e-6)
    assert run_of.analysis["heating"]["peak_K"] > 300
    set_run = results.get(Trajectory, str(cycle.operations[5].trajectory_id))
    read_run = results.get(Trajectory, str(cycle.operations[2].trajectory_id))
    assert set_run.start_structure_id == read_run.final_structure_id, "what was skipped left no state"
    _goes_on(project, results, cycle, run)


def _goes_on(project: Project, results: Results, cycle: Cycle, run: Run) -> None:
    two = CycleMaker(name="branch", plan=plan(RESET, cell=None), replicas=2)
    flow = prepare_cycle(project, results, two, "cross-point", None, f"{cycle.id}:2").flow
    n_atoms, steps = cycle.n_atoms, round(cycle.operations[1].duration_ps * 500)
    expected = [(f"1 RESET of replica {number}", f"{n_atoms:,} atoms × {steps:,} steps") for number in (1, 2)]
    assert [(cost.name, cost.work) for cost in estimate(flow, project)] == expected
    run(flow)
    branches = list(results.find(Cycle, {"parent_trajectory_id": cycle.operations[1].trajectory_id}))
    assert sorted(branch.replica or 0 for branch in branches) == [0, 1]
    runs = [results.get(Trajectory, str(branch.operations[0].trajectory_id)) for branch in branches]
    assert runs[0].start_structure_id == runs[1].start_structure_id == branches[0].structure_id
    assert runs[0].final_structure_id != runs[1].final_structure_id, "replicas differ"
    assert {branch.seed for branch in branches} == {1, 10_001}
    # the new branch can be gone on from like any cycle
    assert located_runs(results, branches[0].id)[-1].id == branches[0].operations[0].trajectory_id
    _refusals(project, results, cycle)


def _refusals(project: Project, results: Results, cycle: Cycle) -> None:
    results.add(results.get(Potential, "tiny").model_copy(update={"id": "other"}))

    def refused(message: str, programme: CyclePlan, device: str = "cross-point", **given: Any) -> None:
        maker = CycleMaker(plan=programme)
        potential, state = given.get("potential"), given.get("state", cycle.id)
        with pytest.raises(InputError, match=message):
            prepare_cycle(project, results, maker, device, potential, state)

    refused("no trajectory or cycle 'nothing'", plan(RESET, cell=None), state="nothing")
    refused("they count from 1 to 6", plan(RESET, cell=None), state=f"{cycle.id}:7")
    refused(r"operation 4 \(RESET\) .* has not run", plan(RESET, cell=None), state=f"{cycle.id}:4")
    refused("with potential tiny, not other", plan(RESET, cell=None), potential="other")
    refused(r"has another cell: repeat \[3, 2, 1\], not \[4, 2, 1\]", plan(RESET, cell=CELL | {"repeat": [4, 2, 1]}))
    refused("belongs to a cross-point cell", plan(RESET, cell=None), device="mushroom")
    dome = RESET | {"profile": "dome", "diameter_A": 60}
    refused("reaches out of the cell", plan(dome, cell=None))
    runs = results.database["trajectories"]
    of_barrier = runs.find_one({"protocol": "melt_quench"})["_id"]
    refused("has no device cell", plan(RESET, cell=None), state=of_barrier)
    assert results.database["cycles"].count_documents({}) == 3, "nothing was planned"


def test_a_cycle_that_cannot_run_is_refused_before_submission(
    project: Project, results: Results, potential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(message: str, programme: CyclePlan, potential_id: str | None = potential) -> None:
        with pytest.raises(InputError, match=message):
            prepare_cycle(project, results, CycleMaker(plan=programme), "cross-point", potential_id)

    refused("no potential given", plan(RESET), None)
    refused("has no cell", plan(RESET, cell=None))
    # what cannot show an operation: a frame every 0.4 ps of a pulse of 0.2 ps
    refused("its pulse has 100 steps, and dump_every is 200", plan(RESET, output=OUTPUT | {"dump_every": 200}))
    fast = {key: value for key, value in RESET.items() if key != "cool_ps"} | {"cool_rate_K_ps": 10_000}
    # 0.05 eV an atom are 193 K: 0.0193 ps at this rate
    refused("its cooling has 10 steps, and profile_every is 20", plan(fast, output=OUTPUT | {"dump_every": 5}))
    refused("its whole has 50 steps, and series_every", plan(READ | {"output": {"series_every": 60}}))
    refused("set dump_every to 20", plan(RESET, output=OUTPUT | {"gamma_every": 10}))
    refused("has no Ge", plan(RESET, cell=CELL | {"formula": "Ge1Sb2Te4"}))
    refused("less than two cutoffs of 5 Å", plan(RESET, cell=CELL | {"repeat": [1, 2, 1]}))
    refused("does not fit into a cell", plan(RESET, cell=CELL | {"barrier_thickness_A": 100}))
    refused("has a mushroom cell", plan(RESET, cell={"kind": "mushroom", "repeat": [8, 3, 8],
                                                      "barrier_thickness_A": 10, "formula": "Sb2Te3"}))  # fmt: skip
    pJ = {key: value for key, value in RESET.items() if key != "energy_eV_per_atom"} | {"energy_pJ": 1.0}
    refused("eV per heated atom, which means", plan(pJ))
    without = results.get(Potential, potential)
    bare = without.artifacts.model_copy(update={"asi": None})
    results.add(without.model_copy(update={"id": "bare", "artifacts": bare}))
    refused("has no active set", plan(RESET, output=OUTPUT | {"gamma_every": 25}), "bare")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5))
    refused("cycle 'test' will write about", plan(RESET))


def test_a_budget_ends_a_cycle_in_order_and_gamma_is_watched(
    project: Project, results: Results, potential: str, run: Run
) -> None:
    programme = plan(HOLD, RESET, READ, stop={"steps": 60}, output=OUTPUT | {"gamma_every": 25})
    run(prepare_cycle(project, results, CycleMaker(plan=programme), "cross-point", potential).flow)
    (cycle,) = results.find(Cycle, {})
    # 50 steps of HOLD are within the budget, the RESET passes it
    assert [one.state for one in cycle.operations] == ["finished", "finished", "skipped"]
    assert cycle.operations[2].ended_by == "budget of 60 steps spent" and cycle.state == "finished"
    _gamma_is_of_mobile_atoms(results, cycle)


def _gamma_is_of_mobile_atoms(results: Results, cycle: Cycle) -> None:
    """The frames and the series say the same of the mobile atoms, and the last frame is graded at its own step."""
    run_of = results.get(Trajectory, str(cycle.operations[1].trajectory_id))
    folder = Path(run_of.segments[0].directory)
    n_mobile = cycle.groups["mobile"][1]
    largest = {}
    for path in sorted(folder.glob("dump_*.gz")):
        for frame in iter_frames(path):
            largest[frame.step] = frame.extra["f_gst_gamma"][:n_mobile].max()
    series = read_series(folder / "series.csv")
    graded = {int(step): gamma for step, gamma in zip(series["step"], series["max_gamma"], strict=True) if gamma > 0}
    assert set(graded) == {0, 25, 50, 75, 100, 125, 150, 175, 200} == set(largest)
    for step, gamma in graded.items():
        assert gamma == pytest.approx(largest[step], abs=1e-4)
    assert run_of.max_gamma == cycle.operations[1].max_gamma == pytest.approx(max(largest.values()), abs=1e-4)


def test_a_set_ends_once_enough_atoms_are_crystal_like(
    project: Project, results: Results, potential: str, run: Run
) -> None:
    # it would never end by itself
    crystallise = {"kind": "SET", "temperature_K": 300, "duration_ps": 1e5, "until_crystalline": 0.01}
    programme = plan(HOLD, crystallise, cell=CELL | {"repeat": [4, 3, 1]})
    run(prepare_cycle(project, results, CycleMaker(plan=programme), "cross-point", potential).flow)
    (cycle,) = results.find(Cycle, {})
    assert cycle.operations[1].state == "finished"
    assert "crystal-like fraction" in cycle.operations[1].ended_by
    run_of = results.get(Trajectory, str(cycle.operations[1].trajectory_id))
    assert run_of.ended_by == cycle.operations[1].ended_by and run_of.duration_ps < 1e4
    assert cycle.operations[1].duration_ps == run_of.duration_ps


@pytest.mark.slow
def test_a_larger_dome_of_a_mushroom_cell_is_heated_higher_up(
    project: Project, results: Results, potential: str, run: Run
) -> None:
    cell = {"kind": "mushroom", "formula": "Sb2Te3", "repeat": [8, 2, 7], "barrier_thickness_A": 10.0,
            "min_contact_A": 0.001}  # fmt: skip
    dome = RESET | {"profile": "dome", "cool": "uniform"}
    programme = plan(HOLD, dome | {"diameter_A": 24}, dome | {"diameter_A": 44}, cell=cell)
    run(prepare_cycle(project, results, CycleMaker(plan=programme), "mushroom", potential).flow)
    (cycle,) = results.find(Cycle, {})
    assert cycle.device == "mushroom" and cycle.state == "finished"
    heights_A, counts = [], []
    for operation in cycle.operations[1:]:
        layers = results.get(Trajectory, str(operation.trajectory_id)).analysis["layers"]
        slice_A = layers["height_A"] / len(layers["added_eV"])
        # taking the drift out moves some meV between the other slices
        hot = [number for number, added in enumerate(layers["added_eV"]) if added > 0.05]
        assert sum(layers["added_eV"]) == pytest.approx(0.05 * operation.heated_atoms, rel=1e-3)
        heights_A.append(layers["low_A"] + slice_A * (hot[-1] + 1))
        counts.append(operation.heated_atoms)
    # half a disc: (44/24)^2 times the atoms, and nothing above its radius
    assert 2.5 * counts[0] < counts[1] < 4.5 * counts[0]
    assert heights_A == [pytest.approx(12, abs=6), pytest.approx(22, abs=6)]
    assert heights_A[0] < heights_A[1]


def test_hooks_analyse_each_operation_beside_the_next_one(
    project: Project, results: Results, potential: str, run: Run
) -> None:
    pytest.importorskip("ovito")
    asked = plan(HOLD, READ, analyse=["tellurium", "grains", "growth", "density"])
    maker = CycleMaker(name="test", plan=checked(CyclePlan, {**asked.model_dump(), "analyse": {
        **asked.analyse.model_dump(), "min_grain": 5}}))  # fmt: skip
    prepared = prepare_cycle(project, results, maker, "cross-point", potential)
    assert "2 operations with their analyses" in prepared.what
    told = run(prepared.flow)
    (cycle,) = results.find(Cycle, {})
    for number, operation in enumerate(cycle.operations, 1):
        trajectory = results.get(Trajectory, operation.trajectory_id)
        assert told[f"analyse {number} {operation.kind}"]["problems"] == 0
        series = {each.name: each for each in series_of(trajectory)}
        assert set(series) == {"tellurium", "grains", "growth", "density"}
        # the state that it ended in has the fraction that the run itself found
        assert max(series["tellurium"].rows) == trajectory.n_steps
        last = series["tellurium"].rows[trajectory.n_steps]
        assert last["crystalline_fraction"] == pytest.approx(operation.crystalline_fraction, abs=1e-3)
        assert series["tellurium"].described["parameters"]["mobile"] == cycle.groups["mobile"]


def test_hooks_that_cannot_be_are_refused_before_anything_runs() -> None:
    for what, message in (
        (["gamma"], "needs output.gamma_every"),
        (["temperature"], "needs output.dump_velocities"),
        (["k-baar"], "no analysis 'k-baar'"),
    ):
        with pytest.raises(InputError, match=message):
            plan(HOLD, analyse=what)
