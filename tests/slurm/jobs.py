"""Jobs that tests put into the queue; the nodes import them from here."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from jobflow import Flow, Response, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores, mpi_ranks

VARIABLES = ("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_JOB_PARTITION", "SLURM_JOB_ACCOUNT")


@job
def where() -> dict[str, Any]:
    """What this job was given."""
    return {"cores": cores(), "ranks": mpi_ranks(), **{name: os.environ.get(name, "") for name in VARIABLES}}


@job
@in_category("md")
def where_md() -> dict[str, Any]:
    """What a job of molecular dynamics was given."""
    return {"cores": cores(), "ranks": mpi_ranks(), **{name: os.environ.get(name, "") for name in VARIABLES}}


@job
@in_category("md")
def lammps_step() -> dict[str, Any]:
    """A step of LAMMPS on all ranks of this job."""
    from gst_jobflow.base.settings import find_project
    from gst_jobflow.dynamics.find_lammps import lammps_engine

    engine = lammps_engine(find_project().settings)
    return {"ranks": engine.ranks, "version": engine.smoke_test()}


@job
@in_category("labels")
def double(n: int) -> int:
    return 2 * n


@job
@in_category("labels")
def where_label(wait_s: float = 0.0) -> dict[str, Any]:
    """What a label was given, and when it ran."""
    began = time.time()
    time.sleep(wait_s)
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    return {"cores": cores(), "ranks": mpi_ranks(), "began": began, "ended": time.time(), **given}


@job
@in_category("analysis")
def grow(n: int) -> Response:
    """Add jobs that were not there at submission."""
    return Response(replace=Flow([double(i) for i in range(n)]))


@job
@in_category("labels")
def wait_once(marker: str) -> str:
    """Wait to be ended the first time; end at once when run again."""
    file = Path(marker)
    if file.exists():
        return "again"
    file.write_text(str(os.getpid()))
    time.sleep(300)
    return "first"
