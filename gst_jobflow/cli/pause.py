"""`gst pause`: hold back what has not begun."""

from __future__ import annotations

from gst_jobflow.cli.common import JsonOption, open_project
from gst_jobflow.cli.control import JobIds, show
from gst_jobflow.launch.control import pause


def command(job_ids: JobIds = None, as_json: JsonOption = False) -> None:
    """Hold back jobs that have not begun, all or those named; they leave SLURM's queue. What runs goes on."""
    show(pause(open_project(), job_ids or None), as_json)
