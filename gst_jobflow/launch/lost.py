"""Find fireworks that were cut off: their process died, their SLURM job ended, or the database went away."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from gst_jobflow.base.errors import GstError
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch import slurm
from gst_jobflow.launch.attempts import process_lives
from gst_jobflow.launch.launches import as_time, began, newest_attempt, reservation_of, silence_s
from gst_jobflow.launch.pack import job_directory
from gst_jobflow.launch.slurm import QueueJob
from gst_jobflow.store import Results

SILENT_HOST_S = 300.0
"""A launch on another host counts as lost after this long without a ping (FW_config pings every 10 s)."""
UNRECORDED_GRACE_S = 20.0
"""A firework on this host that runs this long without attempt or ping was killed before it recorded one."""
RESERVING_GRACE_S = 60.0
"""A reservation without SLURM job after this long belongs to a killed launcher."""


class CutPoint(Enum):
    """The point at which a firework was cut off: its state in the launchpad, and a reason."""

    ATTEMPT = ("RUNNING", "its attempt is running, but the process died")
    UNRECORDED = ("RUNNING", "the launchpad says running, but no attempt does")
    FINISHED = ("RUNNING", "its launch ended, but the workflow was not updated")
    HALF_BEGUN = ("FIZZLED", "FireWorks could not record its start and left a running launch")
    RESERVATION = ("RESERVED", "its SLURM job ended before the work began")
    HALF_RESERVED = ("RESERVED", "it is reserved without a launch")

    @property
    def firework_state(self) -> str:
        """Return the state of the firework in the launchpad, unless it has changed since."""
        return self.value[0]


@dataclass(frozen=True)
class Lost:
    """A firework that was cut off, with its SLURM job.

    `attempt_id` is the attempt in state running, for `CutPoint.ATTEMPT` only; `launch_id` a launch without an attempt.
    """

    fw_id: int
    cut: CutPoint
    reason: str
    failure_class: str = "killed"
    attempt_id: str | None = None
    launch_id: int | None = None
    job_id: str | None = None


def find_lost(results: Results) -> list[Lost]:
    """Return fireworks that seem lost. One may occur several times; its first entry gives the reason.

    The database is read before SLURM and processes are asked, so a job that ends meanwhile still counts as running.
    """
    database = results.database
    running = list(results.find(Attempt, {"state": "running"}))
    reserved = list(database["launches"].find({"state": "RESERVED"}))
    fireworks = list(database["fireworks"].find({"state": "RUNNING"}, {"fw_id": 1, "updated_on": 1, "launches": 1}))
    queue = _Queue.ask([attempt.slurm_job_id for attempt in running if attempt.slurm_job_id])
    lost = [found for attempt in running if (found := _dead_attempt(results, attempt, queue))]
    lost += [found for firework in fireworks if (found := _unrecorded(results, firework, queue))]
    lost += [found for launch in reserved if (found := _ended_reservation(results, launch, queue))]
    return lost + _half_begun(results, queue) + _half_reserved(results)


def has_attempt(results: Results, launch: dict[str, Any]) -> bool:
    """Whether an attempt records this launch or a later one of its firework."""
    since = {"fw_id": launch["fw_id"], "started_at": {"$gte": began(launch)}}
    return results.database["attempts"].find_one(since, {"_id": 1}) is not None


class _Queue:
    """The user's jobs in SLURM; `known` is false if SLURM is missing or does not answer."""

    def __init__(self, jobs: dict[str, QueueJob] | None) -> None:
        self.known = jobs is not None
        self.jobs = jobs or {}

    @classmethod
    def ask(cls, ids: list[str]) -> _Queue:
        """Ask the queue, and the accounting for `ids` that have left the queue."""
        if not slurm.available():
            return cls(None)
        try:
            jobs = slurm.my_jobs()
        except GstError:
            # without an answer, no job counts as lost
            return cls(None)
        return cls({**slurm.ended([id for id in ids if id not in jobs]), **jobs})

    def end_of(self, job_id: str, began: datetime | None = None) -> tuple[str, str] | None:
        """Return how a job ended, and the failure class; None if it is alive.

        A job that SLURM requeued after `began`, the start of the run, has lost that run.
        """
        job = self.jobs.get(job_id)
        if job is None:
            return f"SLURM job {job_id} is gone from the queue", "killed"
        if not job.alive:
            failure_class, words = job.end
            return f"SLURM job {job_id}: {words}", failure_class
        if began is None:
            return None
        later = job.starts is not None and job.starts > began + timedelta(seconds=2)
        if job.waits or later:
            return f"SLURM requeued job {job_id}", "node"
        return None


def _dead_attempt(results: Results, attempt: Attempt, queue: _Queue) -> Lost | None:
    """Detect a running attempt whose process died: from SLURM, this host's processes, or another host's silence."""
    reason, kind = "", "killed"
    here = attempt.host == socket.gethostname()
    if attempt.slurm_job_id and queue.known and _is_mine(attempt.directory):
        if end := queue.end_of(attempt.slurm_job_id, attempt.started_at):
            reason, kind = end
        elif not here:
            return None
    elif attempt.slurm_job_id and not here and slurm.available():
        return None
    if not reason and here:
        if process_lives(attempt):
            return None
        reason = f"process {attempt.pid} on {attempt.host} died without a record (killed?)"
    if not reason:
        silent_s = _attempt_silence_s(results, attempt)
        if silent_s < SILENT_HOST_S:
            return None
        reason = f"{attempt.host} has been silent for {silent_s:.0f} s"
    return Lost(attempt.fw_id or 0, CutPoint.ATTEMPT, reason, kind, attempt.id, job_id=attempt.slurm_job_id)


def _unrecorded(results: Results, firework: dict[str, Any], queue: _Queue) -> Lost | None:
    """Detect a firework that is running in the launchpad, but has no running attempt."""
    database, fw_id = results.database, firework["fw_id"]
    newest = newest_attempt(database, fw_id)
    if newest.get("state") == "running":
        return None
    launch = database["launches"].find_one({"launch_id": {"$in": firework["launches"]}}, sort=[("launch_id", -1)]) or {}
    # FireWorks has yet to record the end of an attempt that has just ended
    since = max(as_time(firework["updated_on"]), newest.get("ended_at") or as_time(firework["updated_on"]))
    if (now() - since).total_seconds() < UNRECORDED_GRACE_S:
        return None
    if launch.get("state") in ("COMPLETED", "FIZZLED"):
        return Lost(fw_id, CutPoint.FINISHED, CutPoint.FINISHED.value[1])
    job_id = reservation_of(launch)
    untold = launch["launch_id"] if launch and not has_attempt(results, launch) else None
    if job_id and queue.known:
        end = queue.end_of(job_id)
        return Lost(fw_id, CutPoint.UNRECORDED, *end, launch_id=untold, job_id=job_id) if end else None
    here = launch.get("host") == socket.gethostname()
    if silence_s(launch, since) < (UNRECORDED_GRACE_S if here else SILENT_HOST_S):
        return None
    return Lost(fw_id, CutPoint.UNRECORDED, "running in the launchpad, but no process runs it", launch_id=untold)


def _ended_reservation(results: Results, launch: dict[str, Any], queue: _Queue) -> Lost | None:
    """Detect a firework reserved for a SLURM job that ended or was never submitted."""
    holder = {"launches": launch["launch_id"], "state": "RESERVED"}
    firework = results.database["fireworks"].find_one(holder, {"fw_id": 1})
    if firework is None or not queue.known or not _is_mine(launch["launch_dir"]):
        return None
    job_id = reservation_of(launch)
    if job_id is None:
        if silence_s(launch) < RESERVING_GRACE_S or _is_queued(launch, queue):
            return None
        reason, kind = "reserved by a launcher that was killed", "not_started"
    else:
        end = queue.end_of(job_id)
        if end is None:
            return None
        reason = f"{end[0]} before its work began"
        kind = end[1] if end[1] in ("cancelled", "node") else "not_started"
    return Lost(firework["fw_id"], CutPoint.RESERVATION, reason, kind, launch_id=launch["launch_id"], job_id=job_id)


def _is_queued(launch: dict[str, Any], queue: _Queue) -> bool:
    """Whether a live SLURM job works where that of the launch would: its launcher died before it recorded the job."""
    directory = job_directory(Path(launch["launch_dir"]))
    return any(job.alive and job.directory == str(directory) for job in queue.jobs.values())


def _half_begun(results: Results, queue: _Queue) -> list[Lost]:
    """Detect fireworks that failed while FireWorks recorded their start.

    If the database is away at that moment, `LaunchPad._refresh_wf` fizzles the firework, its worker ends, and the
    launch stays running.
    """
    database = results.database
    begun = database["launches"].distinct("launch_id", {"state": {"$in": ["RUNNING", "RESERVED"]}})
    fizzled = database["fireworks"].find({"state": "FIZZLED", "launches": {"$in": begun}})
    found = (_unrecorded(results, firework, queue) for firework in fizzled)
    return [replace(lost, cut=CutPoint.HALF_BEGUN) for lost in found if lost and lost.cut is not CutPoint.FINISHED]


def _half_reserved(results: Results) -> list[Lost]:
    """Detect fireworks reserved without a launch: the database went away between FireWorks' two writes."""
    database, found = results.database, []
    for firework in database["fireworks"].find({"state": "RESERVED"}, {"fw_id": 1, "launches": 1, "updated_on": 1}):
        old = (now() - as_time(firework["updated_on"])).total_seconds() > RESERVING_GRACE_S
        holder = {"launch_id": {"$in": firework["launches"]}, "state": {"$in": ["RESERVED", "RUNNING"]}}
        if old and database["launches"].find_one(holder, {"_id": 1}) is None:
            reason = CutPoint.HALF_RESERVED.value[1]
            found.append(Lost(firework["fw_id"], CutPoint.HALF_RESERVED, reason, failure_class="not_started"))
    return found


def _is_mine(directory: str) -> bool:
    """Whether a launch directory is visible here and ours, so that SLURM here knows its job."""
    try:
        return Path(directory).stat().st_uid == os.getuid()
    except OSError:
        return False


def _attempt_silence_s(results: Results, attempt: Attempt) -> float:
    """Return the time since the last ping of an attempt's launch, s."""
    launch = results.database["launches"].find_one(
        {"fw_id": attempt.fw_id, "state": "RUNNING"}, {"state_history": 1}, sort=[("launch_id", -1)]
    )
    return silence_s(launch or {}, attempt.started_at)
