"""The programs of a project, as its settings say or as found, and how many cores and ranks a job may use."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import InputError, MissingProgramError, RunError
from gst_jobflow.base.settings import CORES_VARIABLE

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Settings
    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.fitting.run import PacemakerRunner

logger = logging.getLogger(__name__)


_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cores of this node a job may use.

    That is what its local worker was given, or SLURM's tasks on this node times their cores, else all that the process
    may run on.
    """
    if given := _given(environment):
        return given
    tasks = _tasks_per_node(environment)
    if not tasks:
        return len(os.sched_getaffinity(0))
    # the script of a job runs on its first node; cores there may be hardware threads, which nobody asked for
    asked = tasks[0] * int(environment.get("SLURM_CPUS_PER_TASK") or 1)
    return max(1, min(asked, int(environment.get("SLURM_CPUS_ON_NODE") or asked)))


def ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many MPI ranks a job may start: on all nodes of a SLURM job, else as many as it has cores."""
    if given := _given(environment):
        return given
    return sum(_tasks_per_node(environment)) or cores(environment)


def _given(environment: Mapping[str, str]) -> int | None:
    text = environment.get(CORES_VARIABLE, "")
    if text and not (text.isdigit() and int(text) > 0):
        raise InputError(f"{CORES_VARIABLE}={text}: not a number of cores", f"unset {CORES_VARIABLE}")
    return int(text) if text else None


def _tasks_per_node(environment: Mapping[str, str]) -> list[int]:
    """Return SLURM's tasks on each node of this job, of a text like '4(x2),1'; empty outside of a job.

    A job that asked for cores but not for tasks has one task on each node.
    """
    if not environment.get("SLURM_JOB_ID"):
        return []
    parts = _TASKS.findall(environment.get("SLURM_TASKS_PER_NODE", "1"))
    return [int(tasks) for tasks, times in parts for _ in range(int(times or 1))]


def lammps_engine(settings: Settings, n_ranks: int | None = None) -> LammpsEngine:
    """LAMMPS with ML-PACE, on `n_ranks` MPI ranks without GPUs; None: as many as the settings say, or the job has.

    Raises
    ------
    MissingProgramError
        There is none.
    """
    from gst_jobflow.dynamics.engine import LammpsEngine

    wanted = settings.lammps
    # outside of a queue each GPU gets its rank
    usual = wanted.gpus if wanted.gpus and not os.environ.get("SLURM_JOB_ID") else ranks()
    engine = LammpsEngine.discover(
        command=wanted.command,
        mpi_command=wanted.mpi_command,
        ranks=n_ranks or wanted.ranks or usual,
        plugin_path=wanted.plugin_path,
        gpus=0 if n_ranks else wanted.gpus,
    )
    if engine.ranks > 1 and wanted.mpi_command is None and os.environ.get("SLURM_JOB_ID"):
        return _through_slurm(engine)
    return engine


_SRUN = ("srun -n {ranks}", "srun --mpi=pmi2 -n {ranks}", "srun --mpi=pmix -n {ranks}")


def _through_slurm(engine: LammpsEngine) -> LammpsEngine:
    """Return the engine with the first MPI command whose ranks join into one run in this SLURM job, by trying.

    The mpirun beside a program is of its MPI, and starts its ranks through srun by itself; a cluster's own LAMMPS wants
    the cluster's srun.

    Raises
    ------
    RunError
        None does.
    """
    commands = [engine.mpi_command, *_SRUN] if _has_own_mpi(engine) else [*_SRUN, engine.mpi_command]
    for command in commands:
        tried = engine.model_copy(update={"mpi_command": command})
        try:
            tried.smoke_test()
        except (RunError, MissingProgramError) as err:
            logger.info("%s does not run LAMMPS here: %s", command, err.message)
            continue
        return tried
    raise RunError(
        f"no MPI command starts {engine.command[0]} on {engine.ranks} ranks of this SLURM job: tried {commands}",
        "set lammps.mpi_command in gst.yaml to what your cluster says, for example 'srun --mpi=pmix -n {ranks}'",
        "bad_input",
    )


def _has_own_mpi(engine: LammpsEngine) -> bool:
    """Whether the MPI command is an mpirun of the environment that LAMMPS itself is in, as with Python's package."""
    mpirun, program = Path(shlex.split(engine.mpi_command)[0]), Path(engine.command[0])
    return mpirun.is_absolute() and program.is_relative_to(mpirun.parent.parent)


def pacemaker_runner(settings: Settings) -> PacemakerRunner:
    """pacemaker and its tools.

    Raises
    ------
    MissingProgramError
        They are not there.
    """
    from gst_jobflow.fitting.run import PacemakerRunner

    wanted = settings.pacemaker
    threads = wanted.threads or cores()
    if wanted.bin_dir is None:
        return PacemakerRunner.discover(threads=threads)
    programs = {name: wanted.bin_dir / name for name in ("pacemaker", "pace_yaml2yace", "pace_activeset")}
    if missing := [str(path) for path in programs.values() if not path.is_file()]:
        raise MissingProgramError(f"{missing[0]} does not exist", "correct the setting pacemaker.bin_dir")
    return PacemakerRunner(**programs, threads=threads)
