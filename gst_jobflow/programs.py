"""The programs of a project, as its settings say or as found."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gst_jobflow.errors import MissingProgramError

if TYPE_CHECKING:
    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.fitting.run import PacemakerRunner
    from gst_jobflow.settings import Settings


def cores() -> int:
    """Cores that this job may use: what SLURM allots, else all that the process may run on."""
    if allotted := os.environ.get("SLURM_NTASKS"):
        return int(allotted)
    return len(os.sched_getaffinity(0))


def lammps_engine(settings: Settings) -> LammpsEngine:
    """LAMMPS with ML-PACE.

    Raises
    ------
    MissingProgramError
        There is none.
    """
    from gst_jobflow.dynamics.engine import LammpsEngine

    wanted = settings.lammps
    return LammpsEngine.discover(
        command=wanted.command,
        mpi_command=wanted.mpi_command,
        ranks=wanted.ranks or cores(),
        plugin_path=wanted.plugin_path,
    )


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
