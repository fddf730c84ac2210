"""`gst launch`: run ready jobs with local workers or through SLURM's queue."""

from __future__ import annotations

import signal
from threading import Event

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import open_project, say
from gst_jobflow.cli.option_group import flag, option
from gst_jobflow.flows.details import detail
from gst_jobflow.launch.progress import Progress
from gst_jobflow.launch.queue import QueueLauncher
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.status import next_steps, status
from gst_jobflow.launch.workers import Workers, default_workers, wait
from gst_jobflow.store.connect import connect


def command(
    workers: int | None = option("Worker processes; default: one a core, at most four.", "--workers", "-n", min=1),
    queue: bool = flag("Submit jobs to SLURM instead of running them here.", "--queue"),
    max_queued: int | None = option("With --queue: most jobs in the queue at a time; default: 50.", min=1),
    pack: int | None = option("With --queue: most short jobs that share a SLURM job; default: 1.", min=1),
    forever: bool = flag("With --queue: wait for new work forever.", "--forever"),
) -> None:
    """Run the jobs on the launchpad until none is left. Ctrl-C stops; run it again to continue.

    Workers are FireWorks' own rlaunch; `rlaunch -c fw_configs rapidfire` in the project does the same by hand. With
    --queue, each job becomes a SLURM job with the resources of its category; nothing is computed here. With
    --pack, up to so many jobs of a category share one SLURM job, side by side on one node.
    """
    if queue and workers is not None:
        raise InputError("--workers and --queue exclude each other", "limit jobs in the queue with --max-queued")
    if not queue and (max_queued is not None or pack is not None or forever):
        raise InputError("--max-queued, --pack and --forever need --queue", "add --queue")
    project = open_project()
    failed = _through_queue(project, max_queued, forever, pack or 1) if queue else _with_workers(project, workers)
    counts = status(connect(project))["counts"]
    if paused := counts.get("PAUSED"):
        say("; ".join([f"{counted(paused, 'job')} paused", *next_steps(counts)]))
    if failed:
        say("a job failed: gst status says which and why")
        raise typer.Exit(1)


def _through_queue(project: Project, max_queued: int | None, forever: bool, pack: int) -> bool:
    """Launch through the queue; return whether a job failed."""
    launcher, stop = QueueLauncher(project, max_queued, forever, say, pack), Event()
    before = {ending: signal.signal(ending, lambda *_: stop.set()) for ending in (signal.SIGTERM, signal.SIGINT)}
    try:
        launcher.run(stop)
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    return launcher.failures > 0


def _with_workers(project: Project, workers: int | None) -> bool:
    """Run all jobs with local workers; return whether one failed."""
    database = connect(project)
    for item in recover(project):
        say(str(item))
    open_states = {"state": {"$in": ["READY", "WAITING", "RUNNING", "RESERVED"]}}
    fw_ids = [firework["fw_id"] for firework in database["fireworks"].find(open_states, {"fw_id": 1})]
    if not fw_ids:
        say("nothing to run; see gst submit --help, or gst status for failures")
        return False
    progress = Progress(database, fw_ids, detail)
    with Workers(project, workers or default_workers(project)) as running:
        wait(running, project.settings.launch.poll_s, progress.tick, say)
    return bool(status(database, progress.fw_ids)["failures"])
