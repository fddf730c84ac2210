"""`gst launch`: run what is ready, with local workers."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.cli.common import open_project, say


def command(
    workers: Annotated[
        int | None, typer.Option("--workers", "-n", min=1, help="Worker processes; default: one a core, at most four.")
    ] = None,
) -> None:
    """Run everything on the launchpad that is ready, until nothing is left. Ctrl-C stops; run it again to go on.

    Workers are FireWorks' own rlaunch; `rlaunch -c fw_configs rapidfire` in the project does the same by hand.
    """
    from gst_jobflow.flows.details import detail
    from gst_jobflow.launch.progress import Progress
    from gst_jobflow.launch.recover import recover
    from gst_jobflow.launch.status import status
    from gst_jobflow.launch.workers import Workers, default_workers, wait
    from gst_jobflow.store.connect import connect

    project = open_project()
    database = connect(project)
    for item in recover(project):
        say(f"runs again: {item.name} ({item.reason})")
    open_states = {"state": {"$in": ["READY", "WAITING", "RUNNING", "RESERVED"]}}
    fw_ids = [firework["fw_id"] for firework in database["fireworks"].find(open_states, {"fw_id": 1})]
    if not fw_ids:
        say("nothing to run; gst submit --help, or gst status for what failed")
        return
    progress = Progress(database, fw_ids, detail)
    with Workers(project, workers or default_workers(project)) as running:
        wait(running, project.settings.launch.poll_s, progress.tick, say)
    if status(database, fw_ids)["failures"]:
        say("something failed: gst status says what and why")
        raise typer.Exit(1)
