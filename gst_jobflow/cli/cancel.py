"""`gst cancel`: stop jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import JsonOption, open_project
from gst_jobflow.cli.control import JobIds, show
from gst_jobflow.launch.control import cancel


def command(
    job_ids: JobIds = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that runs or waits.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop jobs that run, and keep those that wait from running; what they wrote stays. gst resume ID takes it back."""
    if bool(job_ids) == everything:
        raise InputError("which jobs?", "give ids, as gst status shows them, or --all")
    show(cancel(open_project(), job_ids or None), as_json)
