"""Find what was cut off and let it run again: lost runs, jobs that left the queue before they began, failures if asked.

Three sources are asked in this order, so that what ends meanwhile is never taken for lost: the database, the processes
of this host and SLURM, and then, for what looks lost, the database again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.disk import DISK_FULL, FIX, has_room, says_full
from gst_jobflow.base.errors import DatabaseError, GstError
from gst_jobflow.base.resources import QUEUE_KEY
from gst_jobflow.documents import Attempt, derive_id, now
from gst_jobflow.launch import slurm
from gst_jobflow.launch.attempts import process_lives
from gst_jobflow.launch.configs import CLUSTERS, resources
from gst_jobflow.launch.firetask import CATEGORY_KEY
from gst_jobflow.launch.slurm import QueueJob

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from gst_jobflow.base.settings import Project, QueueSettings
    from gst_jobflow.store import Results

SILENT_HOST_S = 300.0
"""A launch on another host is lost after this long without a ping (our FW_config pings every 10 s)."""
UNRECORDED_GRACE_S = 20.0
"""A firework of this host that has been RUNNING this long without an attempt or a ping was killed before it could
record one."""
RESERVING_GRACE_S = 60.0
"""A reservation without a SLURM job is one of a launcher that was killed, after this long."""
_LOCK_HELD_S = 10.0
_PASSED = {
    "walltime": "it stopped before its walltime",
    "database": "the database went away meanwhile",
    "killed": "its program was killed",
    "out_of_memory": "it ran out of memory",
    DISK_FULL: "there is room on the disk again",
}
# a program that is killed under a living worker may have met the machine's memory, which another start does not change
_KILLED_STARTS = 2
_GIVEN_UP = "see gst logs ID and the .error file in its directory, mend the cause, then: gst recover --failed"
_NO_MEMORY = "say how much memory it needs (queue.CATEGORY.memory_GB in gst.yaml), then: gst recover --failed"
# walltimes are expected: such a run goes on from what it wrote
_WALLTIME_LOSSES = 4


@dataclass(frozen=True)
class Recovered:
    """A firework that was put back to READY, or given up where `again` is false."""

    fw_id: int
    name: str
    reason: str
    again: bool = True
    memory: str | None = None
    """What it asks for now, where it ran out of memory."""

    def __str__(self) -> str:
        return f"{'runs again' if self.again else 'FAILED'}: {self.name} ({self.reason})"


@dataclass(frozen=True)
class _Lost:
    """What is to be done about one firework."""

    fw_id: int
    reason: str
    failure_class: str = "killed"
    attempt_id: str | None = None
    launch_id: int | None = None
    """The reservation, where the work never began."""
    job_id: str | None = None
    reserved: bool = False
    """It is reserved, and there is no launch that says for what."""
    fizzled: bool = False
    """FireWorks could not note that it began, and called it failed without ending its launch."""
    finished: bool = False
    """The launch has ended, and only FireWorks' record of the workflow does not say so."""
    untold_launch_id: int | None = None
    """The launch that runs, where no attempt tells of it."""


def recover(project: Project, *, failed: bool = False, dry_run: bool = False) -> list[Recovered]:
    """Put cut-off fireworks back to READY and mark their attempts lost; what runs is left alone.

    Safe from cron, twice, and beside running launchers: one recovery at a time, and each step looks again.

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
    with _one_at_a_time(project):
        done: list[Recovered] = []
        if not dry_run:
            _put_in_forgotten(results)
        for lost in _found(results):
            item = _settle(results, pad, project, lost, dry_run)
            if item and item.fw_id not in {known.fw_id for known in done}:
                done.append(item)
        known = {item.fw_id for item in done}
        for item in _ended(results, project, failed, dry_run):
            if item.fw_id in known:
                continue
            done.append(item)
            if not dry_run:
                _ask_memory(pad, item.fw_id, item.memory)
                _rerun(results, pad, item.fw_id)
    return done


@contextlib.contextmanager
def _one_at_a_time(project: Project) -> Iterator[None]:
    project.private_dir.mkdir(mode=0o700, exist_ok=True)
    with (project.private_dir / "recover.lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


# -- what looks lost


def _put_in_forgotten(results: Results) -> None:
    """Put in the attempts that a killed server forgot, from the manifests of launches that run without one."""
    for launch in results.database["launches"].find({"state": "RUNNING"}):
        if not _is_told(results, launch):
            _put_in(results, Path(launch["launch_dir"]))


def _put_in(results: Results, folder: Path) -> None:
    """Put in what a job left in its folder, if that can be seen from here."""
    from gst_jobflow.store import ingest
    from gst_jobflow.store.manifest import MANIFEST_NAME

    if (folder / MANIFEST_NAME).is_file():
        ingest(results, [folder])


def _is_told(results: Results, launch: dict[str, Any]) -> bool:
    """Whether there is an attempt of a launch that runs, or of a later one."""
    since = {"fw_id": launch["fw_id"], "started_at": {"$gte": _began(launch)}}
    return results.database["attempts"].find_one(since, {"_id": 1}) is not None


def _began(launch: dict[str, Any]) -> datetime:
    """When a launch began, at the latest now; to the millisecond, as attempts are kept."""
    began = [_as_time(entry["created_on"]) for entry in launch.get("state_history", []) if entry["state"] == "RUNNING"]
    time = began[-1] if began else now()
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _found(results: Results) -> list[_Lost]:
    """Everything that looks lost; of several entries of a firework the first says why."""
    database = results.database
    running = list(results.find(Attempt, {"state": "running"}))
    reserved = list(database["launches"].find({"state": "RESERVED"}))
    fireworks = list(database["fireworks"].find({"state": "RUNNING"}, {"fw_id": 1, "updated_on": 1, "launches": 1}))
    queue = _Queue.ask([attempt.slurm_job_id for attempt in running if attempt.slurm_job_id])
    lost = [found for attempt in running if (found := _of_attempt(results, attempt, queue))]
    lost += [found for firework in fireworks if (found := _unrecorded(results, firework, queue))]
    lost += [found for launch in reserved if (found := _of_reservation(results, launch, queue))]
    return lost + _half_begun(results, queue) + _half_reserved(results)


def _half_begun(results: Results, queue: _Queue) -> list[_Lost]:
    """Fireworks that failed while their launch was made.

    Where the database goes away just then and comes back, FireWorks (`LaunchPad._refresh_wf`) fizzles the firework,
    its worker ends, and the launch says for ever that it runs.
    """
    database = results.database
    begun = database["launches"].distinct("launch_id", {"state": {"$in": ["RUNNING", "RESERVED"]}})
    fizzled = database["fireworks"].find({"state": "FIZZLED", "launches": {"$in": begun}})
    found = (_unrecorded(results, firework, queue) for firework in fizzled)
    return [replace(lost, fizzled=True) for lost in found if lost and not lost.finished]


def _half_reserved(results: Results) -> list[_Lost]:
    """Fireworks that are reserved without a launch: the database went away between FireWorks' two writes."""
    database, found = results.database, []
    for firework in database["fireworks"].find({"state": "RESERVED"}, {"fw_id": 1, "launches": 1, "updated_on": 1}):
        old = (now() - _as_time(firework["updated_on"])).total_seconds() > RESERVING_GRACE_S
        holder = {"launch_id": {"$in": firework["launches"]}, "state": {"$in": ["RESERVED", "RUNNING"]}}
        if old and database["launches"].find_one(holder, {"_id": 1}) is None:
            found.append(_Lost(firework["fw_id"], "reserved, and by no launch", "not_started", reserved=True))
    return found


class _Queue:
    """SLURM's view of our jobs; `known` is false where there is no SLURM, or it does not answer."""

    def __init__(self, jobs: dict[str, QueueJob] | None) -> None:
        self.known = jobs is not None
        self.jobs = jobs or {}

    @classmethod
    def ask(cls, ids: list[str]) -> _Queue:
        """Ask the queue, and the accounts for `ids` that it has forgotten."""
        if not slurm.available():
            return cls(None)
        try:
            jobs = slurm.my_jobs()
        except GstError:
            # silence is no news: nothing may be called lost
            return cls(None)
        return cls({**slurm.ended([id for id in ids if id not in jobs]), **jobs})

    def end_of(self, job_id: str, began: datetime | None = None) -> tuple[str, str] | None:
        """How a job ended, in words, and the class of failure; None if it runs.

        `began` is when the run began: a job that SLURM put back in the queue since then no longer holds that run.
        """
        job = self.jobs.get(job_id)
        if job is None:
            return f"SLURM job {job_id} is gone from the queue", "killed"
        if not job.alive:
            return f"SLURM job {job_id}: {job.end_in_words}", job.failure_class
        if began is None:
            return None
        later = job.starts is not None and job.starts > began + timedelta(seconds=2)
        if job.waits or later:
            return f"SLURM job {job_id} was put back in the queue by SLURM", "node"
        return None


def _of_attempt(results: Results, attempt: Attempt, queue: _Queue) -> _Lost | None:
    """An attempt that says running and whose process is gone, by SLURM, this host, or the silence of another."""
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
        reason = f"process {attempt.pid} on {attempt.host} ended without a word (killed?)"
    if not reason:
        silent_s = _silence_s(results, attempt)
        if silent_s < SILENT_HOST_S:
            return None
        reason = f"{attempt.host} has been silent for {silent_s:.0f} s"
    return _Lost(attempt.fw_id or 0, reason, kind, attempt.id, job_id=attempt.slurm_job_id)


def _unrecorded(results: Results, firework: dict[str, Any], queue: _Queue) -> _Lost | None:
    """A firework that runs by the launchpad, though no attempt says so."""
    database, fw_id = results.database, firework["fw_id"]
    newest = database["attempts"].find_one({"fw_id": fw_id}, sort=[("started_at", -1)]) or {}
    if newest.get("state") == "running":
        return None
    launch = database["launches"].find_one({"launch_id": {"$in": firework["launches"]}}, sort=[("launch_id", -1)]) or {}
    # an attempt that has just ended is about to be reported to FireWorks
    since = max(_as_time(firework["updated_on"]), newest.get("ended_at") or _as_time(firework["updated_on"]))
    if (now() - since).total_seconds() < UNRECORDED_GRACE_S:
        return None
    if launch.get("state") in ("COMPLETED", "FIZZLED"):
        return _Lost(fw_id, "it has ended, and the workflow does not know", finished=True)
    job_id = reservation_of(launch)
    untold = launch["launch_id"] if launch and not _is_told(results, launch) else None
    if job_id and queue.known:
        end = queue.end_of(job_id)
        return _Lost(fw_id, *end, job_id=job_id, untold_launch_id=untold) if end else None
    here = launch.get("host") == socket.gethostname()
    if _ping_s(launch, since) < (UNRECORDED_GRACE_S if here else SILENT_HOST_S):
        return None
    return _Lost(fw_id, "running by the launchpad, but nobody runs it", untold_launch_id=untold)


def _of_reservation(results: Results, launch: dict[str, Any], queue: _Queue) -> _Lost | None:
    """A firework that waits for a SLURM job which has ended, or was never submitted."""
    holder = {"launches": launch["launch_id"], "state": "RESERVED"}
    firework = results.database["fireworks"].find_one(holder, {"fw_id": 1})
    if firework is None or not queue.known or not _is_mine(launch["launch_dir"]):
        return None
    fw_id, launch_id, job_id = firework["fw_id"], launch["launch_id"], reservation_of(launch)
    if job_id is None:
        if _ping_s(launch) < RESERVING_GRACE_S:
            return None
        # a launcher was killed between sbatch and the note of it
        waiting = (job for job in queue.jobs.values() if job.alive and job.directory == launch["launch_dir"])
        if next(waiting, None):
            return None
        return _Lost(fw_id, "reserved by a launcher that was killed", "not_started", launch_id=launch_id)
    end = queue.end_of(job_id)
    if end is None:
        return None
    kind = end[1] if end[1] in ("cancelled", "node") else "not_started"
    return _Lost(fw_id, f"{end[0]} before its work began", kind, launch_id=launch_id, job_id=job_id)


def _is_mine(directory: str) -> bool:
    """Whether a launch directory is of this user and of this machine's file system, so that our SLURM knows its job."""
    try:
        return Path(directory).stat().st_uid == os.getuid()
    except OSError:
        return False


def reservation_of(launch: dict[str, Any]) -> str | None:
    """The SLURM job that a launch was reserved for."""
    ids = [entry["reservation_id"] for entry in launch.get("state_history", []) if entry.get("reservation_id")]
    return str(ids[-1]) if ids else None


def _silence_s(results: Results, attempt: Attempt) -> float:
    """How long FireWorks has had no ping of the launch, s."""
    launch = results.database["launches"].find_one(
        {"fw_id": attempt.fw_id, "state": "RUNNING"}, {"state_history": 1}, sort=[("launch_id", -1)]
    )
    return _ping_s(launch or {}, attempt.started_at)


def _ping_s(launch: dict[str, Any], since: datetime | None = None) -> float:
    """Time since FireWorks last heard of a launch, s."""
    entries = launch.get("state_history", [])
    times = [_as_time(time) for entry in entries for time in (entry.get("created_on"), entry.get("updated_on")) if time]
    return (now() - max([*times, *([since] if since else [])], default=now())).total_seconds()


def _as_time(value: Any) -> datetime:
    """A time of FireWorks, which writes ISO text or times without a zone, both UTC."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ended(results: Results, project: Project, failed: bool, dry_run: bool) -> Iterator[Recovered]:
    """Failed fireworks that run again: of classes whose cause passes or can be mended here, and others when asked."""
    limits = project.settings.queue
    most = {
        "walltime": _WALLTIME_LOSSES * limits.max_losses,
        "database": limits.max_losses,
        "killed": min(_KILLED_STARTS, limits.max_losses),
        "out_of_memory": limits.max_losses,
    }
    fizzled = list(results.database["fireworks"].find({"state": "FIZZLED"}))
    if fizzled and all(has_room(folder) for folder in (project.runs_dir, project.artifacts_dir)):
        most[DISK_FULL] = limits.max_losses
    for firework in fizzled:
        fw_id = firework["fw_id"]
        attempts = list(results.database["attempts"].find({"fw_id": fw_id}).sort("started_at", 1))
        launch = _ended_by_an_error(results, firework)
        if launch and (unseen := _without_attempt(results, firework, launch, attempts)):
            attempts.append(unseen.model_dump())
            if not dry_run:
                results.add(unseen)
        newest = attempts[-1] if attempts else {}
        kind = newest.get("failure_class", "")
        before = sum(attempt["failure_class"] == kind for attempt in attempts)
        if launch and newest.get("state") == "lost":
            # it failed, and only could not say so in its attempt
            newest = {**newest, "state": "failed"}
            kind, before = _class_of(launch), sum(attempt["state"] != "finished" for attempt in attempts) - 1
        finished = sum(attempt["state"] == "finished" for attempt in attempts)
        # more memory is the only cure; where nobody knows what is more, it stays failed
        memory = _more_memory(project, firework) if kind == "out_of_memory" else None
        mended = kind != "out_of_memory" or memory is not None
        if newest.get("state") == "failed" and before < most.get(kind, 0) and mended:
            reason = f"{_PASSED[kind]}; runs again with {memory}" if memory else _PASSED[kind]
            yield Recovered(fw_id, firework["name"], reason, memory=memory)
        elif newest.get("state") == "finished" and finished < limits.max_losses:
            # what it stored is found there; only FireWorks has not heard of it
            yield Recovered(fw_id, firework["name"], "it finished, and the database went away before that was noted")
        elif failed:
            yield Recovered(fw_id, firework["name"], "failed before")


def _ended_by_an_error(results: Results, firework: dict[str, Any]) -> dict[str, Any] | None:
    """The newest launch of a firework, where FireWorks itself noted an error that ended it."""
    launch = results.database["launches"].find_one(
        {"launch_id": {"$in": firework["launches"]}, "state": "FIZZLED"}, sort=[("launch_id", -1)]
    )
    return launch if launch and _traceback(launch) else None


def _traceback(launch: dict[str, Any]) -> str:
    stored = (launch.get("action") or {}).get("stored_data") or {}
    return (stored.get("_exception") or {}).get("_stacktrace") or ""


def _class_of(launch: dict[str, Any]) -> str:
    """The class of failure of a launch, by the traceback that FireWorks noted."""
    said = _traceback(launch)
    away = "pymongo.errors" in said or f"{DatabaseError.__module__}.{DatabaseError.__name__}" in said
    return DISK_FULL if says_full(said) else "database" if away else "unexpected"


def _without_attempt(
    results: Results, firework: dict[str, Any], launch: dict[str, Any], attempts: list[dict[str, Any]]
) -> Attempt | None:
    """The attempt of a failure that came before one could be recorded: FireWorks writes files first."""
    ran = any(entry["state"] == "RUNNING" for entry in launch["state_history"])
    if not ran or any(known["started_at"] >= _began(launch) for known in attempts):
        return None
    kind, fw_id = _class_of(launch), firework["fw_id"]
    fix = FIX if kind == DISK_FULL else f"lpad get_fws -i {fw_id} -d all shows the whole of it"
    reason = " ".join(_traceback(launch).strip().splitlines()[-1].split())[:500]
    lost = _Lost(fw_id, "", kind, launch_id=launch["launch_id"], job_id=reservation_of(launch))
    attempt = _never_began(results, lost, firework, reason, fix)
    return attempt.model_copy(update={"state": "failed", "started_at": _began(launch)})


# -- what is done about it


def _settle(results: Results, pad: LaunchPad, project: Project, lost: _Lost, dry_run: bool) -> Recovered | None:
    """Look again, and put a firework back or give it up; None where it has moved on meanwhile."""
    firework = results.database["fireworks"].find_one({"fw_id": lost.fw_id}, {"name": 1, "state": 1, "spec": 1})
    if lost.attempt_id and not _still_runs(results, lost.attempt_id, dry_run):
        return None
    expected = "RESERVED" if lost.launch_id is not None or lost.reserved else "FIZZLED" if lost.fizzled else "RUNNING"
    moved_on = firework is None or firework["state"] != expected
    if moved_on and lost.attempt_id is None:
        return None
    again = _may_run_again(results, lost, project.settings.queue)
    reason, fix = lost.reason, ""
    if not again:
        reason, fix = f"{reason}; given up, it was lost too often", _GIVEN_UP
    elif lost.failure_class == "out_of_memory" and firework is not None:
        memory = _more_memory(project, firework)
        again = memory is not None
        reason, fix = (f"{reason}; runs again with {memory}", "") if again else (reason, _NO_MEMORY)
        if not dry_run and not moved_on:
            _ask_memory(pad, lost.fw_id, memory)
    if not dry_run:
        _note(results, lost, firework or {}, reason, fix)
        if not moved_on:
            _act(results, pad, lost, again)
    return None if moved_on or firework is None else Recovered(lost.fw_id, firework["name"], reason, again)


def _still_runs(results: Results, attempt_id: str, dry_run: bool) -> bool:
    """Whether an attempt says so still, also after its end was looked for in its folder: the database may be behind."""
    attempt = results.get(Attempt, attempt_id)
    if attempt.state == "running" and not dry_run:
        _put_in(results, Path(attempt.directory))
        attempt = results.get(Attempt, attempt_id)
    return attempt.state == "running"


def _may_run_again(results: Results, lost: _Lost, limits: QueueSettings) -> bool:
    """Whether the firework was not lost too often already; a run that only reached its walltime went on each time."""
    if lost.finished:
        return True
    attempts = results.database["attempts"]
    before: dict[str, Any] = {"fw_id": lost.fw_id, "state": "lost"}
    if lost.failure_class == "not_started":
        return attempts.count_documents({**before, "failure_class": "not_started"}) + 1 < limits.max_starts
    others = attempts.count_documents({**before, "failure_class": {"$ne": "walltime"}})
    walltimes = attempts.count_documents({**before, "failure_class": "walltime"})
    if lost.failure_class == "walltime":
        return walltimes + 1 < _WALLTIME_LOSSES * limits.max_losses
    return others + 1 < limits.max_losses


def _more_memory(project: Project, firework: dict[str, Any]) -> str | None:
    """Twice the memory that a firework asked for; None where it asked for none, so that nobody knows what is more."""
    spec = firework["spec"]
    asked = (spec.get(QUEUE_KEY) or {}).get("mem")
    if not asked and spec.get(CATEGORY_KEY) in CATEGORIES and project.settings.profile in CLUSTERS:
        asked = resources(project, spec[CATEGORY_KEY]).queueadapter().get("mem")
    found = re.fullmatch(r"(\d+)([KMGT]?)", str(asked or ""))
    return f"{2 * int(found[1])}{found[2]}" if found else None


def _ask_memory(pad: LaunchPad, fw_id: int, memory: str | None) -> None:
    if memory:
        pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {f"spec.{QUEUE_KEY}.mem": memory}})


def _note(results: Results, lost: _Lost, firework: dict[str, Any], reason: str, fix: str) -> None:
    """Say in the attempts what happened; a job that never began gets an attempt of its own."""
    if lost.attempt_id:
        values = {"state": "lost", "failure_class": lost.failure_class, "reason": reason, "fix": fix}
        results.update("attempts", lost.attempt_id, {**values, "ended_at": now().isoformat()})
    elif lost.launch_id is not None or lost.untold_launch_id is not None:
        results.add(_never_began(results, lost, firework, reason, fix))


def _never_began(results: Results, lost: _Lost, firework: dict[str, Any], reason: str, fix: str) -> Attempt:
    launch_id = lost.untold_launch_id if lost.launch_id is None else lost.launch_id
    launch = results.database["launches"].find_one({"launch_id": launch_id}) or {}
    tasks = firework.get("spec", {}).get("_tasks") or [{}]
    job = tasks[0].get("job") or {}
    uuid = job.get("uuid") or f"firework-{lost.fw_id}"
    return Attempt(
        id=derive_id("attempt", uuid, launch_id, lost.job_id or ""),
        job_uuid=uuid,
        job_name=firework.get("name") or "firework",
        fw_id=lost.fw_id,
        number=results.database["attempts"].count_documents({"job_uuid": uuid}) + 1,
        state="lost",
        host=launch.get("host") or socket.gethostname(),
        # there was no process
        pid=0,
        process_started=0.0,
        slurm_job_id=lost.job_id,
        directory=launch.get("launch_dir", ""),
        started_at=now(),
        ended_at=now(),
        failure_class=lost.failure_class,
        reason=reason,
        fix=fix,
    )


def _act(results: Results, pad: LaunchPad, lost: _Lost, again: bool) -> None:
    if lost.finished:
        _release_lock(results, pad, lost.fw_id)
        pad._refresh_wf(lost.fw_id)
    elif lost.launch_id is not None and again:
        _release_lock(results, pad, lost.fw_id)
        pad.cancel_reservation(lost.launch_id)
    elif again:
        _rerun(results, pad, lost.fw_id)
    else:
        _release_lock(results, pad, lost.fw_id)
        states = {"fw_id": lost.fw_id, "state": {"$in": ["RUNNING", "RESERVED"]}}
        for launch in pad.launches.find(states, {"launch_id": 1}):
            pad.mark_fizzled(launch["launch_id"])


def _rerun(results: Results, pad: LaunchPad, fw_id: int) -> None:
    _release_lock(results, pad, fw_id)
    launches = pad.launches.find({"fw_id": fw_id, "state": {"$in": ["RUNNING", "RESERVED"]}}, {"launch_id": 1})
    for launch in launches:  # else the record of the old launch says so for ever
        pad.mark_fizzled(launch["launch_id"])
    pad.rerun_fw(fw_id)


def _release_lock(results: Results, pad: LaunchPad, fw_id: int) -> None:
    """Take away FireWorks' lock of a workflow if a worker was killed while it held it.

    Living workers hold it for a moment only, so one that is there each time we look, for ten seconds, is nobody's.
    """
    locked = {"nodes": fw_id, "locked": {"$exists": True}}
    deadline = time.monotonic() + _LOCK_HELD_S
    while pad.workflows.find_one(locked, {"_id": 1}) is not None:
        if time.monotonic() > deadline:
            pad.workflows.update_one(locked, {"$unset": {"locked": ""}})
            return
        time.sleep(0.2)
