"""The queue launcher and FireWorks' own on a real SLURM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from jobflow import Flow

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import Resources, request_resources
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt
from gst_jobflow.launch.configs import environment
from gst_jobflow.launch.queue import QueueLauncher
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.address import read_credentials
from gst_jobflow.store.connect import connect, job_store
from scripts._slurm import Slurm
from tests.slurm.jobs import double, grow, lammps_step, wait_once, where, where_md

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.fresh_database]
LIMIT_S = 180.0


def launch(project: Project, lines: list[str] | None = None, **options: int) -> QueueLauncher:
    """Run the launcher to its end."""
    stop = Event()
    timer = threading.Timer(LIMIT_S, stop.set)
    timer.start()
    launcher = QueueLauncher(project, tell=(lines if lines is not None else []).append, **options)
    launcher.run(stop)
    assert not stop.is_set(), "\n".join(lines or ["it did not end"])
    timer.cancel()
    return launcher


def outputs(project: Project, *uuids: str) -> list:
    store = job_store(project)
    store.connect()
    return [store.get_output(uuid) for uuid in uuids]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def attempts(project: Project) -> list[Attempt]:
    return list(Results.open(project).find(Attempt, {}, sort=[("started_at", 1)]))


def test_a_mixed_workflow_runs_to_its_end_with_the_resources_of_its_categories(cluster: Project) -> None:
    plain, wide, sized = where(), where_md(), where_md()
    request_resources(sized, Resources(nodes=2, ranks=3, walltime="00:02:00"))
    last = double(plain.output["ranks"])
    lines: list[str] = []
    submit(Flow([plain, wide, sized, last, grow(2)], name="mixed"), cluster)
    launch(cluster, lines)
    got = outputs(cluster, plain.uuid, wide.uuid, sized.uuid, last.uuid)
    assert [(got[i]["ranks"], got[i]["SLURM_NNODES"]) for i in range(3)] == [(1, "1"), (2, "1"), (3, "2")]
    assert got[1]["cores"] == 2 and got[3] == 2
    assert status(connect(cluster))["counts"] == {"COMPLETED": 7}, "the two that were added, too"
    assert {attempt.state for attempt in attempts(cluster)} == {"finished"}
    assert all(attempt.slurm_job_id for attempt in attempts(cluster))
    assert sum(line.startswith("submitted ") for line in lines) == 7, "a SLURM job for each, and no more"
    assert "no job is left" in lines
    secret = read_credentials(cluster)["app"]["password"]
    written = [*cluster.runs_dir.rglob("*"), *(cluster.private_dir / "queue").iterdir()]
    assert not [file for file in written if file.is_file() and secret in file.read_text(errors="replace")]
    assert {file.stat().st_mode & 0o777 for file in (cluster.private_dir / "queue").iterdir()} == {0o600}


@pytest.mark.lammps
def test_lammps_runs_on_the_ranks_of_several_nodes(cluster: Project) -> None:
    step = lammps_step()
    request_resources(step, Resources(nodes=2, ranks=3))
    submit(step, cluster)
    launch(cluster)
    (said,) = outputs(cluster, step.uuid)
    assert said["ranks"] == 3 and said["version"]


def test_no_more_jobs_than_asked_are_queued_at_a_time(cluster: Project, slurm: Slurm) -> None:
    submit(Flow([double(i) for i in range(4)]), cluster)
    database, most = connect(cluster), [0]
    done = Event()

    def watch() -> None:
        while not done.is_set():
            queued = database["launches"].count_documents({"state": {"$in": ["RESERVED", "RUNNING"]}})
            most[0] = max(most[0], queued)
            done.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    launch(cluster, max_queued=2)
    done.set()
    watcher.join()
    assert most[0] == 2
    assert status(database)["counts"] == {"COMPLETED": 4}


def test_refused_job_is_reported_and_others_continue(cluster: Project) -> None:
    refused, other = where(), double(1)
    request_resources(refused, Resources(partition="nowhere"))
    submit(Flow([refused, other]), cluster)
    lines, stop = [], Event()
    launcher = QueueLauncher(cluster, tell=lines.append)
    thread = threading.Thread(target=launcher.run, args=(stop,))
    thread.start()
    try:
        until(lambda: sum("sbatch refused" in line for line in lines) >= 2)
        until(lambda: any(line.startswith("double: done") for line in lines))
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()
    first, second = [line for line in lines if "sbatch refused" in line][:2]
    assert "exit code 1" in first and "invalid partition specified" in first
    assert first.endswith("in 1 s") and second.endswith("in 2 s")
    assert status(connect(cluster))["counts"] == {"COMPLETED": 1, "READY": 1}


def start_gst(project: Project, *words: str) -> subprocess.Popen[str]:
    code = "from gst_jobflow.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "-p", str(project.root), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def test_sigterm_ends_the_launcher_and_the_next_one_continues(cluster: Project, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    submit(wait_once(str(marker)), cluster)
    first = start_gst(cluster, "launch", "--queue", "--max-queued", "1")
    until(marker.exists)
    second = start_gst(cluster, "launch", "--queue")
    said = second.communicate(timeout=LIMIT_S)[0]
    assert second.returncode == 1 and f"process {first.pid} on" in said
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=LIMIT_S)[0]
    assert first.returncode == 0 and "stopped; jobs in the queue continue" in said
    assert status(connect(cluster))["counts"] == {"RUNNING": 1}


@pytest.mark.parametrize("mode", ["plain", "reserved", "by category"])
def test_plain_qlaunch_works_on_the_same_configs(cluster: Project, mode: str) -> None:
    jobs = [double(20), double(21)]
    submit(Flow(jobs), cluster)
    configs = cluster.fw_configs_dir
    options = {
        "plain": [],
        "reserved": ["-r"],
        "by category": ["-w", configs / "fworker_labels.yaml", "-q", configs / "qadapter_labels.yaml"],
    }
    program = Path(sys.executable).with_name("qlaunch")
    subprocess.run(
        [program, "-c", configs, *options[mode], "rapidfire", "-m", "2"],
        cwd=cluster.runs_dir, env={**os.environ, **environment(cluster)},
        capture_output=True, text=True, check=True, timeout=LIMIT_S,
    )  # fmt: skip
    until(lambda: status(connect(cluster))["counts"] == {"COMPLETED": 2})
    assert outputs(cluster, *(job.uuid for job in jobs)) == [40, 42]


def test_profile_without_queue_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match="has no queue"):
        QueueLauncher(project)


def test_job_cancelled_in_the_queue_is_submitted_again(cluster: Project, slurm: Slurm) -> None:
    too_wide = double(4)
    request_resources(too_wide, Resources(nodes=3, ranks=6))
    blocker = subprocess.run(
        ["sbatch", "--parsable", "-N", "3", "--exclusive", "--wrap", "sleep 300"],
        cwd=cluster.runs_dir, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    submit(too_wide, cluster)
    lines, stop = [], Event()
    launcher = QueueLauncher(cluster, tell=lines.append)
    thread = threading.Thread(target=launcher.run, args=(stop,))
    thread.start()
    try:
        until(lambda: any(line.startswith("submitted") for line in lines))
        job_id = next(line for line in lines if line.startswith("submitted")).split()[-1]
        slurm.ask("scancel", job_id)
        until(lambda: sum(line.startswith("submitted") for line in lines) == 2)
        slurm.ask("scancel", blocker)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join()
    lost, finished = attempts(cluster)
    assert (lost.state, lost.failure_class, finished.state) == ("lost", "cancelled", "finished")
    assert lost.reason == f"SLURM job {job_id}: it was cancelled before its work began"


def test_run_cancelled_in_slurm_runs_again_and_its_attempt_has_the_reason(
    cluster: Project, slurm: Slurm, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    submit(wait_once(str(marker)), cluster)
    lines, stop = [], Event()
    launcher = QueueLauncher(cluster, tell=lines.append)
    thread = threading.Thread(target=launcher.run, args=(stop,))
    thread.start()
    try:
        until(lambda: marker.exists() and attempts(cluster))
        slurm.ask("scancel", attempts(cluster)[0].slurm_job_id)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join()
    assert [(attempt.state, attempt.failure_class) for attempt in attempts(cluster)] == [
        ("lost", "cancelled"),
        ("finished", ""),
    ]
    assert recover(cluster) == []


@pytest.mark.slow
def test_run_on_a_failed_node_runs_again_elsewhere(
    cluster: Project, slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # processes of other hosts cannot be seen
    monkeypatch.setattr(socket, "gethostname", lambda: "login")
    marker = tmp_path / "marker"
    submit(wait_once(str(marker)), cluster)
    lines, stop = [], Event()
    launcher = QueueLauncher(cluster, tell=lines.append)
    thread = threading.Thread(target=launcher.run, args=(stop,))
    thread.start()
    try:
        until(lambda: marker.exists() and attempts(cluster))
        slurm.crash(attempts(cluster)[0].slurm_job_id)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join()
        slurm.start()
    lost, finished = attempts(cluster)
    assert (lost.state, lost.failure_class, finished.state) == ("lost", "node", "finished")
    assert "its node failed" in lost.reason


def test_job_that_never_starts_is_given_up(cluster: Project) -> None:
    file = cluster.fw_configs_dir / "my_qadapter.yaml"
    file.write_text(file.read_text().replace("pre_rocket: |\n", "pre_rocket: |\n  exit 7\n"))
    submit(double(1), cluster)
    lines: list[str] = []
    launcher = launch(cluster, lines)
    assert launcher.failures == 1
    assert [attempt.failure_class for attempt in attempts(cluster)] == ["not_started"] * 3
    (failure,) = status(connect(cluster))["failures"]
    assert "given up" in failure["reason"] and ".error" in failure["fix"]


def test_launcher_survives_a_restart_of_the_database(
    slurm: Slurm, new_project: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.schema.migrate import migrate
    from tests.slurm.conftest import _SETTINGS, ROOT

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    # what users name stands in job scripts
    project = new_project(tmp_path / "it's a $PROJECT")
    project.file.write_text(project.file.read_text() + _SETTINGS)
    project = Project(project.root)
    server = LocalMongod(project)
    server.up()
    lines, stop = [], Event()
    try:
        migrate(project)
        write_configs(project)
        thread = threading.Thread(target=QueueLauncher(project, forever=True, tell=lines.append).run, args=(stop,))
        thread.start()
        until(lambda: len(lines) >= 1)
        server.down()
        until(lambda: any("does not answer" in line for line in lines))
        server.up()
        until(lambda: "working again" in lines)
        submit(double(3), project)
        until(lambda: any(line == "double: done" for line in lines))
        stop.set()
        thread.join(LIMIT_S)
        assert not thread.is_alive(), "it ends when it is told to"
    finally:
        stop.set()
        slurm.cancel_all()
        server.down()
