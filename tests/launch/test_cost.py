"""What documents cost: each attempt once, failed ones apart, with energy and money where they are known."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow, job

from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.settings import CostSettings, Project
from gst_jobflow.documents import Attempt, Dataset, Potential, Study, now
from gst_jobflow.launch.cost import cost_of
from gst_jobflow.launch.spent import Spent, spent_by_job
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from tests.launch.test_launching import _tests_can_be_imported, run_all
from tests.report import synthetic

__all__ = ["_tests_can_be_imported"]
pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]


@job
def make(name: str, after: Any = None) -> str:
    return name


@job
def end_study(study_id: str, after: Any = None) -> dict[str, str]:
    return {"study_id": study_id}


@job
def fail_in_study(after: Any = None) -> None:
    raise RunError("LAMMPS failed", "look at the log", "crash")


def attempt(job_uuid: str, hours: float, cores: int | None, state: str = "finished", **more: Any) -> Attempt:
    start = now() - timedelta(hours=100)
    values = {
        "id": f"{job_uuid}-{state}-{more.get('number', 1)}", "job_uuid": job_uuid, "job_name": job_uuid, "number": 1,
        "state": state, "host": "a", "pid": 1, "process_started": 0.0, "directory": "/tmp", "cores": cores,
        "started_at": start, "ended_at": start + timedelta(hours=hours),
    }  # fmt: skip
    return Attempt(**{**values, **more})


def sum_of(results: Results, jobs: list[str]) -> float:
    """Core hours of jobs, from their attempts as they are stored."""
    found = results.database["attempts"].find({"job_uuid": {"$in": jobs}})
    return sum((each["ended_at"] - each["started_at"]).total_seconds() / 3600 * each["cores"] for each in found)


@pytest.fixture
def paper(project: Project) -> Results:
    """A synthetic study whose documents are given jobs and attempts: labels in two jobs, one of which failed first."""
    results = Results.open(project)
    synthetic.add_study(results)
    database = results.database
    database["attempts"].delete_many({})
    labels = [each["_id"] for each in database["labels"].find({}, {"_id": 1}).sort("_id", 1)]
    for place, id in enumerate(labels):
        database["labels"].update_one({"_id": id}, {"$set": {"job_uuid": f"label-{place % 2}"}})
    database["potentials"].update_many({}, {"$set": {"job_uuid": "fit"}})
    for place, run in enumerate(database["trajectories"].find({}, {"_id": 1}).sort("_id", 1)):
        database["trajectories"].update_one({"_id": run["_id"]}, {"$set": {"job_uuid": f"run-{place}"}})
    runs = database["trajectories"].distinct("job_uuid")
    for made in (attempt("label-0", 2.0, 4), attempt("label-1", 1.0, 4, "failed"), attempt("fit", 3.0, 8)):
        results.add(made)
    results.add(attempt("label-1", 2.5, 4, number=2))
    for uuid in runs:
        results.add(attempt(uuid, 0.5, 16))
    return results


def test_a_cycle_costs_what_the_attempts_of_all_it_rests_on_say(paper: Results) -> None:
    tree = cost_of(paper, synthetic.CYCLE_ID)
    runs = paper.database["trajectories"].distinct("job_uuid", {"cycle_id": synthetic.CYCLE_ID})
    nodes = {node.collection: node for _, node in tree.walk()}
    assert set(nodes["labels"].jobs) == {"label-0", "label-1"} and nodes["potentials"].jobs == ["fit"]
    assert nodes["labels"].spent.core_hours == pytest.approx(8 + 4 + 10)
    assert nodes["labels"].spent.failed_core_hours == pytest.approx(4) and nodes["labels"].spent.failed_attempts == 1
    jobs = [uuid for _, node in tree.walk() for uuid in node.jobs]
    assert len(jobs) == len(set(jobs)), "no job counts twice"
    assert set(runs) <= set(jobs)
    assert tree.total.core_hours == pytest.approx(sum_of(paper, jobs))
    assert cost_of(paper, synthetic.POTENTIAL_ID).total.core_hours == pytest.approx(22 + 24)


def test_a_study_counts_potential_and_cycle_once(paper: Results) -> None:
    tree = cost_of(paper, synthetic.STUDY_ID)
    every = paper.database["attempts"].distinct("job_uuid")
    assert tree.total.core_hours == pytest.approx(sum_of(paper, every))
    assert tree.n_jobs == len(every)


def test_what_has_no_attempt_is_told(paper: Results) -> None:
    paper.database["labels"].update_many({"job_uuid": "label-0"}, {"$set": {"job_uuid": ""}})
    tree = cost_of(paper, synthetic.POTENTIAL_ID)
    (labels,) = [node for _, node in tree.walk() if node.collection == "labels"]
    members = paper.get(Dataset, "synthetic-dataset").n_members
    assert 0 < labels.without_attempt < members and labels.jobs == ["label-1"]
    assert tree.total.core_hours == pytest.approx(4 + 10 + 24)


def test_jobs_of_a_workflow_belong_to_what_needed_them_and_failures_are_told_apart(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # workers share all cores
    monkeypatch.delenv("GST_CORES")
    results = Results.open(project)
    first = make("prepare")
    second = fail_in_study(first.output)
    third = end_study("s" * 32, first.output)
    ids = submit(Flow([first, second, third]), project)
    run_all(project)
    results.add(Study(id="s" * 32, name="small", kind="scaling", plan={}, workflow_ids=sorted(ids.values())))
    tree = cost_of(results, "small")
    assert set(tree.jobs) == {first.uuid, second.uuid, third.uuid} and tree.parts == []
    assert tree.spent.attempts == 3 and tree.spent.failed_attempts == 1
    attempts = list(results.find(Attempt, {}))
    assert all(each.cores and each.cores <= len(os.sched_getaffinity(0)) for each in attempts)
    assert tree.total.core_hours == pytest.approx(sum_of(results, tree.jobs), rel=1e-9)
    (lone,) = [each for each in attempts if each.state == "failed"]
    assert cost_of(results, lone.id).total.attempts == 1
    with pytest.raises(InputError):
        cost_of(results, "nothing of this name")


def test_attempts_without_cores_take_those_of_what_their_job_made(paper: Results) -> None:
    paper.database["attempts"].update_many({}, {"$set": {"cores": None}})
    spent = spent_by_job(paper.database, ["fit", "label-0"])
    fit = next(paper.find(Potential, {"job_uuid": "fit"}))
    assert fit.cost is not None and spent["fit"].core_hours == pytest.approx(3.0 * fit.cost.cores)
    assert spent["label-0"].core_hours == 0.0 and spent["label-0"].hours_of_unknown_cores == pytest.approx(2.0)


def test_a_lost_attempt_ends_with_the_last_sign_of_its_launch(project: Project) -> None:
    results = Results.open(project)
    lost = attempt("gone", 90.0, 2, "lost", fw_id=7)
    results.add(lost)
    times = {"created_on": lost.started_at, "updated_on": lost.started_at + timedelta(hours=1.5)}
    later = {"state": "FIZZLED", "created_on": lost.ended_at}
    history = [{"state": "RUNNING", **{key: time.isoformat() for key, time in times.items()}}, later]
    results.database["launches"].insert_one({"launch_id": 1, "fw_id": 7, "state_history": history})
    assert spent_by_job(results.database, ["gone"])["gone"].failed_core_hours == pytest.approx(3.0)


SACCT = """#!/bin/sh
echo '11|7200000'
echo '11.batch|100'
echo '12|0'
echo '12.batch|99'
echo '12.0|3600000'
echo '12.1|1800000'
echo '13|'
"""


def test_energy_is_slurms_where_it_measured_and_the_nodes_power_elsewhere(
    paper: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    sacct = tmp_path / "bin" / "sacct"
    sacct.write_text(SACCT)
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    database = paper.database
    database["attempts"].update_many({"job_uuid": "label-0"}, {"$set": {"slurm_job_id": "11"}})
    database["attempts"].update_many({"job_uuid": "label-1"}, {"$set": {"slurm_job_id": "12"}})
    database["attempts"].update_many({"job_uuid": "fit"}, {"$set": {"slurm_job_id": "13"}})
    spent = spent_by_job(database, ["label-0", "label-1", "fit"])
    assert spent["label-0"].slurm_kWh == pytest.approx(2.0) and spent["label-1"].slurm_kWh == pytest.approx(1.5)
    assert spent["fit"].slurm_kWh == 0.0
    node = CostSettings(node_power_W=500, node_cores=100)
    total = sum(spent.values(), Spent())
    assert total.kWh(node) == pytest.approx(2.0 + 1.5 + 24 * 5 / 1000)
    assert "SLURM" in total.kWh_source(node) and "500 W" in total.kWh_source(node)
    assert total.kWh(CostSettings()) is None and "node_power_W" in total.kWh_source(CostSettings())
    measured = spent["label-0"] + spent["label-1"]
    assert measured.kWh(CostSettings()) == pytest.approx(3.5) and "W for" not in measured.kWh_source(node)
