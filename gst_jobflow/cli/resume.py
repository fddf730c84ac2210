"""`gst resume`: let go what was held back."""

from __future__ import annotations

from gst_jobflow.cli.common import JsonOption, open_project
from gst_jobflow.cli.control import JobIds, show
from gst_jobflow.launch.control import resume


def command(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Let paused jobs go on, all or those named; with ids also cancelled ones. gst launch then runs them."""
    show(resume(open_project(), job_ids or None), as_json)
