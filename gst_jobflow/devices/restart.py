"""Write binary restart files of device cells with LAMMPS."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from gst_jobflow.devices.cell.files import DeviceFiles, group_commands
from gst_jobflow.devices.cell.replicate import Replicated, restart_commands
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.single_point import end_line


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
        commands = [
            "units metal",
            "atom_style atomic",
            "boundary p p p",
            f"read_data {shlex.quote(str(cell.data.resolve()))}",
            *group_commands(cell.groups),
            *restart_commands(restart),
        ]
    with tempfile.TemporaryDirectory(prefix=".gst_restart_", dir=restart.parent) as folder:
        engine.run("\n".join([*commands, end_line(), ""]), Path(folder)).require_success()
