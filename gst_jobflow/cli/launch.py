"""`gst launch`: run what is ready, with local workers or through SLURM's queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import open_project, say
from gst_jobflow.flows.details import detail
from gst_jobflow.launch.progress import Progress
from gst_jobflow.launch.queue import QueueLauncher
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workers import Workers, default_workers, wait
from gst_jobflow.store.connect import connect

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


def command(
    workers: Annotated[
        int | None, typer.Option("--workers", "-n", min=1, help="Worker processes; default: one a core, at most four.")
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Submit to SLURM instead of working here.")] = False,
    max_queued: Annotated[
        int | None,
        typer.Option("--max-queued", min=1, help="With --queue: jobs that wait or run there at a time; default: 50."),
    ] = None,
    forever: Annotated[
        bool, typer.Option("--forever", help="With --queue: wait for new work instead of ending.")
    ] = False,
) -> None:
    """Run everything on the launchpad that is ready, until nothing is left. Ctrl-C stops; run it again to go on.

    Workers are FireWorks' own rlaunch; `rlaunch -c fw_configs rapidfire` in the project does the same by hand. With
    --queue, each job of ours becomes a SLURM job, with the resources of its category; nothing is computed here.
    """
    if queue and workers is not None:
        raise InputError("--workers are local, --queue has none", "use --max-queued to bound the queue")
    if not queue and (max_queued is not None or forever):
        raise InputError("--max-queued and --forever are of the queue", "add --queue")
    project = open_project()
    failed = _through_queue(project, max_queued, forever) if queue else _with_workers(project, workers)
    if failed:
        say("something failed: gst status says what and why")
        raise typer.Exit(1)


def _through_queue(project: Project, max_queued: int | None, forever: bool) -> bool:
    """Launch through the queue; return whether something failed meanwhile."""
    import signal
    from threading import Event

    launcher, stop = QueueLauncher(project, max_queued, forever, say), Event()
    before = {ending: signal.signal(ending, lambda *_: stop.set()) for ending in (signal.SIGTERM, signal.SIGINT)}
    try:
        launcher.run(stop)
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    return launcher.failures > 0


def _with_workers(project: Project, workers: int | None) -> bool:
    """Run everything with local workers; return whether something failed."""
    database = connect(project)
    for item in recover(project):
        say(str(item))
    open_states = {"state": {"$in": ["READY", "WAITING", "RUNNING", "RESERVED"]}}
    fw_ids = [firework["fw_id"] for firework in database["fireworks"].find(open_states, {"fw_id": 1})]
    if not fw_ids:
        say("nothing to run; gst submit --help, or gst status for what failed")
        return False
    progress = Progress(database, fw_ids, detail)
    with Workers(project, workers or default_workers(project)) as running:
        wait(running, project.settings.launch.poll_s, progress.tick, say)
    return bool(status(database, progress.fw_ids)["failures"])
