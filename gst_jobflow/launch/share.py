"""Share the cores of a machine among the jobs of its local workers."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from gst_jobflow.base.settings import CORES_VARIABLE, WORKERS_VARIABLE

if TYPE_CHECKING:
    from pymongo.database import Database


def share_cores(database: Database) -> None:
    """Set the cores of the job that starts in this process, if local workers share this machine.

    Running and ready jobs share the cores equally, so a job that is alone takes all of them.
    """
    workers = os.environ.get(WORKERS_VARIABLE)
    if not workers:
        return
    beside = database["attempts"].count_documents({"state": "running", "host": socket.gethostname()})
    ready = database["fireworks"].count_documents({"state": "READY"})
    busy = max(1, min(int(workers), beside + ready + 1))
    os.environ[CORES_VARIABLE] = str(max(1, len(os.sched_getaffinity(0)) // busy))
