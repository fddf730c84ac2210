"""Write binary restart files of device cells with LAMMPS."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gst_jobflow.devices.cell.files import DeviceFiles
from gst_jobflow.devices.cell.replicate import Replicated, data_restart_commands
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.log import FINISHED_WORD


def write_restart(cell: DeviceFiles | Replicated, restart: Path, engine: LammpsEngine | None = None) -> None:
    """Let LAMMPS read or replicate a written cell, and write a restart file with its groups.

    The file holds no potential: give ``pair_style`` and ``pair_coeff`` after ``read_restart``. The default `engine` is
    that of `LammpsEngine.discover`. Raises MissingProgramError if there is none, and RunError if LAMMPS fails.
    """
    engine = engine or LammpsEngine.discover()
    restart = restart.resolve()
    if isinstance(cell, Replicated):
        commands = [f"shell cd '{cell.deck.resolve().parent}'", *cell.deck.read_text().splitlines()]
    else:
        commands = data_restart_commands(cell, restart)
    commands.append(f'print "{FINISHED_WORD} step 0"')
    with tempfile.TemporaryDirectory(prefix=".gst_restart_", dir=restart.parent) as folder:
        engine.run("\n".join(commands) + "\n", Path(folder)).require_success()
