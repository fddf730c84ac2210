"""Decide which failed fireworks run again, and with how much memory."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any

from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.disk import DISK_FULL, FIX, has_room
from gst_jobflow.base.resources import QUEUE_KEY
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, derive_id, now
from gst_jobflow.launch.configs import has_queue, resources
from gst_jobflow.launch.keys import CATEGORY_KEY
from gst_jobflow.launch.launches import began, failure_class_of, reservation_of, traceback_of
from gst_jobflow.store import Results

WALLTIME_LOSSES = 4
"""Factor on queue.max_losses for runs that reach their walltime, since they continue each time."""
# a program killed twice under a living worker probably needs more memory than the machine has
_KILLED_STARTS = 2
_WHAT_PASSED = {
    "walltime": "it stopped before its walltime",
    "database": "the database was away",
    "killed": "its program was killed",
    "out_of_memory": "it ran out of memory",
    DISK_FULL: "the disk has space again",
}


@dataclass(frozen=True)
class Rerun:
    """A failed firework that may run again, with the memory to request now if it ran out of memory.

    `unseen` is the attempt to record first, if the job failed before it could record one.
    """

    fw_id: int
    name: str
    reason: str
    memory: str | None = None
    unseen: Attempt | None = None


@dataclass
class _Failure:
    """The last failure of a firework, from its attempts and its launch."""

    state: str
    failure_class: str
    earlier: int
    finished: int
    unseen: Attempt | None


def find_reruns(results: Results, project: Project, failed: bool) -> list[Rerun]:
    """Return the failed fireworks that may run again: those whose cause passes by itself or, with `failed`, all."""
    fizzled = list(results.database["fireworks"].find({"state": "FIZZLED"}))
    most = project.settings.queue.max_losses
    # how often failures of each class run again by themselves
    limits = {"walltime": WALLTIME_LOSSES * most, "database": most, "out_of_memory": most}
    limits["killed"] = min(_KILLED_STARTS, most)
    if fizzled and all(has_room(folder) for folder in (project.runs_dir, project.artifacts_dir)):
        limits[DISK_FULL] = most
    found = (_rerun_of(results, project, firework, limits, failed) for firework in fizzled)
    return [rerun for rerun in found if rerun]


def _rerun_of(
    results: Results, project: Project, firework: dict[str, Any], limits: dict[str, int], failed: bool
) -> Rerun | None:
    failure = _last_failure(results, firework)
    kind, reason, memory = failure.failure_class, "", None
    if failure.state == "failed" and failure.earlier < limits.get(kind, 0):
        memory = more_memory(project, firework) if kind == "out_of_memory" else None
        # only more memory helps, and an unknown request cannot be raised
        if kind != "out_of_memory" or memory:
            reason = f"{_WHAT_PASSED[kind]}; runs again with {memory}" if memory else _WHAT_PASSED[kind]
    elif failure.state == "finished" and failure.finished < project.settings.queue.max_losses:
        # its results are stored, and FireWorks does not know
        reason = "it finished, but the database was away and FireWorks did not record it"
    if not reason and failed:
        reason = "failed before"
    if not reason and not failure.unseen:
        return None
    return Rerun(firework["fw_id"], firework["name"], reason, memory, failure.unseen)


def _last_failure(results: Results, firework: dict[str, Any]) -> _Failure:
    """Return the newest failure; use FireWorks' record if the attempt could not be written."""
    attempts = list(results.database["attempts"].find({"fw_id": firework["fw_id"]}).sort("started_at", 1))
    launch = _failed_launch(results, firework)
    unseen = _attempt_of_launch(results, firework, launch, attempts) if launch else None
    if unseen:
        attempts.append(unseen.model_dump())
    newest = attempts[-1] if attempts else {}
    kind, state = newest.get("failure_class", ""), newest.get("state", "")
    earlier = sum(attempt["failure_class"] == kind for attempt in attempts)
    if launch and state == "lost":
        # its attempt could not be updated
        kind, state = failure_class_of(launch), "failed"
        earlier = sum(attempt["state"] != "finished" for attempt in attempts) - 1
    finished = sum(attempt["state"] == "finished" for attempt in attempts)
    return _Failure(state, kind, earlier, finished, unseen)


def _failed_launch(results: Results, firework: dict[str, Any]) -> dict[str, Any] | None:
    """Return the newest launch of a firework if FireWorks recorded an error for it."""
    launch = results.database["launches"].find_one(
        {"launch_id": {"$in": firework["launches"]}, "state": "FIZZLED"}, sort=[("launch_id", -1)]
    )
    return launch if launch and traceback_of(launch) else None


def _attempt_of_launch(
    results: Results, firework: dict[str, Any], launch: dict[str, Any], attempts: list[dict[str, Any]]
) -> Attempt | None:
    """Return an attempt for a launch that failed before it recorded one."""
    ran = any(entry["state"] == "RUNNING" for entry in launch["state_history"])
    if not ran or any(known["started_at"] >= began(launch) for known in attempts):
        return None
    kind, fw_id = failure_class_of(launch), firework["fw_id"]
    fix = FIX if kind == DISK_FULL else f"see the traceback: lpad get_fws -i {fw_id} -d all"
    reason = " ".join(traceback_of(launch).strip().splitlines()[-1].split())[:500]
    attempt = attempt_without_process(results, firework, launch["launch_id"], reservation_of(launch), kind, reason, fix)
    return attempt.model_copy(update={"state": "failed", "started_at": began(launch)})


def attempt_without_process(
    results: Results,
    firework: dict[str, Any],
    launch_id: int,
    job_id: str | None,
    failure_class: str,
    reason: str,
    fix: str,
) -> Attempt:
    """Return a lost attempt for a launch whose job never recorded one."""
    launch = results.database["launches"].find_one({"launch_id": launch_id}) or {}
    tasks = firework.get("spec", {}).get("_tasks") or [{}]
    uuid = (tasks[0].get("job") or {}).get("uuid") or f"firework-{firework['fw_id']}"
    return Attempt(
        id=derive_id("attempt", uuid, launch_id, job_id or ""),
        job_uuid=uuid,
        job_name=firework.get("name") or "firework",
        fw_id=firework["fw_id"],
        number=results.database["attempts"].count_documents({"job_uuid": uuid}) + 1,
        state="lost",
        host=launch.get("host") or socket.gethostname(),
        # there was no process
        pid=0,
        process_started=0.0,
        slurm_job_id=job_id,
        directory=launch.get("launch_dir", ""),
        started_at=now(),
        ended_at=now(),
        failure_class=failure_class,
        reason=reason,
        fix=fix,
    )


def more_memory(project: Project, firework: dict[str, Any]) -> str | None:
    """Return twice the memory that a firework requests, or None if it requests none."""
    spec = firework["spec"]
    wanted = (spec.get(QUEUE_KEY) or {}).get("mem")
    if not wanted and spec.get(CATEGORY_KEY) in CATEGORIES and has_queue(project.settings.profile):
        wanted = resources(project, spec[CATEGORY_KEY]).queueadapter().get("mem")
    found = re.fullmatch(r"(\d+)([KMGT]?)", str(wanted or ""))
    return f"{2 * int(found[1])}{found[2]}" if found else None
