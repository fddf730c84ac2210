"""Count the cores and MPI ranks that a job may use on its nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import CORES_VARIABLE

_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cores of this node a job may use.

    A local worker's share comes first, then SLURM's tasks on this node times the cores of each, then every core that
    this process may run on.
    """
    if given := _given(environment):
        return given
    tasks = _tasks_per_node(environment)
    if not tasks:
        return len(os.sched_getaffinity(0))
    # a job script runs on the first node; SLURM may count hardware threads there, which the job did not request
    asked = tasks[0] * int(environment.get("SLURM_CPUS_PER_TASK") or 1)
    return max(1, min(asked, int(environment.get("SLURM_CPUS_ON_NODE") or asked)))


def mpi_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many MPI ranks a job may start: SLURM's tasks on all nodes, else one rank a core."""
    if given := _given(environment):
        return given
    return sum(_tasks_per_node(environment)) or cores(environment)


def cores_of_all_nodes(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cores a job holds: SLURM's tasks on all nodes times the cores of each, else this node's."""
    if _given(environment) or not (tasks := _tasks_per_node(environment)):
        return cores(environment)
    return sum(tasks) * int(environment.get("SLURM_CPUS_PER_TASK") or 1)


def _given(environment: Mapping[str, str]) -> int | None:
    text = environment.get(CORES_VARIABLE, "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise InputError(f"{CORES_VARIABLE}={text} is not a number of cores", "unset it or set it to 1 or more")
    return int(text) if text else None


def _tasks_per_node(environment: Mapping[str, str]) -> list[int]:
    """Return SLURM's tasks on each node of this job, by default one, from text as '4(x2),1'; none outside a job."""
    if not environment.get("SLURM_JOB_ID"):
        return []
    parts = _TASKS.findall(environment.get("SLURM_TASKS_PER_NODE", "1"))
    return [int(tasks) for tasks, times in parts for _ in range(int(times or 1))]
