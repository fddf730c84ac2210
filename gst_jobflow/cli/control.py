"""`gst pause`, `gst resume`, `gst approve` and `gst cancel`: hold back, release and stop jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import argument, flag
from gst_jobflow.documents import Study
from gst_jobflow.launch import control
from gst_jobflow.launch.control import ChangedJob
from gst_jobflow.launch.keys import STUDY_KEY
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

JobIds = Annotated[list[int] | None, typer.Argument(metavar="ID…", help="Job ids, as gst status shows them.")]


def pause(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Hold back jobs that have not started, all or those named; they leave SLURM's queue. Running jobs continue."""
    _show_changed(control.pause(open_project(), job_ids or None), as_json)


def resume(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Release paused jobs, all or those named; with ids also cancelled ones. gst launch then runs them."""
    _show_changed(control.resume(open_project(), job_ids or None), as_json)


def approve(
    study: str = argument("Id or name of the study of gst submit iterate.", default=...),
    as_json: JsonOption = False,
) -> None:
    """Let a study go on with the step that gst submit iterate --pause-before made wait.

    Later steps that wait, too, go on waiting until their turn. Example: gst approve gst-ace-24
    """
    project = open_project()
    found = get_located(Results.open(project), Study, study)
    ready, later = control.waiting_for_approval(project, {STUDY_KEY: found.id})
    if not ready:
        raise InputError(
            f"no step of study {found.name} waits for an approval",
            f"{len(later)} paused jobs are not reached yet: gst launch" if later else "gst status shows its jobs",
        )
    _show_changed(control.resume(project, ready), as_json)
    if not as_json:
        say("next: gst launch")


def cancel(
    job_ids: JobIds = None,
    everything: bool = flag("All jobs that run or wait.", "--all"),
    as_json: JsonOption = False,
) -> None:
    """Stop running jobs and keep waiting ones from starting; their files stay. gst resume ID reverts it."""
    if bool(job_ids) == everything:
        raise InputError("specify which jobs to cancel", "give ids, as gst status shows them, or --all")
    _show_changed(control.cancel(open_project(), job_ids or None), as_json)


def _show_changed(changed: Sequence[ChangedJob], as_json: bool) -> None:
    if as_json:
        print_json([{"firework_id": item.fw_id, "name": item.name, "what": item.what} for item in changed])
    elif changed:
        print_table([[item.fw_id, item.name, item.what] for item in changed], ["id", "name", "what"])
    else:
        typer.echo("no matching jobs")
