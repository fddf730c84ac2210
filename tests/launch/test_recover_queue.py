"""What recovery concludes from SLURM's answers, without a SLURM."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fireworks import FWAction, FWorker
from jobflow import Flow
from pymongo.errors import AutoReconnect

from gst_jobflow.base.errors import RunError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch import slurm
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.slurm import QueueJob
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results, manifest
from gst_jobflow.store.connect import connect, launchpad
from tests.launch.test_launching import add

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]
LONG_AGO = timedelta(hours=2)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> dict[str, QueueJob]:
    """What SLURM says; fill it."""
    jobs: dict[str, QueueJob] = {}
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "my_jobs", lambda: jobs)
    monkeypatch.setattr(slurm, "ended", lambda ids: {})
    return jobs


def running(project: Project, began: datetime | None = None, **more: Any) -> int:
    """A firework that runs as SLURM job 7 on another host."""
    fw_id = reserved(project, "7")
    database = connect(project)
    database["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"state": "RUNNING"}})
    database["launches"].update_one({"fw_id": fw_id}, {"$set": {"state": "RUNNING"}})
    values = {
        "state": "running",
        "host": "node1",
        "pid": 1,
        "slurm_job_id": "7",
        "directory": str(project.root),
        **more,
    }
    Results.open(project).add(
        Attempt(
            _id=f"a{fw_id}", job_uuid="u", job_name="add", fw_id=fw_id, number=1,
            process_started=0.0, started_at=began or now(), **values,
        )
    )  # fmt: skip
    return fw_id


def reserved(project: Project, job_id: str | None) -> int:
    """A firework that waits for a SLURM job."""
    from fireworks import FWorker

    pad = launchpad(project)
    (fw_id,) = submit(add(1, 1), project).values()
    _, launch_id = pad.reserve_fw(FWorker("slurm"), str(project.root), fw_id=fw_id)
    if job_id is not None:
        pad.set_reservation_id(launch_id, job_id)
    return fw_id


def the_attempt(project: Project) -> Attempt:
    (attempt,) = Results.open(project).find(Attempt, {})
    return attempt


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_silent_run_in_a_live_slurm_job_is_left_alone(project: Project, queue, state: str) -> None:
    began = now() - LONG_AGO
    running(project, began)
    queue["7"] = QueueJob("7", state, starts=began)
    assert recover(project) == []


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("CANCELLED", "cancelled", "it was cancelled"),
        ("TIMEOUT", "walltime", "time limit"),
        ("NODE_FAIL", "node", "its node failed (n7)"),
        (None, "killed", "gone from the queue"),
    ],
)
def test_attempt_records_how_slurm_ended_it(project: Project, queue, state, kind, words) -> None:
    running(project)
    if state is not None:
        queue["7"] = QueueJob("7", state, nodes="n7")
    (item,) = recover(project, dry_run=True)
    assert words in item.reason and the_attempt(project).state == "running", "a dry run changes nothing"
    assert [found.reason for found in recover(project)] == [item.reason]
    attempt = the_attempt(project)
    assert (attempt.state, attempt.failure_class) == ("lost", kind) and words in attempt.reason
    assert status(connect(project))["counts"] == {"READY": 1}
    assert recover(project) == []


def test_out_of_memory_job_gets_twice_the_memory(project: Project, queue) -> None:
    fw_id = running(project)
    database = connect(project)
    database["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"spec._queueadapter": {"mem": "32G", "nodes": 1}}})
    queue["7"] = QueueJob("7", "OUT_OF_MEMORY", nodes="n7")
    (item,) = recover(project)
    assert item.again and "needed more memory" in item.reason and item.reason.endswith("with 64G")
    spec = database["fireworks"].find_one({"fw_id": fw_id})["spec"]
    assert spec["_queueadapter"] == {"mem": "64G", "nodes": 1}


def test_out_of_memory_without_a_request_is_given_up(project: Project, queue) -> None:
    running(project)
    queue["7"] = QueueJob("7", "OUT_OF_MEMORY")
    (item,) = recover(project)
    assert not item.again
    (failure,) = status(connect(project))["failures"]
    assert failure["class"] == "out_of_memory" and "memory_GB" in failure["fix"]


@pytest.mark.parametrize("job", [QueueJob("7", "PENDING"), QueueJob("7", "RUNNING", starts=now() + timedelta(days=1))])
def test_requeued_slurm_job_has_lost_its_run(project: Project, queue, job: QueueJob) -> None:
    running(project)
    queue["7"] = job
    (item,) = recover(project)
    assert "requeued" in item.reason and the_attempt(project).failure_class == "node"


def test_no_job_is_lost_while_slurm_does_not_answer(project: Project, queue, monkeypatch) -> None:
    def refuse() -> None:
        raise RunError("squeue ended with code 1: Unable to contact slurm controller", failure_class="queue")

    monkeypatch.setattr(slurm, "my_jobs", refuse)
    running(project, now() - LONG_AGO)
    reserved(project, "8")
    assert recover(project) == []


def test_launch_folder_on_another_machine_is_left_alone(project: Project, queue) -> None:
    running(project, directory="/not/here")
    assert recover(project) == []


def test_waiting_reservation_is_kept(project: Project, queue) -> None:
    reserved(project, "8")
    queue["8"] = QueueJob("8", "PENDING")
    assert recover(project) == []


def test_reservation_without_slurm_job_is_undone_later(project: Project, queue) -> None:
    reserved(project, None)
    assert recover(project) == [], "its launcher may be about to submit"
    database = connect(project)
    long_ago = (now() - LONG_AGO).isoformat()
    entry = {"state_history.0.created_on": long_ago, "state_history.0.updated_on": long_ago}
    database["launches"].update_one({}, {"$set": entry})
    queue["9"] = QueueJob("9", "PENDING", directory=str(project.root))
    assert recover(project) == [], "sbatch took it, and the note was lost"
    del queue["9"]
    (item,) = recover(project)
    assert "launcher that was killed" in item.reason
    assert status(database)["counts"] == {"READY": 1}


@pytest.mark.parametrize(
    ("folder", "job_folder", "kept"),
    [
        ("launcher_a", "launcher_a", True),
        ("launcher_a", ".", False),
        ("launcher_a/2", "launcher_a", True),
        ("launcher_a/2", ".", False),
        ("launcher_a/2", "launcher_b", False),
        ("2", ".", False),
    ],
)
def test_reservation_is_kept_by_a_live_job_in_its_folder_or_that_of_its_pack(
    project: Project, queue, folder: str, job_folder: str, kept: bool
) -> None:
    reserved(project, None)
    (project.runs_dir / folder).mkdir(parents=True)
    long_ago = (now() - LONG_AGO).isoformat()
    entry = {"state_history.0.created_on": long_ago, "state_history.0.updated_on": long_ago}
    connect(project)["launches"].update_one({}, {"$set": {"launch_dir": str(project.runs_dir / folder), **entry}})
    queue["9"] = QueueJob("9", "RUNNING", directory=str(project.runs_dir / job_folder))
    assert bool(recover(project)) is not kept


def test_firework_reserved_without_a_launch_becomes_ready(project: Project, queue) -> None:
    submit(add(1, 1), project)
    fireworks = connect(project)["fireworks"]
    fireworks.update_one({}, {"$set": {"state": "RESERVED", "updated_on": now()}})
    assert recover(project) == [], "its launch may be about to be written"
    fireworks.update_one({}, {"$set": {"updated_on": now() - LONG_AGO}})
    assert [item.reason for item in recover(project)] == ["it is reserved without a launch"]
    assert status(connect(project))["counts"] == {"READY": 1}


def test_run_finished_without_database_is_recorded_by_a_rerun(project: Project, queue) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    connect(project)["fireworks"].update_one({}, {"$set": {"state": "FIZZLED"}})
    attempt = the_attempt_before(fw_id, 0)
    Results.open(project).add(attempt.model_copy(update={"state": "finished", "failure_class": ""}))
    assert ["finished" in item.reason for item in recover(project)] == [True]


def test_job_lost_too_often_is_given_up(project: Project, queue) -> None:
    fw_id = running(project)
    results = Results.open(project)
    for number in range(project.settings.queue.max_losses - 1):
        results.add(the_attempt_before(fw_id, number))
    (item,) = recover(project)
    assert not item.again and "given up" in item.reason
    (failure,) = status(connect(project))["failures"]
    assert "gst recover --failed" in failure["fix"]
    assert recover(project) == []
    assert [found.again for found in recover(project, failed=True)] == [True]


def the_attempt_before(fw_id: int, number: int) -> Attempt:
    return Attempt(
        _id=f"before{number}", job_uuid="u", job_name="add", fw_id=fw_id, number=number + 1, state="lost", host="node1",
        pid=1, process_started=0.0, directory="/", started_at=now() - LONG_AGO, failure_class="node",
    )  # fmt: skip


@pytest.mark.parametrize("passing", ["walltime", "database", "killed"])
def test_failures_with_passing_causes_run_again(project: Project, queue, passing: str) -> None:
    ids = submit(Flow([add(1, 1), add(2, 2)]), project)
    stopped, bad = ids.values()
    connect(project)["fireworks"].update_many({}, {"$set": {"state": "FIZZLED"}})
    results = Results.open(project)
    for fw_id, kind in ((stopped, passing), (bad, "lost_atoms")):
        attempt = the_attempt_before(fw_id, fw_id)
        results.add(attempt.model_copy(update={"state": "failed", "failure_class": kind}))
    assert [item.fw_id for item in recover(project)] == [stopped]


def failed_by(results: Results, fw_id: int, kind: str, times: int) -> None:
    for number in range(times):
        attempt = the_attempt_before(fw_id, 100 * fw_id + number)
        results.add(attempt.model_copy(update={"state": "failed", "failure_class": kind}))


@pytest.mark.parametrize("kind", ["lost_atoms", "blow_up", "gamma_halt", "bad_input", "no_progress", "missing_program"])
def test_failure_that_would_repeat_stays_failed(project: Project, queue, kind: str) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    connect(project)["fireworks"].update_one({}, {"$set": {"state": "FIZZLED"}})
    failed_by(Results.open(project), fw_id, kind, 1)
    assert recover(project) == []


def test_program_killed_twice_stays_failed(project: Project, queue) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    connect(project)["fireworks"].update_one({}, {"$set": {"state": "FIZZLED"}})
    failed_by(Results.open(project), fw_id, "killed", 2)
    assert recover(project) == []


def test_memory_failure_runs_again_only_with_more_memory(project: Project, queue) -> None:
    known, unknown = submit(Flow([add(1, 1), add(2, 2)]), project).values()
    fireworks = connect(project)["fireworks"]
    fireworks.update_many({}, {"$set": {"state": "FIZZLED"}})
    fireworks.update_one({"fw_id": known}, {"$set": {"spec._queueadapter": {"mem": "32G", "nodes": 1}}})
    for fw_id in (known, unknown):
        failed_by(Results.open(project), fw_id, "out_of_memory", 1)
    assert [item.fw_id for item in recover(project, dry_run=True)] == [known]
    assert fireworks.find_one({"fw_id": known})["spec"]["_queueadapter"]["mem"] == "32G"
    (item,) = recover(project)
    assert item.fw_id == known and "runs again with 64G" in item.reason
    found = fireworks.find_one({"fw_id": known})
    assert found["spec"]["_queueadapter"] == {"mem": "64G", "nodes": 1} and found["state"] == "READY"


def test_full_disk_failure_runs_again_when_there_is_space(
    project: Project, queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    connect(project)["fireworks"].update_one({}, {"$set": {"state": "FIZZLED"}})
    failed_by(Results.open(project), fw_id, "disk_full", 1)
    monkeypatch.setattr("gst_jobflow.launch.failed.has_room", lambda folder: False)
    assert recover(project) == []
    monkeypatch.undo()
    assert [item.reason for item in recover(project)] == ["the disk has space again"]


@pytest.mark.parametrize(
    ("error", "kind"), [(OSError(28, "No space left on device"), "disk_full"), (ValueError("a bug"), "unexpected")]
)
def test_failure_before_its_attempt_is_recorded_gets_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    from fireworks import Firework
    from fireworks.core.rocket_launcher import launch_rocket

    def to_file(*_: object, **__: object) -> None:
        raise error

    submit(add(1, 1), project)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(Firework, "to_file", to_file)
    launch_rocket(launchpad(project), FWorker("here"))
    assert status(connect(project))["counts"] == {"FIZZLED": 1}
    again = recover(project, dry_run=True)
    assert connect(project)["attempts"].count_documents({}) == 0
    assert recover(project) == again and len(again) == (kind == "disk_full")
    (attempt,) = Results.open(project).find(Attempt, {})
    assert (attempt.state, attempt.failure_class) == ("failed", kind) and str(error) in attempt.reason
    recover(project)
    assert connect(project)["attempts"].count_documents({}) == 1


@pytest.mark.parametrize(
    "error", ["pymongo.errors.ServerSelectionTimeoutError", "gst_jobflow.base.errors.DatabaseError"]
)
def test_failure_without_database_that_looked_lost_runs_again(project: Project, queue, error: str) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    database = connect(project)
    pad = launchpad(project)
    pad.rerun_fw(fw_id)
    _, launch_id = pad.checkout_fw(FWorker("here"), str(project.root), fw_id)
    said = f"Traceback …\n{error}: 127.0.0.1: Connection refused"
    pad.complete_launch(launch_id, FWAction(stored_data={"_exception": {"_stacktrace": said}}, exit=True), "FIZZLED")
    running = the_attempt_before(fw_id, 0).model_copy(update={"started_at": now(), "failure_class": "killed"})
    Results.open(project).add(running)
    assert status(database)["counts"] == {"FIZZLED": 1}
    assert [item.reason for item in recover(project)] == ["the database was away"]
    assert status(database)["counts"] == {"READY": 1}


def test_end_of_an_attempt_is_ingested_from_its_folder(project: Project, queue, tmp_path: Path) -> None:
    fw_id = running(project, directory=str(tmp_path))
    database = connect(project)
    pad = launchpad(project)
    end = {"state": "failed", "failure_class": "database", "reason": "it went away", "ended_at": now().isoformat()}
    manifest.append(tmp_path, manifest.Update("attempts", f"a{fw_id}", end))
    pad.mark_fizzled(database["launches"].find_one({"fw_id": fw_id})["launch_id"])
    assert the_attempt(project).state == "running" and recover(project, dry_run=True) == []
    assert [item.reason for item in recover(project)] == ["the database was away"]
    assert (the_attempt(project).state, the_attempt(project).reason) == ("failed", "it went away")
    assert status(database)["counts"] == {"READY": 1}


@pytest.mark.parametrize("state", ["RUNNING", "RESERVED"])
def test_firework_fizzled_at_its_start_without_database_runs_again(
    project: Project, queue, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    submit(add(1, 1), project)
    pad, database = launchpad(project), connect(project)

    def gone(*_: object) -> None:
        raise AutoReconnect("connection closed")

    with monkeypatch.context() as away, pytest.raises(RuntimeError, match="connection closed"):
        away.setattr(pad, "get_wf_by_fw_id_lzyfw", gone)
        pad.checkout_fw(FWorker("here"), str(project.root), state=state)
    assert status(database)["counts"] == {"FIZZLED": 1}
    assert recover(project) == [], "a moment may pass between both writes of a worker"

    long_ago = (now() - LONG_AGO).isoformat()
    database["fireworks"].update_many({}, {"$set": {"updated_on": long_ago}})
    (launch,) = database["launches"].find()
    history = [{**entry, "created_on": long_ago, "updated_on": long_ago} for entry in launch["state_history"]]
    database["launches"].update_one({}, {"$set": {"host": socket.gethostname(), "state_history": history}})
    (item,) = recover(project)
    assert item.again and status(database)["counts"] == {"READY": 1}
    assert recover(project) == []
    assert database["launches"].count_documents({"state": state}) == 0


def test_squeue_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "squeue"
    line = "12|RUNNING|None|2026-01-02T03:04:05|2026-01-02T04:04:05|n[1-2]|/a|b c"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{line}' '13|PENDING|Priority|N/A|N/A||/d'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    jobs = slurm.my_jobs()
    assert jobs["12"].directory == "/a|b c" and jobs["12"].ends is not None and jobs["12"].ends.hour == 4
    assert jobs["13"].waits and jobs["13"].starts is None and jobs["13"].reason == "Priority"
    program.write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(RunError, match="code 1: no controller"):
        slurm.my_jobs()
