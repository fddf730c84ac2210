"""Talk to SLURM: submit and cancel jobs, ask which wait or run, and how others ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.base.settings import ENV_PREFIX, PROJECT_VARIABLE

ENDED = {
    "BOOT_FAIL": ("node", "its node did not start"),
    "CANCELLED": ("cancelled", "it was cancelled"),
    "COMPLETED": ("killed", "it ended (completed)"),
    "DEADLINE": ("walltime", "it passed its deadline"),
    "FAILED": ("killed", "it ended (failed)"),
    "NODE_FAIL": ("node", "its node failed"),
    "OUT_OF_MEMORY": ("out_of_memory", "it needed more memory than it had"),
    "PREEMPTED": ("node", "it was preempted"),
    "REVOKED": ("cancelled", "it ended (revoked)"),
    "TIMEOUT": ("walltime", "it passed its time limit"),
}
"""States of ended jobs: the failure class of a run that ended with them, and the end in words."""
_IDS_AT_ONCE = 200
# the folder comes last, since it may contain the separator
_FIELDS = ("%i", "%T", "%r", "%S", "%e", "%N", "%Z")
_WAIT_S = 120.0


@dataclass(frozen=True)
class QueueJob:
    """A job in SLURM; times are UTC, future ones estimates."""

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
    def end(self) -> tuple[str, str]:
        """Return the failure class of a run that ended with the job, and the end in words."""
        failure_class, words = ENDED.get(self.state, ("killed", f"it ended ({self.state.lower()})"))
        where = f" ({self.nodes})" if self.nodes and self.state in ("NODE_FAIL", "OUT_OF_MEMORY") else ""
        return failure_class, words + where


def available() -> bool:
    """Whether SLURM's commands are on PATH."""
    return shutil.which("squeue") is not None and shutil.which("sbatch") is not None


def my_jobs() -> dict[str, QueueJob]:
    """Return waiting, running and recently ended jobs of this user by id; raises as `ask_slurm`."""
    command = ["squeue", "-h", "-a", "-t", "all", "-u", str(os.getuid()), "-o", "|".join(_FIELDS)]
    jobs = (_of_line(line) for line in ask_slurm(command).splitlines() if line.count("|") >= len(_FIELDS) - 1)
    return {job.id: job for job in jobs}


def ended(ids: Sequence[str]) -> dict[str, QueueJob]:
    """Return from the accounting how jobs ended that have left the queue; empty without accounting."""
    found = {}
    for line in _sacct(ids, "JobID,State,NodeList", "-X"):
        job_id, state, nodes = [*line.split("|"), "", ""][:3]
        # 'CANCELLED by 1000'
        found[job_id] = QueueJob(job_id, (state.split() or [""])[0], nodes=nodes)
    return found


def energy_J(ids: Sequence[str]) -> dict[str, float]:
    """Return the energy of jobs that the accounting has measured, J; a job without is left out.

    SLURM counts the nodes of a job, so jobs that shared a node count twice what they shared.
    """
    found: dict[str, float] = {}
    for batch in batches(ids, _IDS_AT_ONCE):
        lines = _sacct(batch, "JobID,ConsumedEnergyRaw")
        by_line = {name: _number(value) for name, _, value in (line.partition("|") for line in lines)}
        for job_id in batch:
            # where the line of the job is 0, the programs that srun started are its numbered steps
            steps = sum(by_line[name] for name in by_line if re.fullmatch(rf"{re.escape(job_id)}\.\d+", name))
            if (joules := by_line.get(job_id) or steps) > 0:
                found[job_id] = joules
    return found


def _sacct(ids: Sequence[str], fields: str, *more: str) -> list[str]:
    """Return the lines of the accounting on jobs; none where there is no accounting."""
    if not ids or shutil.which("sacct") is None:
        return []
    try:
        return ask_slurm(["sacct", "-n", "-P", *more, "-j", ",".join(ids), "-o", fields]).splitlines()
    except RunError:  # many clusters keep no accounting
        return []


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # empty where energy is not measured
        return 0.0


def scancel(ids: Iterable[str]) -> None:
    """Cancel jobs; raises as `ask_slurm`."""
    if words := list(ids):
        ask_slurm(["scancel", *words])


def _of_line(line: str) -> QueueJob:
    job_id, state, reason, starts, ends, nodes, directory = line.split("|", len(_FIELDS) - 1)
    return QueueJob(job_id, state, reason, _time(starts), _time(ends), nodes, directory)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:  # 'N/A'
        return None


def sbatch(*arguments: str, folder: Path | None = None) -> str:
    """Run sbatch and return what it printed; raises as `ask_slurm`, and RunError if SLURM refuses the job.

    SLURM stores the environment of a job. So the URI of the database, which holds a password, stays out if the job can
    read it from the project's private file.
    """
    environment = dict(os.environ)
    project = environment.get(PROJECT_VARIABLE)
    if project and (Path(project) / ".gst" / "mongo_uri").is_file():
        environment.pop(f"{ENV_PREFIX}MONGO__URI", None)
    return _run(["sbatch", *arguments], environment, folder)


def ask_slurm(command: list[str]) -> str:
    """Run a short SLURM command with times in UTC, and return what it printed.

    Raises
    ------
    MissingProgramError
        The command is missing.
    RunError
        SLURM does not answer.
    """
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    environment.pop("SLURM_TIME_FORMAT", None)
    return _run(command, environment)


def _run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WAIT_S,
            check=False,
            # Ctrl-C must not interrupt it between SLURM's answer and our record
            start_new_session=True,
        )
    except OSError as err:
        raise MissingProgramError(f"{command[0]} does not start: {err.strerror}", "load SLURM's module") from err
    except subprocess.TimeoutExpired as err:
        raise RunError(f"{command[0]} does not answer within {_WAIT_S:g} s", "try again later", "queue") from err
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or "it printed nothing"
        raise RunError(
            f"{command[0]} ended with exit code {done.returncode}: {words[:500]}", "try again later", "queue"
        )
    return done.stdout
