"""Share the cores of a machine among the jobs of its local workers."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from pymongo.database import Database

from gst_jobflow.base.settings import CORES_VARIABLE, WORKERS_VARIABLE
from gst_jobflow.documents import now


@dataclass
class _Share:
    """Cores of the job in this process: each number with the time from which the job has it (`time.monotonic`, s)."""

    began: datetime
    cores: list[tuple[float, int]] = field(default_factory=list)


_share = _Share(now())


def begin_share(database: Database, job_uuid: str) -> None:
    """Set the cores of a job that begins in this process; see `share_cores`."""
    _share.began = now()
    _share.cores.clear()
    share_cores(database, job_uuid)


def share_cores(database: Database, job_uuid: str) -> None:
    """Set the cores of the job in this process: local workers share those of the machine.

    Running and ready jobs get equal shares, and the first ones what is left. A job that is alone takes all cores. One
    that can use more or fewer while it runs asks again.
    """
    workers = os.environ.get(WORKERS_VARIABLE)
    if not workers:
        return
    others = {"state": "running", "host": socket.gethostname(), "job_uuid": {"$ne": job_uuid}}
    starts = [each["started_at"] for each in database["attempts"].find(others, {"started_at": 1})]
    ready = database["fireworks"].count_documents({"state": "READY"})
    busy = max(1, min(int(workers), len(starts) + ready + 1))
    share, left = divmod(len(os.sched_getaffinity(0)), busy)
    earlier = sum(start < _share.began for start in starts)
    cores = max(1, share + (earlier < left))
    os.environ[CORES_VARIABLE] = str(cores)
    _share.cores.append((monotonic(), cores))


def mean_cores() -> int | None:
    """Return the mean share of the job in this process up to now; None if it shares with nobody."""
    if not _share.cores:
        return None
    ends = [*(since for since, _ in _share.cores[1:]), monotonic()]
    core_s = sum((end - since) * cores for (since, cores), end in zip(_share.cores, ends, strict=True))
    return max(1, round(core_s / max(ends[-1] - _share.cores[0][0], 1e-9)))
