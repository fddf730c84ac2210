"""Report running, waiting and failed fireworks."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from gst_jobflow.base.errors import GstError
from gst_jobflow.launch import slurm
from gst_jobflow.launch.launches import newest_attempt, reservation_of
from gst_jobflow.launch.slurm import QueueJob

_FIX = "remove the cause, then: gst recover --failed"


def status(
    database: Database, fw_ids: list[int] | None = None, ask_slurm: bool = False, at_most: int = 0
) -> dict[str, Any]:
    """Return the counts of firework states, failures with reasons, and running and queued jobs.

    Counts and jobs are read from indexes, so a project of many fireworks takes no longer.

    Parameters
    ----------
    fw_ids
        The fireworks; None: all.
    ask_slurm
        Ask SLURM for start and end times; they stay empty without an answer.
    at_most
        List so many failures, running and queued jobs, the newest; 0: all.

    Returns
    -------
    dict
        `counts{STATE: n}`, `failures[{firework_id, name, class, reason, fix, directory}]`,
        `running[{firework_id, name, host, started_at, directory, number, slurm_job_id, expected_end}]`,
        `queued[{firework_id, name, slurm_job_id, reason, expected_start}]`.
    """
    where: dict[str, Any] = {"fw_id": {"$in": fw_ids}} if fw_ids is not None else {}
    stored = database["fireworks"]
    found = ((state, stored.count_documents({**where, "state": state})) for state in stored.distinct("state", where))
    counts = {state: number for state, number in found if number}

    def fireworks(state: str) -> list[dict[str, Any]]:
        if state not in counts:
            return []
        newest = stored.find({**where, "state": state}, {"fw_id": 1, "name": 1}).sort("_id", -1).limit(at_most)
        return sorted(newest, key=lambda firework: firework["fw_id"])

    jobs = _jobs() if ask_slurm and (counts.get("RUNNING") or counts.get("RESERVED")) else {}
    return {
        "counts": counts,
        "failures": [_failure(database, firework) for firework in fireworks("FIZZLED")],
        "running": [_running(database, firework, jobs) for firework in fireworks("RUNNING")],
        "queued": [_queued(database, firework, jobs) for firework in fireworks("RESERVED")],
    }


def next_steps(counts: dict[str, int]) -> list[str]:
    """Return the commands that go on if jobs wait and none runs, or if nothing was submitted."""
    if not counts:
        return ["nothing submitted yet; start with gst demo or gst submit --help"]
    active = sum(counts.get(state, 0) for state in ("RUNNING", "RESERVED"))
    if counts.get("READY") and not active:
        return ["next: gst launch, or on a cluster gst launch --queue"]
    if counts.get("PAUSED") and not active and not counts.get("READY"):
        return ["next: gst resume; for steps of gst submit iterate --pause-before: gst approve STUDY"]
    return []


def _jobs() -> dict[str, QueueJob]:
    try:
        return slurm.my_jobs() if slurm.available() else {}
    except GstError:  # optional
        return {}


def _failure(database: Database, firework: dict[str, Any]) -> dict[str, Any]:
    attempt = newest_attempt(database, firework["fw_id"])
    return {
        "firework_id": firework["fw_id"],
        "name": firework["name"],
        "class": attempt.get("failure_class") or "unexpected",
        "reason": attempt.get("reason") or "no attempt was recorded; see the worker's log",
        "fix": attempt.get("fix") or _FIX,
        "directory": attempt.get("directory", ""),
    }


def _running(database: Database, firework: dict[str, Any], jobs: dict[str, QueueJob]) -> dict[str, Any]:
    attempt = newest_attempt(database, firework["fw_id"])
    keys = ("host", "started_at", "directory", "number", "slurm_job_id")
    job = jobs.get(attempt.get("slurm_job_id") or "")
    return {
        "firework_id": firework["fw_id"],
        "name": firework["name"],
        **{key: attempt.get(key) for key in keys},
        # by the time limit, so at the latest
        "expected_end": job.ends if job else None,
    }


def _queued(database: Database, firework: dict[str, Any], jobs: dict[str, QueueJob]) -> dict[str, Any]:
    launch = database["launches"].find_one({"fw_id": firework["fw_id"], "state": "RESERVED"}, sort=[("launch_id", -1)])
    job_id = reservation_of(launch or {})
    job = jobs.get(job_id or "")
    return {
        "firework_id": firework["fw_id"],
        "name": firework["name"],
        "slurm_job_id": job_id,
        "reason": job.reason if job else "",
        "expected_start": job.starts if job else None,
    }
