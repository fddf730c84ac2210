"""Where a running job finds its project and its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gst_jobflow.store.results import Results


def job_results() -> Results:
    """Results for a job: what it writes goes to a manifest in its launch directory (the current one) first."""
    from gst_jobflow.settings import find_project
    from gst_jobflow.store.results import Results

    return Results.open(find_project(), spool_dir=Path.cwd())


def job_uuid() -> str:
    """The uuid of the running jobflow job; empty outside of one."""
    from jobflow import CURRENT_JOB

    return getattr(CURRENT_JOB.job, "uuid", "") or ""


def work_directory(results: Results, name: str) -> Path:
    """Folder `name-…` of the running job: an earlier attempt's, so that its work goes on, else a new one.

    Earlier attempts are looked for by the job's uuid; their launch directories may be on another host, and are then
    not seen.
    """
    from gst_jobflow.documents import Attempt

    uuid = job_uuid()
    # named after the job: `rlaunch singleshot` runs job after job in one folder
    name = f"{name}-{uuid[:8]}" if uuid else name
    earlier = results.find(Attempt, {"job_uuid": uuid}, sort=[("started_at", -1)]) if uuid else ()
    here = Path.cwd() / name
    for attempt in earlier:
        folder = Path(attempt.directory) / name
        if folder.is_dir() and folder != here:
            return folder
    here.mkdir(exist_ok=True)
    return here
