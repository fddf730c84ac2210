"""Jobs through FireWorks: outputs are kept, attempts are recorded, what was killed is found and runs again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest
from fireworks import FWorker, LaunchPad
from fireworks.core import rocket
from fireworks.core.rocket_launcher import launch_rocket
from jobflow import SETTINGS, Flow, Response, job
from pymongo.errors import AutoReconnect

from gst_jobflow.archive.backup import backup, restore
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch.attempts import _begin, failure_class, recorded
from gst_jobflow.launch.configs import write_configs
from gst_jobflow.launch.keys import PROJECT_KEY
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.services import LocalMongod
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workers import Workers, wait
from gst_jobflow.launch.workflow import MAX_FIREWORKS, submit, to_workflow
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.address import credentials_file
from gst_jobflow.store.connect import connect, job_store, launchpad

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]


@job
def add(a: int, b: int) -> int:
    return a + b


@job
def fail(kind: str) -> None:
    if kind == "run":
        raise RunError("LAMMPS failed: Lost atoms", "look at the log", "lost_atoms")
    raise ZeroDivisionError("a bug")


@job
def grow(n: int) -> Response:
    return Response(replace=Flow([add(n, n)]))


@job
def grow_badly() -> Response:
    return Response(replace=Flow([fail("run")]))


@job
def sleep_once(marker: str, seconds: float) -> str:
    """Sleep the first time; end at once when run again."""
    file = Path(marker)
    if file.exists():
        return "again"
    file.write_text(str(os.getpid()))
    time.sleep(seconds)
    return "first"


@pytest.fixture(autouse=True)
def _tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def run_all(project: Project, n: int = 1) -> None:
    with Workers(project, n) as workers:
        wait(workers, 0.2, lambda: None)


def test_outputs_go_to_the_projects_store_and_references_resolve(project: Project) -> None:
    first = add(1, 2)
    second = add(first.output, 10)
    ids = submit(Flow([first, second]), project)
    run_all(project)
    store = job_store(project)
    store.connect()
    assert store.get_output(second.uuid) == 13
    attempts = list(Results.open(project).find(Attempt, {}, sort=[("started_at", 1)]))
    assert [(attempt.job_uuid, attempt.state, attempt.number) for attempt in attempts] == [
        (first.uuid, "finished", 1),
        (second.uuid, "finished", 1),
    ]
    assert {attempt.fw_id for attempt in attempts} == set(ids.values())
    assert status(connect(project))["counts"] == {"COMPLETED": 2}


def test_jobs_of_a_restored_copy_stay_out_of_the_original_project(
    project: Project, mongo_project: Project, tmp_path: Path
) -> None:
    submit(grow(4), project)
    backup(project, tmp_path / "b.tar")
    name = f"{connect(project).name}_copy"
    LocalMongod(mongo_project).allow_database(name)
    shutil.copytree(project.root, tmp_path / "copy", symlinks=True)
    file = tmp_path / "copy" / "gst.yaml"
    file.write_text(file.read_text().replace(connect(project).name, name))
    copy = Project(file.parent)
    restore(copy, tmp_path / "b.tar")
    write_configs(copy)
    run_all(copy)
    assert [attempt.state for attempt in Results.open(copy).find(Attempt, {})] == ["finished"] * 2
    assert list(Results.open(project).find(Attempt, {})) == []
    connect(copy).client.drop_database(name)


def test_jobs_added_at_run_time_are_recorded(project: Project) -> None:
    submit(grow(4), project)
    run_all(project)
    attempts = [attempt.job_name for attempt in Results.open(project).find(Attempt, {})]
    assert sorted(attempts) == ["add", "grow"]


def test_failures_carry_their_class_and_the_way_out(project: Project) -> None:
    submit(Flow([fail("run"), fail("bug")]), project)
    run_all(project)
    failures = {failure["class"]: failure for failure in status(connect(project))["failures"]}
    assert failures["lost_atoms"]["reason"] == "LAMMPS failed: Lost atoms"
    assert failures["lost_atoms"]["fix"] == "look at the log"
    assert failures["unexpected"]["reason"] == "ZeroDivisionError: a bug"
    assert recover(project) == []
    assert len(recover(project, failed=True, dry_run=True)) == 2


def test_a_job_whose_code_is_missing_fails_with_a_recorded_attempt(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pad = launchpad(project)
    pad.add_wf(to_workflow(add(1, 2), project))
    pad.fireworks.update_one({}, {"$set": {"spec._tasks.0.job.function.@module": "removed_since"}})
    stored = pad.fireworks.find_one()["spec"]["_tasks"]
    assert launch_rocket(pad, FWorker("here"))
    attempt = connect(project)["attempts"].find_one()
    assert attempt["state"] == "failed" and "removed_since" in attempt["reason"]
    firework = pad.fireworks.find_one()
    assert firework["state"] == "FIZZLED"
    assert firework["spec"]["_tasks"] == stored, "a job is stored as it was submitted"


def test_no_password_is_in_the_launchpad(project: Project) -> None:
    import json

    secret = json.loads(credentials_file(project).read_text())["app"]["password"]
    submit(add(1, 1), project)
    run_all(project)
    database = connect(project)
    names, files = database.list_collection_names(), [file for file in project.runs_dir.rglob("*") if file.is_file()]
    assert "fireworks" in names and files
    for name in names:
        assert secret not in str(list(database[name].find()))
    for file in files:
        assert secret not in file.read_text(errors="replace")


def test_plain_rlaunch_and_lpad_drive_the_same_launchpad(project: Project) -> None:
    job_ = add(20, 22)
    submit(job_, project)
    programs, configs = Path(sys.executable).parent, project.fw_configs_dir
    listed = subprocess.run(
        [programs / "lpad", "-l", configs / "my_launchpad.yaml", "get_wflows"],
        cwd=project.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "READY" in listed.stdout
    files = ["-l", configs / "my_launchpad.yaml", "-w", configs / "my_fworker.yaml"]
    subprocess.run(
        [programs / "rlaunch", *files, "rapidfire"], cwd=project.root, capture_output=True, text=True, check=True
    )
    store = job_store(project)
    store.connect()
    assert store.get_output(job_.uuid) == 42


def test_a_killed_worker_is_found_and_its_job_runs_again(project: Project, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    submit(sleep_once(str(marker), 600.0), project)
    with Workers(project, 1) as workers:
        deadline = time.monotonic() + 60
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert recover(project) == [], "what runs is left alone"
        os.killpg(workers.processes[0].pid, signal.SIGKILL)
        workers.processes[0].wait()
    found = recover(project)
    assert [item.name for item in found] == ["sleep_once"]
    assert recover(project) == [], "a second time there is nothing to do"
    run_all(project)
    attempts = list(Results.open(project).find(Attempt, {}, sort=[("started_at", 1)]))
    assert [(attempt.number, attempt.state) for attempt in attempts] == [(1, "lost"), (2, "finished")]
    assert status(connect(project))["counts"] == {"COMPLETED": 1}


def test_dead_worker_and_its_job_are_restarted(project: Project, tmp_path: Path) -> None:
    marker, told = tmp_path / "marker", []
    submit(sleep_once(str(marker), 600.0), project)
    with Workers(project, 2) as workers:

        def kill_once() -> None:
            if marker.exists() and marker.read_text() and not told:
                told.append("killed")
                os.kill(int(marker.read_text()), signal.SIGKILL)

        wait(workers, 0.2, kill_once, told.append)
    assert len(told) == 2 and "runs again: sleep_once" in told[1]
    states = [attempt.state for attempt in Results.open(project).find(Attempt, {}, sort=[("started_at", 1)])]
    assert states == ["lost", "finished"]


def test_run_on_a_silent_host_is_lost(project: Project) -> None:
    from datetime import timedelta

    submit(add(1, 1), project)
    database, long_ago = connect(project), now() - timedelta(hours=2)
    fw_id = database["fireworks"].find_one()["fw_id"]
    database["fireworks"].update_one({}, {"$set": {"state": "RUNNING"}})
    attempt = Attempt(
        _id="x", job_uuid="u", job_name="add", fw_id=fw_id, number=1, state="running", host="elsewhere", pid=1,
        process_started=0.0, directory="/", started_at=long_ago,
    )  # fmt: skip
    results = Results.open(project)
    results.add(attempt)
    assert [item.name for item in recover(project)] == ["add"]
    assert results.get(Attempt, "x").state == "lost"
    assert status(database)["counts"] == {"READY": 1}


def test_workers_die_with_the_process_that_started_them(project: Project, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    submit(sleep_once(str(marker), 600.0), project)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from gst_jobflow.base.settings import Project; from gst_jobflow.launch.workers import Workers\n"
        "with Workers(Project(Path(sys.argv[1])), 1): time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(project.root)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int(marker.read_text())
    parent.kill()
    parent.wait()
    from gst_jobflow.base.processes import is_alive

    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(worker)


def test_attempt_lost_by_a_killed_server_is_recorded_at_its_end(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = Results.open(project, spool_dir=tmp_path)
    attempts = results.database["attempts"]
    with recorded(results, "u", "add", 1, number=2) as begun:
        assert attempts.count_documents({"state": "running"}) == 1
        attempts.delete_many({})
    (ended,) = results.find(Attempt, {})
    assert ended == begun.model_copy(update={"state": "finished", "ended_at": ended.ended_at}) and ended.ended_at
    attempts.delete_many({})
    assert ingest(results, [tmp_path])["problems"] == []
    assert list(results.find(Attempt, {})) == [ended]


@pytest.mark.parametrize("case", ["lives", "killed", "killed before it wrote"])
def test_run_whose_attempt_a_killed_server_lost_is_found_in_its_manifest(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    launchpad(project).checkout_fw(FWorker("here"), str(tmp_path), fw_id)
    monkeypatch.chdir(tmp_path)
    results = Results.open(project, spool_dir=tmp_path)
    long_ago = (now() - timedelta(hours=1)).isoformat()
    results.database["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"updated_on": long_ago}})
    times = {"state_history.0.created_on": long_ago, "state_history.0.updated_on": long_ago}
    results.database["launches"].update_one({"fw_id": fw_id}, {"$set": times})
    if case != "killed before it wrote":
        _begin(results, "u", "add", fw_id, "here", 1)
    results.database["attempts"].delete_many({})
    monkeypatch.setattr("gst_jobflow.launch.lost.process_lives", lambda _: case == "lives")
    found = recover(project)
    (attempt,) = results.find(Attempt, {})
    assert (len(found), attempt.state) == ((0, "running") if case == "lives" else (1, "lost"))
    assert (attempt.pid == os.getpid()) == (case != "killed before it wrote")
    assert ("no process runs it" in attempt.reason) == (case == "killed before it wrote")
    assert status(results.database)["counts"] == {"RUNNING" if case == "lives" else "READY": 1}


@pytest.mark.parametrize(("silent_s", "lost"), [(5, False), (60, True)])
def test_slowly_starting_run_is_left_alone_while_it_pings(
    project: Project, tmp_path: Path, silent_s: float, lost: bool
) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    launchpad(project).checkout_fw(FWorker("here"), str(tmp_path), fw_id)
    database = connect(project)
    began = (now() - timedelta(minutes=5)).isoformat()
    ping = (now() - timedelta(seconds=silent_s)).isoformat()
    database["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"updated_on": began}})
    times = {"state_history.0.created_on": began, "state_history.0.updated_on": ping}
    database["launches"].update_one({"fw_id": fw_id}, {"$set": times})
    assert bool(recover(project)) is lost


def test_ping_survives_a_database_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pings, stop = [], Event()

    class Away:
        def ping_launch(self, launch_id: int) -> None:
            pings.append(launch_id)
            if len(pings) == 3:
                stop.set()
            raise AutoReconnect("it is being started anew")

    monkeypatch.setattr(rocket, "PING_TIME_SECS", 0.01)
    rocket.ping_launch(Away(), 7, stop, current_thread())
    assert pings == [7, 7, 7]


def test_ping_is_acknowledged_from_memory_and_other_writes_of_the_launchpad_are_not(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad = launchpad(project)
    (fw_id,) = submit(add(1, 1), project).values()
    _, launch_id = pad.checkout_fw(FWorker("here"), str(tmp_path), fw_id)
    began = pad.launches.find_one({"launch_id": launch_id})["state_history"][-1]["updated_on"]
    seen, original = [], LaunchPad.ping_launch

    def ping(self: LaunchPad, *words: Any, **options: Any) -> None:
        seen.append(self.launches.write_concern.document)
        original(self, *words, **options)

    monkeypatch.setattr(LaunchPad, "ping_launch", ping)
    rocket.do_ping(pad, launch_id)
    assert seen == [{"w": 1}] and pad.launches.write_concern.document == {"w": "majority", "j": True}
    assert pad.launches.find_one({"launch_id": launch_id})["state_history"][-1]["updated_on"] > began


@pytest.mark.parametrize(("trackers", "pings"), [(None, 0), ([], 1)])
def test_the_ping_right_before_the_record_of_the_end_is_left_out_unless_files_are_tracked(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trackers: list[Any] | None, pings: int
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []
    original = LaunchPad.ping_launch

    def counted(self: LaunchPad, *words: Any, **options: Any) -> None:
        seen.append(options.get("checkpoint"))
        original(self, *words, **options)

    monkeypatch.setattr(LaunchPad, "ping_launch", counted)
    workflow = to_workflow(add(1, 2), project)
    if trackers is not None:
        workflow.fws[0].spec["_trackers"] = trackers
    pad = launchpad(project)
    pad.add_wf(workflow)
    assert launch_rocket(pad, FWorker("here"))
    assert seen.count(None) == pings and pad.fireworks.find_one()["state"] == "COMPLETED"
    rocket.do_ping(pad, pad.launches.find_one()["launch_id"])
    assert seen.count(None) == pings + 1, "later pings are as before"


def test_a_job_leaves_the_store_of_others_in_its_process_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, job_ = SETTINGS.JOB_STORE, add(20, 22)
    (task,) = to_workflow(job_, project).fws[0].tasks
    task.run_task({PROJECT_KEY: str(project.root)})
    assert SETTINGS.JOB_STORE is before
    with job_store(project) as store:
        assert store.get_output(job_.uuid) == 42
    broken = to_workflow(fail("bug"), project).fws[0].tasks[0]
    with pytest.raises(ZeroDivisionError):
        broken.run_task({PROJECT_KEY: str(project.root)})
    assert SETTINGS.JOB_STORE is before


def test_attempt_of_another_host_is_left_alone(project: Project) -> None:
    results = Results.open(project)
    attempt = Attempt(
        _id="x", job_uuid="u", job_name="j", fw_id=1, number=1, state="running", host="elsewhere", pid=1,
        process_started=0.0, directory="/", started_at=now(),
    )  # fmt: skip
    results.add(attempt)
    assert recover(project) == []
    assert results.get(Attempt, "x").state == "running"


def test_a_workflow_that_grows_without_bound_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match="larger --chunk"):
        to_workflow(Flow([add(1, 1) for _ in range(MAX_FIREWORKS + 1)]), project)


def test_failure_classes() -> None:
    assert failure_class(RunError("m", failure_class="walltime")) == "walltime"
    assert failure_class(InputError("m")) == "bad_input"
    assert failure_class(MemoryError()) == "out_of_memory"
    assert failure_class(ValueError()) == "unexpected"
    assert failure_class(AutoReconnect()) == "database"
