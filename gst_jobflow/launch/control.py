"""Pause, resume and cancel fireworks."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project, user_name
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch import slurm
from gst_jobflow.launch.attempts import process_lives
from gst_jobflow.launch.keys import CANCEL_SIGNAL
from gst_jobflow.launch.launches import rerun, reservation_of
from gst_jobflow.store import Results
from gst_jobflow.store.connect import launchpad

if TYPE_CHECKING:
    from fireworks import LaunchPad

WAITING = ("READY", "WAITING", "RESERVED")


@dataclass(frozen=True)
class ChangedJob:
    """A firework whose state changed."""

    fw_id: int
    name: str
    what: str


def pause(project: Project, fw_ids: Sequence[int] | None = None) -> list[ChangedJob]:
    """Pause fireworks (None: all) that have not started; their queued jobs leave the queue, and running ones continue.

    A firework that does not exist is an InputError.
    """

    def hold(results: Results, pad: LaunchPad, firework: dict[str, Any]) -> str:
        jobs = _unreserve(pad, firework["fw_id"])
        what = "paused" if pad.pause_fw(firework["fw_id"]) else "has just started and continues"
        jobs = _of_nobody(pad, jobs)
        slurm.scancel(jobs)
        return what + (f"; SLURM job {', '.join(jobs)} cancelled" if jobs else "")

    return _each(project, fw_ids, WAITING, hold)


def resume(project: Project, fw_ids: Sequence[int] | None = None) -> list[ChangedJob]:
    """Resume paused fireworks; with ids, also cancelled ones; raises as `pause`."""

    def let_go(results: Results, pad: LaunchPad, firework: dict[str, Any]) -> str:
        if firework["state"] == "PAUSED":
            pad.resume_fw(firework["fw_id"])
        else:
            pad.reignite_fw(firework["fw_id"])
            # else its ended launches would count
            rerun(pad, firework["fw_id"])
        return "resumed"

    return _each(project, fw_ids, ("PAUSED",) if fw_ids is None else ("PAUSED", "DEFUSED"), let_go)


def waiting_for_approval(project: Project, metadata: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return paused fireworks of the workflows with this metadata: those whose parents are done, and the others."""
    pad = launchpad(project)
    ready: list[int] = []
    later: list[int] = []
    for workflow in pad.workflows.find({f"metadata.{key}": value for key, value in metadata.items()}):
        found = pad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"fw_id": 1, "state": 1})
        states = {firework["fw_id"]: firework["state"] for firework in found}
        waits = {int(child) for parent, children in workflow["links"].items()
                 if states[int(parent)] != "COMPLETED" for child in children}  # fmt: skip
        for fw_id in sorted(id for id, state in states.items() if state == "PAUSED"):
            (later if fw_id in waits else ready).append(fw_id)
    return ready, later


def cancel(project: Project, fw_ids: Sequence[int] | None = None) -> list[ChangedJob]:
    """Stop running fireworks and keep waiting ones from starting, which `resume` reverts; raises as `pause`."""

    def stop(results: Results, pad: LaunchPad, firework: dict[str, Any]) -> str:
        fw_id = firework["fw_id"]
        jobs = _unreserve(pad, fw_id)
        running = list(results.find(Attempt, {"fw_id": fw_id, "state": "running"}))
        for launch in pad.launches.find({"fw_id": fw_id, "state": "RUNNING"}, {"launch_id": 1}):
            pad.mark_fizzled(launch["launch_id"])
        pad.defuse_fw(fw_id)
        words = [_stop_run(results, pad, attempt) for attempt in running]
        jobs = _of_nobody(pad, jobs)
        slurm.scancel(jobs)
        return "; ".join(["cancelled", *words, *(f"SLURM job {job} cancelled" for job in jobs)])

    return _each(project, fw_ids, (*WAITING, "RUNNING", "PAUSED"), stop)


def _each(
    project: Project,
    fw_ids: Sequence[int] | None,
    states: Sequence[str],
    change: Callable[[Results, LaunchPad, dict[str, Any]], str],
) -> list[ChangedJob]:
    results, pad = Results.open(project), launchpad(project)
    where: dict[str, Any] = {} if fw_ids is None else {"fw_id": {"$in": list(fw_ids)}}
    fields = {"fw_id": 1, "name": 1, "state": 1}
    found = list(pad.fireworks.find(where, fields).sort("fw_id", 1))
    if missing := sorted(set(fw_ids or ()) - {firework["fw_id"] for firework in found}):
        raise InputError(f"there is no job {missing[0]}", "gst status shows ids; lpad get_fws lists all")
    changed = []
    for listed in found:
        # jobs start and end while many are cancelled
        firework = pad.fireworks.find_one({"fw_id": listed["fw_id"]}, fields) or listed
        if firework["state"] in states:
            changed.append(ChangedJob(firework["fw_id"], firework["name"], change(results, pad, firework)))
        elif fw_ids is not None:
            changed.append(ChangedJob(firework["fw_id"], firework["name"], f"unchanged: it is {firework['state']}"))
    return changed


def _unreserve(pad: LaunchPad, fw_id: int) -> list[str]:
    """Undo the reservations of a firework; return their SLURM jobs, still in the queue."""
    jobs = []
    for launch in list(pad.launches.find({"fw_id": fw_id, "state": "RESERVED"})):
        pad.cancel_reservation(launch["launch_id"])
        if job_id := reservation_of(launch):
            jobs.append(job_id)
    return jobs


def _of_nobody(pad: LaunchPad, jobs: Sequence[str]) -> list[str]:
    """Return the SLURM jobs that no other firework waits for or runs in."""
    open_states = {"$in": ["RESERVED", "RUNNING"]}
    return [
        job for job in jobs
        if pad.launches.find_one({"state_history.reservation_id": job, "state": open_states}, {"_id": 1}) is None
    ]  # fmt: skip


def _stop_run(results: Results, pad: LaunchPad, attempt: Attempt) -> str:
    """End the process of an attempt and record it; its worker continues with other work."""
    job_id = attempt.slurm_job_id
    if results.get(Attempt, attempt.id).state != "running":  # its worker may run another job by now
        return "it has just ended"
    # a SLURM job without reservation may be an allocation with several workers
    reserved = job_id and pad.launches.find_one({"fw_id": attempt.fw_id, "state_history.reservation_id": job_id})
    alone = bool(job_id and reserved and _of_nobody(pad, [job_id]))
    if not alone and attempt.host == socket.gethostname() and process_lives(attempt):
        os.kill(attempt.pid, CANCEL_SIGNAL)
        words = f"process {attempt.pid} signalled to stop"
    elif job_id and (alone or not reserved):
        slurm.scancel([job_id])
        words = f"SLURM job {job_id} cancelled"
    else:
        shared = f"; SLURM job {job_id} also runs others and is left alone" if job_id else ""
        return f"its process {attempt.pid} on {attempt.host} is out of reach from here{shared}"
    end = {"state": "failed", "failure_class": "cancelled", "reason": f"cancelled by {user_name()}"}
    fix = f"to run it after all: gst resume {attempt.fw_id}"
    results.update("attempts", attempt.id, {**end, "fix": fix, "ended_at": now().isoformat()})
    return words
