"""Record every execution of a job: where it ran and how it ended. A rerun adds a record."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from gst_jobflow.base.cores import cores_of_all_nodes
from gst_jobflow.base.disk import DISK_FULL, FIX, has_room, is_full, says_full
from gst_jobflow.base.errors import (
    DatabaseError,
    DataError,
    GstError,
    InputError,
    MissingProgramError,
    NoDocumentError,
    RunError,
)
from gst_jobflow.base.processes import is_alive
from gst_jobflow.documents import Attempt, derive_id, now
from gst_jobflow.store import Results
from gst_jobflow.store.share import mean_cores

# programs fail in many ways on a full disk
_PERHAPS_THE_DISK = ("crash", "missing_output", "unexpected", "data")


@contextmanager
def recorded(
    results: Results, job_uuid: str, job_name: str, fw_id: int | None, worker: str = "", number: int = 1
) -> Iterator[Attempt]:
    """Record the body as an attempt: `running`, then `finished`, or `failed` with class, reason and remedy.

    A killed process leaves `running`, which `gst recover` turns into `lost`.

    Neither write waits for the disk, since FireWorks' own writes before and after do: a launch recorded as ended
    implies a recorded attempt. If a killed server lost the attempt of a running launch, `gst recover` finds it in the
    manifest.
    """
    attempt = _begin(results, job_uuid, job_name, fw_id, worker, number)
    try:
        yield attempt
    except BaseException as err:
        kind = failure_class_here(err)
        end: dict[str, Any] = {"state": "failed", "failure_class": kind, "reason": _one_line(err)}
        if kind == DISK_FULL:
            end["fix"] = FIX
        elif isinstance(err, GstError):
            end["fix"] = err.fix
        _end(results, attempt, end)
        raise
    _end(results, attempt, {"state": "finished"})


def _begin(results: Results, job_uuid: str, job_name: str, fw_id: int | None, worker: str, number: int) -> Attempt:
    pid, started = os.getpid(), now()
    attempt = Attempt(
        id=derive_id("attempt", job_uuid, socket.gethostname(), pid, started.isoformat()),
        job_uuid=job_uuid,
        job_name=job_name,
        fw_id=fw_id,
        number=number,
        state="running",
        host=socket.gethostname(),
        pid=pid,
        process_started=_process_started(pid),
        slurm_job_id=os.environ.get("SLURM_JOB_ID"),
        worker=worker,
        directory=str(Path.cwd()),
        cores=cores_of_all_nodes(),
        started_at=started,
    )
    results.add(attempt, durable=False)
    return attempt


@lru_cache(maxsize=1)
def _process_started(pid: int) -> float:
    return psutil.Process(pid).create_time()


def _end(results: Results, attempt: Attempt, values: dict[str, Any]) -> None:
    ended, cores = now(), mean_cores()
    if cores and cores != attempt.cores:
        values["cores"] = cores
    try:
        results.update("attempts", attempt.id, {**values, "ended_at": ended.isoformat()}, durable=False)
    except NoDocumentError:
        # a server killed right after the start lost it
        results.add(attempt.model_copy(update={**values, "ended_at": ended}), durable=False)


def failure_class(err: BaseException) -> str:
    """Return the class of a failure; docs/errors.md lists them."""
    if is_full(err) or (isinstance(err, RunError) and says_full(err.message)):
        return DISK_FULL
    if isinstance(err, RunError):
        return err.failure_class
    classes = {
        InputError: "bad_input",
        MissingProgramError: "missing_program",
        DatabaseError: "database",
        DataError: "data",
        MemoryError: "out_of_memory",
        KeyboardInterrupt: "interrupted",
    }
    for kind, name in classes.items():
        if isinstance(err, kind):
            return name
    # driver errors that pass through jobflow's store
    return "database" if type(err).__module__.split(".")[0] == "pymongo" else "unexpected"


def failure_class_here(err: BaseException) -> str:
    """Return the class of a failure in the current directory, where a full disk may be the cause."""
    kind = failure_class(err)
    return DISK_FULL if kind in _PERHAPS_THE_DISK and not has_room(Path.cwd()) else kind


def _one_line(err: BaseException) -> str:
    text = err.message if isinstance(err, GstError) else f"{type(err).__name__}: {err}"
    return " ".join(text.split())[:500]


def process_lives(attempt: Attempt) -> bool:
    """Whether the process of an attempt on this host still runs; pids are reused, so its start time must agree."""
    return is_alive(attempt.pid, attempt.process_started)
