"""Find what was cut off and let it run again: lost runs on this host, and failures when asked."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch.attempts import process_lives

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from gst_jobflow.settings import Project
    from gst_jobflow.store import Results

SILENT_HOST_S = 300.0
"""A launch on another host is lost after this long without a ping (our FW_config pings every 10 s)."""
UNRECORDED_GRACE_S = 20.0
"""A firework that has been RUNNING this long without an attempt was killed before it could record one."""


@dataclass(frozen=True)
class Recovered:
    """A firework that was put back to READY."""

    fw_id: int
    name: str
    reason: str


def recover(project: Project, *, failed: bool = False, dry_run: bool = False) -> list[Recovered]:
    """Put cut-off fireworks back to READY and mark their attempts lost; running ones are left alone.

    Parameters
    ----------
    project
        The project.
    failed
        Rerun fireworks that failed, too.
    dry_run
        Only say what would be done.
    """
    from gst_jobflow.store import Results
    from gst_jobflow.store.connect import launchpad

    results, pad = Results.open(project), launchpad(project)
    found = _lost(results, dry_run) + _unrecorded(results)
    if failed:
        states = {"state": "FIZZLED"}
        found += [Recovered(f["fw_id"], f["name"], "failed before") for f in results.database["fireworks"].find(states)]
    done: list[Recovered] = []
    for item in found:
        if item.fw_id in {known.fw_id for known in done}:
            continue
        done.append(item)
        if not dry_run:
            _rerun(results, pad, item.fw_id)
    return done


def _lost(results: Results, dry_run: bool) -> list[Recovered]:
    """Attempts that say running, whose process is gone: looked for here, and by the silence of other hosts."""
    lost = []
    for attempt in results.find(Attempt, {"state": "running"}):
        if attempt.host == socket.gethostname():
            if process_lives(attempt):
                continue
            reason = f"process {attempt.pid} on {attempt.host} ended without a word (killed?)"
        else:
            silent_s = _silence_s(results, attempt)
            if silent_s < SILENT_HOST_S:
                continue
            reason = f"{attempt.host} has been silent for {silent_s:.0f} s"
        if not dry_run:
            values = {"state": "lost", "failure_class": "killed", "reason": reason, "ended_at": now().isoformat()}
            results.update("attempts", attempt.id, values)
        firework = results.database["fireworks"].find_one({"fw_id": attempt.fw_id}, {"state": 1, "name": 1})
        if firework is not None and firework["state"] == "RUNNING":
            lost.append(Recovered(attempt.fw_id, firework["name"], reason))
    return lost


def _silence_s(results: Results, attempt: Attempt) -> float:
    """How long FireWorks has had no ping of the launch, s."""
    launch = results.database["launches"].find_one(
        {"fw_id": attempt.fw_id, "state": "RUNNING"}, {"state_history": 1}, sort=[("launch_id", -1)]
    )
    times = [entry.get("updated_on") for entry in (launch or {}).get("state_history", []) if entry.get("updated_on")]
    last = max((_as_time(time) for time in times), default=attempt.started_at)
    return (now() - last).total_seconds()


def _as_time(value: Any) -> datetime:
    """A time of FireWorks, which writes ISO text or times without a zone, both UTC."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _unrecorded(results: Results) -> list[Recovered]:
    """Fireworks that run by the launchpad, but no attempt says so."""
    found = []
    for firework in results.database["fireworks"].find({"state": "RUNNING"}, {"fw_id": 1, "name": 1, "updated_on": 1}):
        newest = results.database["attempts"].find_one({"fw_id": firework["fw_id"]}, sort=[("started_at", -1)])
        # an attempt that has just ended is about to be reported to FireWorks
        ended = (newest or {}).get("ended_at")
        since = max(_as_time(firework["updated_on"]), ended or _as_time(firework["updated_on"]))
        quiet = (now() - since).total_seconds() > UNRECORDED_GRACE_S
        if (newest or {}).get("state") != "running" and quiet:
            found.append(Recovered(firework["fw_id"], firework["name"], "running by the launchpad, but nobody runs it"))
    return found


def _rerun(results: Results, pad: LaunchPad, fw_id: int) -> None:
    if results.database["attempts"].find_one({"fw_id": fw_id, "state": "running"}) is None:
        # a worker that was killed in the middle of an update leaves FireWorks' lock behind
        pad.workflows.update_one({"nodes": fw_id}, {"$unset": {"locked": ""}})
    launches = pad.launches.find({"fw_id": fw_id, "state": "RUNNING"}, {"launch_id": 1})
    for launch in launches:  # else the record of the old launch says RUNNING for ever
        pad.mark_fizzled(launch["launch_id"])
    pad.rerun_fw(fw_id)
