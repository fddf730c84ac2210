"""`gst pause`, `gst resume` and `gst cancel`: hold back, release and stop jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table
from gst_jobflow.cli.option_group import flag
from gst_jobflow.launch import control
from gst_jobflow.launch.control import ChangedJob

JobIds = Annotated[list[int] | None, typer.Argument(metavar="ID…", help="Job ids, as gst status shows them.")]


def pause(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Hold back jobs that have not started, all or those named; they leave SLURM's queue. Running jobs continue."""
    show_changed(control.pause(open_project(), job_ids or None), as_json)


def resume(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Release paused jobs, all or those named; with ids also cancelled ones. gst launch then runs them."""
    show_changed(control.resume(open_project(), job_ids or None), as_json)


def cancel(
    job_ids: JobIds = None,
    everything: bool = flag("All jobs that run or wait.", "--all"),
    as_json: JsonOption = False,
) -> None:
    """Stop running jobs and keep waiting ones from starting; their files stay. gst resume ID reverts it."""
    if bool(job_ids) == everything:
        raise InputError("specify which jobs to cancel", "give ids, as gst status shows them, or --all")
    show_changed(control.cancel(open_project(), job_ids or None), as_json)


def show_changed(changed: Sequence[ChangedJob], as_json: bool) -> None:
    """Print what became of jobs."""
    if as_json:
        print_json([{"firework_id": item.fw_id, "name": item.name, "what": item.what} for item in changed])
    elif changed:
        print_table([[item.fw_id, item.name, item.what] for item in changed], ["id", "name", "what"])
    else:
        typer.echo("no matching jobs")
