"""Put cut-off fireworks back to READY: lost runs, jobs that left the queue unstarted, failures on request.

It reads the database, asks this host's processes and SLURM, then reads the database again for whatever seems lost. So a
job that ends meanwhile is never taken for lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.resources import QUEUE_KEY
from gst_jobflow.base.settings import Project, QueueSettings
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch.failed import WALLTIME_LOSSES, attempt_without_process, find_reruns, more_memory
from gst_jobflow.launch.launches import rerun
from gst_jobflow.launch.lost import CutPoint, Lost, find_lost, has_attempt
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.connect import launchpad
from gst_jobflow.store.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from fireworks import LaunchPad

_LOCK_HELD_S = 10.0
_GIVEN_UP = "remove the cause (see gst logs ID and the .error file in its directory), then: gst recover --failed"
_NO_MEMORY = "set queue.CATEGORY.memory_GB in gst.yaml, then: gst recover --failed"


@dataclass(frozen=True)
class Recovered:
    """A firework that was put back to READY, or given up if `again` is false."""

    fw_id: int
    name: str
    reason: str
    again: bool = True

    def __str__(self) -> str:
        return f"{'runs again' if self.again else 'FAILED'}: {self.name} ({self.reason})"


def recover(project: Project, *, failed: bool = False, dry_run: bool = False) -> list[Recovered]:
    """Put cut-off fireworks back to READY and mark their attempts lost; leave running ones alone.

    Safe in cron and beside running launchers: one recovery runs at a time, and each step checks again.

    Returns an entry for each firework; `failed` includes failed ones, and `dry_run` only reports.
    """
    results, pad = Results.open(project), launchpad(project)
    with _one_at_a_time(project):
        if not dry_run:
            _ingest_running_launches(results)
        done: dict[int, Recovered] = {}
        for lost in find_lost(results):
            item = _settle(results, pad, project, lost, dry_run)
            if item:
                done.setdefault(item.fw_id, item)
        for rerun in find_reruns(results, project, failed):
            if rerun.unseen and not dry_run:
                results.add(rerun.unseen)
            if rerun.fw_id in done or not rerun.reason:
                continue
            done[rerun.fw_id] = Recovered(rerun.fw_id, rerun.name, rerun.reason)
            if not dry_run:
                _request_memory(pad, rerun.fw_id, rerun.memory)
                _rerun(pad, rerun.fw_id)
    return list(done.values())


@contextlib.contextmanager
def _one_at_a_time(project: Project) -> Iterator[None]:
    project.private_dir.mkdir(mode=0o700, exist_ok=True)
    with (project.private_dir / "recover.lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _ingest_running_launches(results: Results) -> None:
    """Ingest manifests of running launches whose attempt a killed server may have lost."""
    for launch in results.database["launches"].find({"state": "RUNNING"}):
        if not has_attempt(results, launch):
            _ingest(results, Path(launch["launch_dir"]))


def _ingest(results: Results, folder: Path) -> None:
    """Ingest the manifest in a job's folder, if it is visible here."""
    if (folder / MANIFEST_NAME).is_file():
        ingest(results, [folder])


def _settle(results: Results, pad: LaunchPad, project: Project, lost: Lost, dry_run: bool) -> Recovered | None:
    """Check again, then put a firework back or give it up; None if it has changed meanwhile."""
    firework = results.database["fireworks"].find_one({"fw_id": lost.fw_id})
    if lost.attempt_id and not _still_runs(results, lost.attempt_id, dry_run):
        return None
    moved_on = firework is None or firework["state"] != lost.cut.firework_state
    if moved_on and lost.attempt_id is None:
        return None
    again, reason, fix, memory = _verdict(results, project, lost, firework)
    if not dry_run:
        _note(results, lost, firework or {"fw_id": lost.fw_id}, reason, fix)
        if not moved_on:
            _request_memory(pad, lost.fw_id, memory)
            _put_back(pad, lost) if again else _give_up(pad, lost.fw_id)
    return None if moved_on or firework is None else Recovered(lost.fw_id, firework["name"], reason, again)


def _still_runs(results: Results, attempt_id: str, dry_run: bool) -> bool:
    """Whether an attempt is still running after ingesting its manifest; the database may be behind."""
    attempt = results.get(Attempt, attempt_id)
    if attempt.state == "running" and not dry_run:
        _ingest(results, Path(attempt.directory))
        attempt = results.get(Attempt, attempt_id)
    return attempt.state == "running"


def _verdict(
    results: Results, project: Project, lost: Lost, firework: dict[str, Any] | None
) -> tuple[bool, str, str, str | None]:
    """Return whether it runs again, why, the remedy if not, and the memory to request."""
    if not _may_run_again(results, lost, project.settings.queue):
        return False, f"{lost.reason}; lost too often, given up", _GIVEN_UP, None
    if lost.failure_class == "out_of_memory" and firework is not None:
        memory = more_memory(project, firework)
        if memory is None:
            return False, lost.reason, _NO_MEMORY, None
        return True, f"{lost.reason}; runs again with {memory}", "", memory
    return True, lost.reason, "", None


def _may_run_again(results: Results, lost: Lost, limits: QueueSettings) -> bool:
    """Whether the firework was lost less often than the limits allow; each class has its own count."""
    if lost.cut is CutPoint.FINISHED:
        return True

    def losses(failure_class: Any) -> int:
        condition = {"fw_id": lost.fw_id, "state": "lost", "failure_class": failure_class}
        return results.database["attempts"].count_documents(condition)

    if lost.failure_class == "not_started":
        return losses("not_started") + 1 < limits.max_starts
    if lost.failure_class == "walltime":
        return losses("walltime") + 1 < WALLTIME_LOSSES * limits.max_losses
    return losses({"$ne": "walltime"}) + 1 < limits.max_losses


def _note(results: Results, lost: Lost, firework: dict[str, Any], reason: str, fix: str) -> None:
    """Record the loss in its attempt; a launch without one gets an attempt of its own."""
    if lost.attempt_id:
        values = {"state": "lost", "failure_class": lost.failure_class, "reason": reason, "fix": fix}
        results.update("attempts", lost.attempt_id, {**values, "ended_at": now().isoformat()})
    elif lost.launch_id is not None:
        kind = lost.failure_class
        results.add(attempt_without_process(results, firework, lost.launch_id, lost.job_id, kind, reason, fix))


def _put_back(pad: LaunchPad, lost: Lost) -> None:
    """Make the firework READY, or update the workflow if it has finished."""
    if lost.cut is CutPoint.FINISHED:
        _release_lock(pad, lost.fw_id)
        pad._refresh_wf(lost.fw_id)
    elif lost.cut is CutPoint.RESERVATION:
        _release_lock(pad, lost.fw_id)
        pad.cancel_reservation(lost.launch_id)
    else:
        _rerun(pad, lost.fw_id)


def _give_up(pad: LaunchPad, fw_id: int) -> None:
    """Mark the open launches of a firework as failed."""
    _release_lock(pad, fw_id)
    open_launches = {"fw_id": fw_id, "state": {"$in": ["RUNNING", "RESERVED"]}}
    for launch in pad.launches.find(open_launches, {"launch_id": 1}):
        pad.mark_fizzled(launch["launch_id"])


def _rerun(pad: LaunchPad, fw_id: int) -> None:
    # an open launch would stay running
    _give_up(pad, fw_id)
    rerun(pad, fw_id)


def _request_memory(pad: LaunchPad, fw_id: int, memory: str | None) -> None:
    if memory:
        pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {f"spec.{QUEUE_KEY}.mem": memory}})


def _release_lock(pad: LaunchPad, fw_id: int) -> None:
    """Remove FireWorks' lock of a workflow if a worker was killed while it held it.

    A living worker holds the lock for a moment only, so one seen at every look during ten seconds has no owner.
    """
    locked = {"nodes": fw_id, "locked": {"$exists": True}}
    deadline = time.monotonic() + _LOCK_HELD_S
    while pad.workflows.find_one(locked, {"_id": 1}) is not None:
        if time.monotonic() > deadline:
            pad.workflows.update_one(locked, {"$unset": {"locked": ""}})
            return
        time.sleep(0.2)
