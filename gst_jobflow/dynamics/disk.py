"""Forecast the disk space of a run before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.stages import Protocol, Relax

# Bytes of an atom, measured on a melt of 10,400 atoms: a gzipped frame of id, type, x, y, z with 4 decimals takes 12.6,
# each further column of such numbers 3.4, a decimal more 0.6 in each; image flags 0.2 each. A binary restart file takes
# 88, a data file with velocities 130.
_FRAME_BYTES, _COLUMN_BYTES, _DIGIT_BYTES, _IMAGE_BYTES = 12.6, 3.4, 0.6, 0.2
_RESTART_BYTES, _DATA_BYTES = 88.0, 130.0
# restart files: two generations, that of a stop, the last; data files: start and end
_STATE_BYTES = 4 * _RESTART_BYTES + 2 * _DATA_BYTES
# thermo rows, kicks, layers and profiles are small in comparison
_TABLES_BYTES_PER_STEP = 4.0
# frames and the end are copied into the artifact folder, which may be on the same disk
_COPIES = 2


def frame_bytes(output: Output) -> float:
    """Return the expected bytes of one atom in one dumped frame."""
    more = 3 * output.dump_velocities + (output.gamma_every > 0)
    digits = _DIGIT_BYTES * (3 + more) * (output.dump_digits - 4)
    return max(4.0, _FRAME_BYTES + _COLUMN_BYTES * more + 3 * _IMAGE_BYTES * output.dump_images + digits)


def forecast_bytes(
    protocol: Protocol, n_atoms: int, output: Output, done_steps: int = 0, measured: float | None = None
) -> float:
    """Return the bytes that the rest of a run will take: frames, restart files, states, tables.

    `done_steps` are already on disk; `measured` are the bytes of an atom in a frame, if measured on similar runs.
    """
    steps = protocol.total_steps - done_steps
    frames = steps // output.dump_every + 1 if output.dump_every else 0
    per_atom = (
        _COPIES * frames * (measured or frame_bytes(output)) + _STATE_BYTES + _COPIES * (_DATA_BYTES + _RESTART_BYTES)
    )
    # each relaxation keeps two restart files of its own
    per_atom += 2 * _RESTART_BYTES * sum(isinstance(stage, Relax) for stage in protocol.stages)
    return n_atoms * per_atom + _TABLES_BYTES_PER_STEP * steps


def check_disk(directory: Path, needed_bytes: float, what: str) -> None:
    """Refuse a run that needs more bytes than the disk of `directory` has free; raises InputError."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise InputError(
            f"{what} will write about {needed_bytes / 1e9:,.3g} GB, and {directory} has {free / 1e9:,.3g} GB free",
            "free some space, move runs_dir, or write fewer frames (output.dump_every)",
        )
