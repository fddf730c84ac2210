"""Find what was cut off and let it run again: lost runs on this host, and failures when asked."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch.attempts import process_lives

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from gst_jobflow.settings import Project
    from gst_jobflow.store import Results

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
            _rerun(pad, item.fw_id)
    return done


def _lost(results: Results, dry_run: bool) -> list[Recovered]:
    """Attempts that say running, on this host, whose process is gone."""
    lost = []
    for attempt in results.find(Attempt, {"state": "running", "host": socket.gethostname()}):
        if process_lives(attempt):
            continue
        reason = f"process {attempt.pid} on {attempt.host} ended without a word (killed?)"
        if not dry_run:
            values = {"state": "lost", "failure_class": "killed", "reason": reason, "ended_at": now().isoformat()}
            results.update("attempts", attempt.id, values)
        firework = results.database["fireworks"].find_one({"fw_id": attempt.fw_id}, {"state": 1, "name": 1})
        if firework is not None and firework["state"] == "RUNNING":
            lost.append(Recovered(attempt.fw_id, firework["name"], reason))
    return lost


def _unrecorded(results: Results) -> list[Recovered]:
    """Fireworks that run by the launchpad, but no attempt says so."""
    from datetime import timedelta

    found = []
    before = (now() - timedelta(seconds=UNRECORDED_GRACE_S)).replace(tzinfo=None).isoformat()
    for firework in results.database["fireworks"].find({"state": "RUNNING"}, {"fw_id": 1, "name": 1, "updated_on": 1}):
        running = {"fw_id": firework["fw_id"], "state": "running"}
        if results.database["attempts"].find_one(running) is None and str(firework["updated_on"]) < before:
            found.append(Recovered(firework["fw_id"], firework["name"], "running by the launchpad, but nobody runs it"))
    return found


def _rerun(pad: LaunchPad, fw_id: int) -> None:
    launches = pad.launches.find({"fw_id": fw_id, "state": "RUNNING"}, {"launch_id": 1})
    for launch in launches:  # else the record of the old launch says RUNNING for ever
        pad.mark_fizzled(launch["launch_id"])
    pad.rerun_fw(fw_id)
