"""Find project, results, work directory and time limit of a running job."""

from __future__ import annotations

import time
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.base import deadline
from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.settings import Settings, find_project
from gst_jobflow.documents import Attempt
from gst_jobflow.store.results import Results

if TYPE_CHECKING:
    from jobflow import Job


def job_results() -> Results:
    """Open the results for a job, which writes to a manifest in the current directory first."""
    return Results.open(find_project(), spool_dir=Path.cwd())


def job_uuid() -> str:
    """Return the uuid of the running jobflow job; empty outside a job."""
    from jobflow import CURRENT_JOB

    return getattr(CURRENT_JOB.job, "uuid", "") or ""


def work_directory(results: Results, name: str) -> Path:
    """Return the folder `name-…` of the running job: that of an earlier attempt, to continue its work, or a new one.

    Earlier attempts are found by the job's uuid, if their launch directories can be seen from this host. A link in this
    launch directory shows where the work is.
    """
    uuid = job_uuid()
    # named after the job, since `rlaunch singleshot` runs job after job in one folder
    name = f"{name}-{uuid[:8]}" if uuid else name
    earlier = results.find(Attempt, {"job_uuid": uuid}, sort=[("started_at", -1)]) if uuid else ()
    here = Path.cwd() / name
    for attempt in earlier:
        folder = Path(attempt.directory) / name
        if folder.is_dir() and folder != here:
            if not here.exists():
                with suppress(OSError):
                    here.symlink_to(folder.resolve())
            return folder.resolve()
    here.mkdir(exist_ok=True)
    return here


def continuation(again: Job) -> Any:
    """Return the response of a job that stopped before its walltime: `again`, which its own function or maker returns
    for the same inputs, continues its work.

    It becomes a new firework (a FireWorks detour), for which children wait. It keeps uuid, name and resources, so it
    finds the work directory of this job.
    """
    from jobflow import CURRENT_JOB, Response

    running = CURRENT_JOB.job
    if running is not None:
        again.name = running.name
        again.config = deepcopy(running.config)
    return Response(replace=again)


def is_continuation() -> bool:
    """Whether the running job continues an earlier one."""
    from jobflow import CURRENT_JOB

    return getattr(CURRENT_JOB.job, "index", 1) > 1


def job_deadline(settings: Settings) -> Deadline | None:
    """Return when the running job must end: with its SLURM job, or after ``launch.walltime``."""
    return deadline.deadline_from(time.time(), settings.launch.walltime)
