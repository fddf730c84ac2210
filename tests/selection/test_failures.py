"""Frames before the failures of a robustness study: which are taken, their origin and gamma, job and command."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Potential, Structure, Study
from gst_jobflow.flows.robustness import RobustnessMaker
from gst_jobflow.flows.structures import FailureFramesMaker
from gst_jobflow.selection.choice import grade
from gst_jobflow.selection.failures import FailureFrames, failed_runs, failure_documents
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.structures.floors import contacts
from tests.cli.test_control import gst
from tests.dynamics.conftest import engine
from tests.flows.conftest import run
from tests.flows.test_robustness import PLAN, hard, soft

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

__all__ = ["engine", "hard", "run", "soft"]
SPACED = FailureFrames(number=3, spacing_ps=0.2)
DEAF = PLAN.model_copy(update={"duration_ps": 20.0, "floors_A": {"Sb-Sb": 1.2, "Sb-Te": 1.2, "Te-Te": 1.2}})


@given(st.lists(st.integers(1, 500), unique=True, max_size=30), st.integers(1, 5), st.floats(0.01, 1.0))
def test_frames_go_back_from_the_last_at_the_spacing(steps: list[int], number: int, spacing_ps: float) -> None:
    frames = [FoundStructure("", Atoms(), step=step) for step in sorted(steps)]
    chosen = [frame.step or 0 for frame in FailureFrames(number=number, spacing_ps=spacing_ps).of(frames, 2.0)]
    assert len(chosen) <= number and (not steps or chosen[-1] == max(steps))
    assert all((later - sooner) * 2e-3 >= spacing_ps - 1e-5 for sooner, later in pairwise(chosen))
    if chosen and len(chosen) < number:
        assert all((chosen[0] - step) * 2e-3 < spacing_ps for step in steps if step < chosen[0])


@pytest.fixture
def study_id(run: Callable[..., Any], soft: str, hard: str) -> str:
    """Four melts that collapse and four that survive, which take longer than all that is shown of them."""
    return run(RobustnessMaker(study_name="melts", plan=DEAF).make([soft, hard]))["count"]["study_id"]


@pytest.mark.mongo
@pytest.mark.lammps
def test_the_last_sound_frames_of_failed_runs_become_structures_by_command_and_by_job(
    project: Project, results: Results, run: Callable[..., Any], soft: str, study_id: str
) -> None:
    _the_command_stores_the_same_and_refuses_what_has_no_failures(project, results)
    failed = failed_runs(results, study_id)
    assert failed and {each.potential_id for each in failed} == {soft}
    maker = FailureFramesMaker(frames=SPACED, iteration=2, tags=["iter-2"], n_chunks=2)
    made = run(maker.make(study_id))["frames before failures"]
    assert sorted(made["structure_ids"]) == sorted(made["chunks"][0] + made["chunks"][1])
    stored = results.get_many(Structure, made["structure_ids"])
    later = [each for each in stored if each.source.get("builder") == "failure"]
    assert later and all("iter-2" in each.tags for each in stored)
    for each in later:
        (run_of,) = [one for one in failed if one.id == each.source["trajectory_id"]]
        verdict, atoms = run_of.analysis["robustness"], atoms_of(each, results.artifacts)
        assert (each.config_type, each.iteration, each.source["study_id"]) == ("failure", 2, study_id)
        assert each.source["step"] <= verdict["sound_step"] and each.source["failed_ps"] == verdict["time_ps"]
        assert each.source["time_ps"] < each.source["failed_ps"]
        assert contacts(atoms, DEAF.floors(atoms.get_chemical_symbols())).is_sound
        assert each.parents == [run_of.start_structure_id]
        (by_hand,) = grade(results, project.settings, results.get(Potential, soft), [FoundStructure("", atoms)])
        assert each.source["max_gamma"] == pytest.approx(by_hand.maximum, rel=1e-6)
    for one in failed:
        steps = sorted(each.source["step"] for each in later if each.source["trajectory_id"] == one.id)
        expected = [one.analysis["robustness"]["sound_step"] - 100 * k for k in range(3)]
        assert steps == sorted(step for step in expected if step > 0), "a frame is stored every 0.1 ps"
    _without_an_active_set_there_is_no_gamma(project, results, study_id, soft)


def _the_command_stores_the_same_and_refuses_what_has_no_failures(project: Project, results: Results) -> None:
    command = ("structures", "failures", "melts", "-N", "2", "--spacing-ps", "0.1", "--tag", "iter-1", "--json")
    stored = results.database["structures"]
    before = stored.count_documents({})
    dry = json.loads(gst(project, *command, "--dry-run"))
    assert dry["new"] == 0 and stored.count_documents({}) == before
    said = json.loads(gst(project, *command))
    assert said["new"] > 0 and stored.count_documents({"config_type": "failure"}) == said["new"]
    assert json.loads(gst(project, *command))["new"] == 0
    with pytest.raises(InputError, match="no failed run"):
        gst(project, "structures", "failures", "melts", "--potential", "hard")
    with pytest.raises(InputError, match="taken up to 8"):
        gst(project, "structures", "failures", "melts", "--max-atoms", "8")
    results.add(Study(id="other", name="other", kind="ensemble", plan={}))
    with pytest.raises(InputError, match="kind ensemble"):
        gst(project, "structures", "failures", "other")
    stored.delete_many({"config_type": "failure"})


def _without_an_active_set_there_is_no_gamma(project: Project, results: Results, study_id: str, soft: str) -> None:
    files = {"artifacts.asi": None}
    results.database["potentials"].update_one({"_id": soft}, {"$set": files})
    made = failure_documents(results, project.settings, failed_runs(results, study_id), SPACED, [])
    gammas = {each.source["max_gamma"] for each in made if each.source["builder"] == "failure"}
    assert gammas == {None}
