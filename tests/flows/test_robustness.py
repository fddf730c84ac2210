"""Hot melts of several potentials: verdicts, the study and its intervals, kills and gates."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.documents import Potential, PotentialArtifacts, Study, Trajectory
from gst_jobflow.dynamics.dump import iter_frames
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.flows.robustness import MeltRunner, RobustnessMaker, all_melts, check_potentials
from gst_jobflow.store import Results
from gst_jobflow.structures.floors import contacts
from scripts._tiny_potential import make_tiny_potential
from tests.dynamics.conftest import engine

__all__ = ["engine"]
pytestmark = [pytest.mark.mongo, pytest.mark.lammps]

PLAN = RobustnessPlan(
    compositions=["SbTe", "Sb2Te3"], runs=2, n_atoms=30, density_g_cm3=2.0, min_distance_A=3.4, temperature_K=1000.0,
    duration_ps=2.0, look_every_ps=0.1, max_temperature_K=50_000.0, energy_window_eV=50.0,
)  # fmt: skip


def stored(results: Results, folder: Path, name: str, height_eV: float) -> str:
    folder.mkdir()
    files = make_tiny_potential(folder, height_eV)
    put = {kind: results.artifacts.put(Path(getattr(files, kind)), f"tiny.{kind}") for kind in ("yaml", "yace", "asi")}
    potential = Potential(
        _id=f"{name}0000000", name=name, elements=files.elements, n_densities=1, n_functions=4, cutoff_A=5.0,
        artifacts=PotentialArtifacts(**put),
    )  # fmt: skip
    results.add(potential)
    return potential.id


@pytest.fixture
def soft(results: Results, tmp_path: Path, engine: LammpsEngine) -> str:
    """Atoms pass through each other."""
    pytest.importorskip("pyace")
    return stored(results, tmp_path / "soft", "soft", 0.05)


@pytest.fixture
def hard(results: Results, tmp_path: Path, engine: LammpsEngine) -> str:
    pytest.importorskip("pyace")
    return stored(results, tmp_path / "hard", "hard", 6.0)


def test_a_soft_potential_fails_by_contacts_and_a_hard_one_survives(
    run: Callable[..., Any], results: Results, soft: str, hard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # two runs at a time
    monkeypatch.setenv("GST_CORES", "2")
    counted = run(RobustnessMaker(study_name="two", plan=PLAN).make([soft, hard]))["count"]
    study = results.get(Study, counted["study_id"])
    assert (study.kind, study.state, len(study.members)) == ("robustness", "finished", 2 + 8)
    rows = {(row["potential"], row["composition"]): row for row in study.table}
    assert set(rows) == {(name, c) for name in ("soft", "hard") for c in ("all", "SbTe", "Sb2Te3")}
    assert (rows["hard", "all"]["successes"], rows["hard", "all"]["runs"]) == (4, 4)
    assert rows["hard", "all"]["low"] == pytest.approx(0.5101, abs=1e-4)
    assert rows["soft", "all"]["outcomes"] == {"contact": 4} and rows["soft", "all"]["first_failure_ps"] < 2.0
    assert Path(counted["page"]).exists()


def test_the_verdict_is_what_the_frames_say(
    run: Callable[..., Any], results: Results, soft: str, tmp_path: Path
) -> None:
    run(RobustnessMaker(study_name="one", plan=PLAN.model_copy(update={"runs": 1, "duration_ps": 400.0})).make([soft]))
    trajectories = list(results.find(Trajectory, {}))
    assert len(trajectories) == 2
    for trajectory in trajectories:
        verdict = trajectory.analysis["robustness"]
        sound: dict[int, bool] = {}
        folder = tmp_path / trajectory.id
        folder.mkdir()
        for ref in trajectory.files:
            if ref.name.startswith("dump_"):
                for frame in iter_frames(results.artifacts.fetch(ref, folder)):
                    atoms = frame.to_atoms(["Sb", "Te"])
                    sound[frame.step] = contacts(atoms, PLAN.floors(atoms.get_chemical_symbols())).is_sound
        first = min(step for step, is_sound in sound.items() if not is_sound)
        assert verdict["outcome"] == "contact" and verdict["time_ps"] == pytest.approx(first * 2e-3)
        assert verdict["sound_step"] == max(step for step in sound if step < first)
        assert trajectory.n_steps < 200_000 and "Å at step" in trajectory.ended_by, "it was not run to its end"


def test_a_run_that_gets_too_hot_failed_at_the_step_that_lammps_tells(
    run: Callable[..., Any], results: Results, hard: str
) -> None:
    """The last row of the series is up to 50 steps older."""
    run(RobustnessMaker(study_name="hot", plan=PLAN.model_copy(update={"max_temperature_K": 1001.0})).make([hard]))
    verdicts = [trajectory.analysis["robustness"] for trajectory in results.find(Trajectory, {})]
    assert len(verdicts) == 4
    for verdict in verdicts:
        assert verdict["outcome"] == "temperature" and 0.0 < verdict["time_ps"] < 2.0
        assert verdict["reason"].endswith(" K") and float(verdict["reason"][:-2].replace(",", "")) > 1001


def test_both_potentials_share_starts_and_seeds(
    run: Callable[..., Any], results: Results, soft: str, hard: str
) -> None:
    run(RobustnessMaker(plan=PLAN.model_copy(update={"duration_ps": 0.2}), n_jobs=2).make([soft, hard]))
    shared: dict[tuple[str, int], set[tuple[str | None, int]]] = {}
    for each in results.find(Trajectory, {}):
        of_run = shared.setdefault((each.formula, each.analysis["robustness"]["index"]), set())
        of_run.add((each.start_structure_id, each.seed))
    assert len(shared) == 4 and all(len(of_both) == 1 for of_both in shared.values())


def test_a_potential_that_cannot_reach_the_gate_is_not_tested_further(
    run: Callable[..., Any], results: Results, soft: str
) -> None:
    outputs = run(RobustnessMaker(plan=PLAN, gate=1.0).make([soft]))
    assert outputs["robustness 1"] == {"contact": 1, "not run": 3}
    (study,) = results.find(Study, {})
    assert (study.table[0]["runs"], study.table[0]["planned"]) == (1, 4)


def test_a_job_that_was_cut_off_goes_on_with_what_is_missing(
    results: Results, soft: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"duration_ps": 0.4, "floors_A": {"Sb-Sb": 0.1, "Sb-Te": 0.1, "Te-Te": 0.1}})
    melts = all_melts(plan, [soft])

    def runner() -> MeltRunner:
        return MeltRunner(results, plan, None, "study", engine, tmp_path, None)

    # killed: two were stored, the third had begun
    assert runner().run(melts[:2])
    stored_first = {each.id: each.created_at for each in results.find(Trajectory, {})}
    (tmp_path / melts[2].name).mkdir()
    again = runner()
    assert again.run(melts) and again.outcomes == {"success": 4}
    after = {each.id: each.created_at for each in results.find(Trajectory, {})}
    assert len(after) == 4 and stored_first.items() <= after.items()


def test_a_stopped_run_is_left_to_the_continuation(
    results: Results, soft: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"duration_ps": 400.0, "floors_A": {"Sb-Sb": 0.1, "Sb-Te": 0.1, "Te-Te": 0.1}})
    melts = all_melts(plan, [soft])[:1]
    first = MeltRunner(results, plan, None, "study", engine, tmp_path, Deadline(time.time() + 6.0, 6.0))
    assert first.run(melts) is False and not list(results.find(Trajectory, {}))
    reached = [path.name for path in (tmp_path / melts[0].name).glob("segment_*")]
    assert reached == ["segment_000"]


def test_a_run_that_was_killed_is_no_verdict(results: Results, soft: str, engine: LammpsEngine, tmp_path: Path) -> None:
    program = tmp_path / "killed"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    killed = engine.model_copy(update={"command": [str(program)]})
    with pytest.raises(RunError, match="killed"):
        MeltRunner(results, PLAN, None, "study", killed, tmp_path, None).run(all_melts(PLAN, [soft]))
    assert not list(results.find(Trajectory, {}))


def test_a_potential_without_an_element_is_refused(results: Results, soft: str) -> None:
    with pytest.raises(InputError, match="has no Ge"):
        check_potentials(RobustnessPlan(), [results.get(Potential, soft)])
