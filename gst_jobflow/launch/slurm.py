"""Ask SLURM about jobs: which wait or run, and how others ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gst_jobflow.base.errors import MissingProgramError, RunError

ENDED = {
    "BOOT_FAIL": "node",
    "CANCELLED": "cancelled",
    "COMPLETED": "killed",
    "DEADLINE": "walltime",
    "FAILED": "killed",
    "NODE_FAIL": "node",
    "OUT_OF_MEMORY": "out_of_memory",
    "PREEMPTED": "node",
    "REVOKED": "cancelled",
    "TIMEOUT": "walltime",
}
"""States of jobs that have ended, and the class of failure of a run that they ended."""

_WORDS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "DEADLINE": "it passed its deadline",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it needed more memory than it had",
    "PREEMPTED": "it was preempted",
    "TIMEOUT": "it passed its time limit",
}
# the folder comes last, since it may hold any character
_FIELDS = ("%i", "%T", "%r", "%S", "%e", "%N", "%Z")
_WAIT_S = 60.0


@dataclass(frozen=True)
class QueueJob:
    """A job as SLURM sees it; times are UTC, and future ones are SLURM's estimates."""

    id: str
    state: str
    reason: str = ""
    starts: datetime | None = None
    ends: datetime | None = None
    nodes: str = ""
    directory: str = ""

    @property
    def alive(self) -> bool:
        """Whether it waits, starts or runs."""
        return self.state not in ENDED

    @property
    def waits(self) -> bool:
        """Whether no part of it runs yet."""
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")

    @property
    def failure_class(self) -> str:
        """The failure class of a run that ended with the job."""
        return ENDED.get(self.state, "killed")

    @property
    def end_in_words(self) -> str:
        """The end of the job in words."""
        where = f" ({self.nodes})" if self.nodes and self.state in ("NODE_FAIL", "OUT_OF_MEMORY") else ""
        return f"{_WORDS.get(self.state, f'it ended ({self.state.lower()})')}{where}"


def available() -> bool:
    """Whether SLURM's commands are on PATH."""
    return shutil.which("squeue") is not None and shutil.which("sbatch") is not None


def my_jobs() -> dict[str, QueueJob]:
    """Return jobs of this user by id: waiting, running, and recently ended ones.

    Raises
    ------
    MissingProgramError
        `squeue` is missing.
    RunError
        SLURM does not answer, so nothing is known about any job.
    """
    command = ["squeue", "-h", "-a", "-t", "all", "-u", str(os.getuid()), "-o", "|".join(_FIELDS)]
    jobs = (_of_line(line) for line in _ask(command).splitlines() if line.count("|") >= len(_FIELDS) - 1)
    return {job.id: job for job in jobs}


def ended(ids: Sequence[str]) -> dict[str, QueueJob]:
    """Return from the accounting how jobs ended that the queue has forgotten; empty without accounting."""
    if not ids or shutil.which("sacct") is None:
        return {}
    command = ["sacct", "-n", "-P", "-X", "-j", ",".join(ids), "-o", "JobID,State,NodeList"]
    try:
        lines = _ask(command).splitlines()
    except RunError:  # many clusters keep no accounting
        return {}
    found = {}
    for line in lines:
        job_id, state, nodes = [*line.split("|"), "", ""][:3]
        # 'CANCELLED by 1000'
        found[job_id] = QueueJob(job_id, (state.split() or [""])[0], nodes=nodes)
    return found


def scancel(ids: Iterable[str]) -> None:
    """Cancel jobs, in one call.

    Raises
    ------
    RunError
        SLURM refuses.
    """
    if words := list(ids):
        _ask(["scancel", *words])


def _of_line(line: str) -> QueueJob:
    job_id, state, reason, starts, ends, nodes, directory = line.split("|", len(_FIELDS) - 1)
    return QueueJob(job_id, state, reason, _time(starts), _time(ends), nodes, directory)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:  # 'N/A'
        return None


def _ask(command: list[str]) -> str:
    """Run a short SLURM command with times in UTC, and return what it printed."""
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    environment.pop("SLURM_TIME_FORMAT", None)
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WAIT_S,
            check=False,
            # Ctrl-C must not interrupt SLURM's command
            start_new_session=True,
        )
    except OSError as err:
        raise MissingProgramError(f"{command[0]} does not start: {err.strerror}", "load SLURM's module") from err
    except subprocess.TimeoutExpired as err:
        raise RunError(f"{command[0]} does not answer within {_WAIT_S:g} s", "try again later", "queue") from err
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or "it printed nothing"
        raise RunError(f"{command[0]} ended with code {done.returncode}: {words[:300]}", "try again later", "queue")
    return done.stdout
