"""Keep SLURM's queue filled with ready fireworks, and survive temporary trouble.

Each SLURM job is reserved for one firework (FireWorks' reservation mode). So there are never more jobs than fireworks,
each gets its own resources, and a job cancelled while it waits is noticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import yaml
from fireworks import FWorker, LaunchPad
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.errors import DatabaseError, GstError, InputError, MissingProgramError
from gst_jobflow.base.settings import Project
from gst_jobflow.launch import slurm
from gst_jobflow.launch.configs import category_files, has_queue, queue_base, write_category_configs
from gst_jobflow.launch.launches import newest_attempt, reservation_of
from gst_jobflow.launch.pack import choose_together, submit_together
from gst_jobflow.launch.recover import recover
from gst_jobflow.store.connect import launchpad

OTHER = "other"
"""Category of all other jobs, which use `my_qadapter.yaml` unchanged."""

_LONGEST_BACKOFF_S = 600.0
_SUMMARY_S = 60.0
_LOG_KEPT_BYTES = 10_000_000
# FireWorks makes the children of an ended firework READY in a second write
_QUIET_ROUNDS = 2
_SLOWER, _SLOWER_AFTER = 3, 10


class SlurmAdapter(CommonAdapter):
    """Submit as FireWorks does, and keep the reason of a refusal, which FireWorks only logs.

    FireWorks copies its adapter, so the class holds the reason.
    """

    _fw_name = "{{gst_jobflow.launch.queue.SlurmAdapter}}"
    refusal: ClassVar[str] = ""

    def submit_to_queue(self, script_file: str) -> str | None:
        """Submit a job script; return the id of the job, or None after a refusal."""
        type(self).refusal = ""
        try:
            return self._parse_jobid(slurm.sbatch(script_file))
        except GstError as err:
            type(self).refusal = err.message
        except RuntimeError:
            type(self).refusal = "sbatch printed no job id"
        return None


class QueueLauncher:
    """Submit ready fireworks until none is left; use `run`.

    Parameters
    ----------
    max_queued
        Largest number of the project's jobs in the queue; None: that of the settings.
    forever
        Wait for new work instead of ending.
    tell
        Called with each line of text for the user.
    pack
        Largest number of fireworks that share one SLURM job.
    """

    def __init__(
        self,
        project: Project,
        max_queued: int | None = None,
        forever: bool = False,
        tell: Callable[[str], None] = print,
        pack: int = 1,
    ) -> None:
        if not has_queue(project.settings.profile):
            raise InputError(
                f"profile {project.settings.profile} has no queue",
                "set 'profile: slurm' in gst.yaml and run: gst init DIR --force; without a queue: gst launch",
            )
        if not slurm.available():
            raise MissingProgramError("sbatch and squeue are not on PATH", "load SLURM's module, or use a login node")
        self.project = project
        self.settings = project.settings.queue
        self.max_queued = max_queued or self.settings.max_queued
        self.forever = forever
        self.pack = pack
        self.log_file = project.private_dir / "queue" / "launcher.log"
        self._print = tell
        self._pad_in_use: LaunchPad | None = None
        self._backoffs: dict[str, _Backoff] = {}
        self._active: dict[int, tuple[str, str]] = {}
        self._quiet = self._unchanged = 0
        self._next_recovery = self._next_summary = 0.0
        self.failures = 0

    def run(self, stop: Event) -> None:
        """Launch until nothing is left or `stop` is set; SLURM jobs in the queue continue.

        Raises
        ------
        InputError
            Another launcher of the project runs, or its queue configs are invalid.
        """
        with _only_one(self.project), _log_to(self.log_file):
            queue_base(self.project)
            write_category_configs(self.project)
            self.project.runs_dir.mkdir(parents=True, exist_ok=True)
            self._report(f"at most {self.max_queued} jobs in the queue; log: {self.log_file}")
            trouble = _Backoff(self.project.settings.launch.poll_s, 60.0)
            while not stop.is_set():
                wait_s = self._round_or_wait(stop, trouble)
                if wait_s is None:
                    self._report("no job is left")
                    break
                stop.wait(wait_s)
            else:
                self._report("stopped; jobs in the queue continue, and gst launch --queue submits the rest")
        self._close()

    def _round_or_wait(self, stop: Event, trouble: _Backoff) -> float | None:
        """Do a round; return the wait until the next, s, or None if nothing is left."""
        try:
            finished = self._round(stop)
        except Exception as err:
            if (words := _trouble(err)) is None:
                raise
            self._close()
            wait_s = trouble.next_s()
            if trouble.count == 1:
                self._report(f"{words}; retrying until it works")
            return wait_s
        if trouble.count:
            self._report("working again")
            trouble.reset()
        # look less often while nothing happens
        slower = _SLOWER if self._unchanged > _SLOWER_AFTER else 1
        return None if finished else slower * self.project.settings.launch.poll_s

    # -- one round

    def _round(self, stop: Event) -> bool:
        """Recover, report and submit once; return whether no job is left."""
        pad = self._pad()
        if time.monotonic() >= self._next_recovery:
            self._recover()
            self._next_recovery = time.monotonic() + self.settings.recover_every_s
        ready, before = _ready(pad), self._active
        self._report_news(pad)
        self._unchanged = self._unchanged + 1 if before == self._active and not ready else 0
        room = self.max_queued - _in_queue(pad)
        while room > 0 and ready and not stop.is_set():
            # categories take turns, so that many labels do not delay a fit
            for category in list(ready):
                taken = self._submit_one(pad, category) if room > 0 and not stop.is_set() else 0
                room -= taken > 0
                ready[category] -= taken
                if not taken or ready[category] <= 0:
                    del ready[category]
        return self._is_finished(pad)

    def _is_finished(self, pad: LaunchPad) -> bool:
        """Whether nothing is ready, reserved or running in two consecutive rounds."""
        active = pad.fireworks.find_one({"state": {"$in": ["READY", "RESERVED", "RUNNING"]}}, {"_id": 1})
        self._quiet = 0 if active else self._quiet + 1
        if self.forever or self._quiet < _QUIET_ROUNDS:
            return False
        # the last failure may be one that runs again
        return not self._recover()

    def _recover(self) -> bool:
        """Recover lost fireworks; return whether any runs again."""
        found = recover(self.project)
        for item in found:
            self._report(str(item))
        return any(item.again for item in found)

    def _submit_one(self, pad: LaunchPad, category: str) -> int:
        """Submit a SLURM job for the next fireworks of a category; return how many, 0 for none or after a refusal."""
        backoff = self._backoffs.setdefault(category, _Backoff(self.settings.backoff_s, _LONGEST_BACKOFF_S))
        if not backoff.is_over():
            return 0
        worker, values = _worker_and_adapter(self.project, category)
        adapter = SlurmAdapter.from_dict({**values, "_fw_name": SlurmAdapter._fw_name})
        chosen = choose_together(pad, worker.query, values, self.pack) if self.pack > 1 else []
        with warnings.catch_warnings():
            # FireWorks warns of its working folder and its own adapter keys
            warnings.simplefilter("ignore")
            if len(chosen) > 1:
                job_id = submit_together(pad, adapter, chosen, self.project.runs_dir)
            else:
                job_id = self._submit_alone(pad, worker, adapter, chosen[0]["fw_id"] if chosen else None)
        if job_id:
            backoff.reset()
            return self._report_submitted(pad, category, str(job_id))
        if job_id is None:
            return 0
        # FireWorks hides the error: either the database is away, which raises here, or the submission failed
        pad.fireworks.find_one({}, {"_id": 1})
        why = SlurmAdapter.refusal or "see the log"
        fewer = f"; a smaller --pack than {self.pack} may fit" if len(chosen) > 1 else ""
        wait_s = backoff.next_s()
        self._report(f"sbatch refused a job of category {category} ({why}){fewer}; next try in {wait_s:.0f} s")
        return 0

    def _submit_alone(self, pad: LaunchPad, worker: FWorker, adapter: SlurmAdapter, fw_id: int | None) -> Any:
        """Submit a job for one firework; return its id, False if refused, None if none is ready."""
        from fireworks.queue.queue_launcher import launch_rocket_to_queue

        return launch_rocket_to_queue(
            pad,
            worker,
            adapter,
            launcher_dir=str(self.project.runs_dir),
            reserve=True,
            strm_lvl="CRITICAL",
            create_launcher_dir=True,
            fw_id=fw_id,
        )

    # -- messages

    def _report_submitted(self, pad: LaunchPad, category: str, job_id: str) -> int:
        """Report the fireworks of a SLURM job; return how many they are, at least one."""
        fw_ids = pad.launches.distinct("fw_id", {"state_history.reservation_id": job_id})
        fireworks = list(pad.fireworks.find({"fw_id": {"$in": fw_ids}}, {"name": 1, "fw_id": 1}).sort("fw_id", 1))
        names = ", ".join(firework["name"] for firework in fireworks) or "a job"
        self._report(f"submitted {names} ({category}) as SLURM job {job_id}")
        self._active |= {firework["fw_id"]: (firework["name"], "RESERVED") for firework in fireworks}
        return max(1, len(fireworks))

    def _report_news(self, pad: LaunchPad) -> None:
        """Report jobs that started or ended since the last round, and the totals once a minute."""
        fields = {"fw_id": 1, "name": 1, "state": 1}
        found = pad.fireworks.find({"state": {"$in": ["RESERVED", "RUNNING"]}}, fields)
        active = {firework["fw_id"]: (firework["name"], firework["state"]) for firework in found}
        for fw_id, (name, state) in active.items():
            before = self._active.get(fw_id)
            if state == "RUNNING" and before is not None and before[1] != "RUNNING":
                host = newest_attempt(pad.db, fw_id).get("host")
                self._report(f"{name}: started" + (f" on {host}" if host else ""))
        for fw_id in self._active.keys() - active.keys():
            self._report_end(pad, fw_id)
        self._active = active
        if time.monotonic() >= self._next_summary:
            self._next_summary = time.monotonic() + _SUMMARY_S
            counts = {state: pad.fireworks.count_documents({"state": state}) for state in _SHOWN}
            self._report("  ".join(f"{state.lower()} {number}" for state, number in counts.items() if number))

    def _report_end(self, pad: LaunchPad, fw_id: int) -> None:
        firework = pad.fireworks.find_one({"fw_id": fw_id}, {"name": 1, "state": 1}) or {}
        if firework.get("state") == "COMPLETED":
            self._report(f"{firework['name']}: done")
        elif firework.get("state") == "FIZZLED":
            self.failures += 1
            self._report(
                f"{firework['name']}: FAILED: {newest_attempt(pad.db, fw_id).get('reason', 'no reason was recorded')}"
            )

    def _report(self, line: str) -> None:
        if line:
            self._print(line)
            _log.info(line)

    # -- the launchpad

    def _pad(self) -> LaunchPad:
        if self._pad_in_use is None:
            # read again after trouble: a restarted server may have another port
            self._pad_in_use = launchpad(self.project)
        return self._pad_in_use

    def _close(self) -> None:
        if self._pad_in_use is not None:
            self._pad_in_use.connection.close()
        self._pad_in_use = None


_SHOWN = ("WAITING", "READY", "RESERVED", "RUNNING", "COMPLETED", "FIZZLED", "PAUSED")
_log = logging.getLogger("gst_jobflow.queue")


class _Backoff:
    """Waits that double, up to the longest."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self.first_s, self.longest_s = first_s, longest_s
        self.count, self.until = 0, 0.0

    def next_s(self) -> float:
        """Count a failure and return the wait, s."""
        wait_s = min(self.longest_s, self.first_s * 2.0 ** min(self.count, 20))
        self.count += 1
        self.until = time.monotonic() + wait_s
        return wait_s

    def is_over(self) -> bool:
        """Whether the wait has passed."""
        return time.monotonic() >= self.until

    def reset(self) -> None:
        """Forget the failures."""
        self.count, self.until = 0, 0.0


def _ready(pad: LaunchPad) -> dict[str, int]:
    """Return the number of ready fireworks by category."""
    groups = pad.fireworks.aggregate(
        [{"$match": {"state": "READY"}}, {"$group": {"_id": "$spec._category", "n": {"$sum": 1}}}]
    )
    counts: dict[str, int] = {}
    for group in groups:
        category = group["_id"] if group["_id"] in CATEGORIES else OTHER
        counts[category] = counts.get(category, 0) + group["n"]
    return counts


def _in_queue(pad: LaunchPad) -> int:
    """Return the number of SLURM jobs of reserved and running fireworks; a job that is not known yet counts, too."""
    began = {"state": "RUNNING", "state_history.reservation_id": {"$exists": True}}
    jobs = [
        reservation_of(launch)
        for launch in pad.launches.find({"$or": [{"state": "RESERVED"}, began]}, {"state_history": 1})
    ]
    return len({job for job in jobs if job}) + jobs.count(None)


def _worker_and_adapter(project: Project, category: str) -> tuple[FWorker, dict[str, Any]]:
    if category == OTHER:
        query = {"spec._category": {"$nin": list(CATEGORIES)}}
        return FWorker(f"{project.settings.profile}-{OTHER}", query=query), queue_base(project)
    worker, adapter = category_files(project, category)
    return FWorker.from_file(str(worker)), yaml.safe_load(adapter.read_text())


def _trouble(err: Exception) -> str | None:
    """Describe temporary trouble (database away, disk full); None for other errors."""
    if isinstance(err, DatabaseError):
        return f"the database does not answer ({err.message})"
    if type(err).__module__.split(".")[0] in ("pymongo", "bson"):
        # the driver's message may hold the URI
        return f"the database does not answer ({type(err).__name__})"
    return f"the file system fails ({err.strerror}: {err.filename})" if isinstance(err, OSError) else None


@contextlib.contextmanager
def _only_one(project: Project) -> Iterator[None]:
    """Hold the project's launcher lock, or refuse to launch beside another launcher."""
    project.private_dir.mkdir(mode=0o700, exist_ok=True)
    with (project.private_dir / "queue.lock").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            file.seek(0)
            raise InputError(
                f"another launcher of this project runs ({file.read().strip() or 'unknown process'})",
                "leave it running: it submits new work, too",
            ) from err
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
        file.truncate(0)


@contextlib.contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """Log our lines and FireWorks' submission errors to a private file of limited size."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(file, maxBytes=_LOG_KEPT_BYTES, backupCount=1, encoding="utf-8")
    file.chmod(0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    # FireWorks logs the traceback of a failed submission
    loggers = (_log, logging.getLogger("queue.launcher"))
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # FireWorks would add a handler to stdout
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
