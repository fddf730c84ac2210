"""Measure the processor time of idle launchers, with all their processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from _common import Row

from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import write_configs
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store.address import read_state
from gst_jobflow.store.connect import connect

SCRIPTS = Path(__file__).resolve().parents[1]
NOT_INSTALLED = 3
"""How `start_slurm` ends where there is no SLURM."""
SETTLE_S = 25.0
"""A launcher looks less often when nothing has happened for so long."""
START_S = 120.0
LIMIT_PERCENT = 1.0


def idle_rows(project: Project, watched_s: float) -> Iterator[Row]:
    """Measure `gst launch` while its job sleeps, and `gst launch --queue` then and without jobs."""
    yield from _rows(
        project, watched_s, "gst launch --workers 2, one job sleeps, one waits for it", "launch", "--workers", "2"
    )
    with _slurm() as there:
        if not there:
            print("  no SLURM here: the queue's launcher is not measured", file=sys.stderr, flush=True)
            return
        project.file.write_text(project.file.read_text() + "profile: slurm\n")
        project = Project(project.root)
        write_configs(project)
        queue = ("launch", "--queue", "--forever")
        yield from _rows(project, watched_s, "gst launch --queue, one job sleeps, one waits for it", *queue)
        yield from _rows(project, watched_s, "gst launch --queue --forever, nothing there", *queue, busy=False)


def _rows(project: Project, watched_s: float, name: str, *words: str, busy: bool = True) -> Iterator[Row]:
    if busy:
        submit(_sleeping(START_S + SETTLE_S + 2 * watched_s), project)
    server = psutil.Process(read_state(project)["pid"])
    with _launching(project, *words) as launcher:
        _wait_until_it_runs(project, launcher, busy)
        time.sleep(SETTLE_S)
        start, before, server_before = time.perf_counter(), used_s(launcher), used_s(server)
        time.sleep(watched_s)
        wall_s = time.perf_counter() - start
        share, servers = (100 * (now_s - then_s) / wall_s for now_s, then_s in
                          ((used_s(launcher), before), (used_s(server), server_before)))  # fmt: skip
        if launcher.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit(f"{name}: it ended")
    _clear(project)
    yield Row(f"{name}: of a core, {watched_s:.0f} s", share, "%", limit=LIMIT_PERCENT)
    yield Row("mongod meanwhile", servers, "%")


def _clear(project: Project) -> None:
    """Remove the submitted jobs."""
    if "SLURM_CONF" in os.environ:
        subprocess.run(["scancel", "-u", str(os.getuid())], check=True)
    database = connect(project)
    for collection in ("fireworks", "workflows", "launches", "outputs", "attempts"):
        database[collection].delete_many({})
    database.client.close()


def used_s(process: psutil.Process) -> float:
    """Return the processor time of a process and its descendants, s, including ended ones."""
    return sum(sum(each.cpu_times()[:4]) for each in [process, *process.children(recursive=True)])


def _sleeping(seconds: float) -> object:
    """Return a job that sleeps and one that waits for it."""
    from jobflow import Flow, Job

    first = Job(time.sleep, function_args=(seconds,), name="sleep")
    return Flow([first, Job(len, function_args=([first.output],), name="after")])


@contextlib.contextmanager
def _launching(project: Project, *words: str) -> Iterator[psutil.Process]:
    process = psutil.Popen(
        [str(Path(sys.executable).with_name("gst")), *words],
        cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_runs(project: Project, launcher: psutil.Process, busy: bool) -> None:
    deadline, database = time.monotonic() + START_S, connect(project)
    while busy and database["attempts"].count_documents({"state": "running"}) == 0:
        if time.monotonic() > deadline or launcher.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("the job that is waited for did not begin")
        time.sleep(1)
    database.client.close()


@contextlib.contextmanager
def _slurm() -> Iterator[bool]:
    """Start a private SLURM of one node; yield False if it is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="gst-slurm-"))
    started = subprocess.run([SCRIPTS / "start_slurm", "1", "--dir", folder], capture_output=True, check=False)
    if started.returncode == NOT_INSTALLED:
        shutil.rmtree(folder)
        yield False
        return
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        started.check_returncode()
        yield True
    finally:
        subprocess.run([SCRIPTS / "stop_slurm", "--dir", folder, "--purge"], check=False)
        del os.environ["SLURM_CONF"]
