"""Read the tables of a run: time series, kicks, layers, profiles along z.

A run may be killed while it writes, and continued from a restart file older than its last line. Readers skip torn
lines, and join segments at the step from which each one started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.base.segments import read_output, valid_until
from gst_jobflow.dynamics.deck import SERIES_COLUMNS
from gst_jobflow.dynamics.pulse import KICK_COLUMNS

Table = dict[str, "NDArray"]
_WHOLE = ("stage", "step", "kick")
_LAYER_HEAD = ("stage", "kick", "step", "low_A", "height_A")


@dataclass(frozen=True)
class ProfileFrame:
    """Bins along z at one time, averaged over the interval up to `step`; arrays of shape (bins,).

    Centre of the bin in Å, mean number of atoms, temperature in K, number density in 1/Å^3.
    """

    step: int
    z_A: NDArray
    count: NDArray
    temperature_K: NDArray
    density_A3: NDArray


def read_series(path: Path) -> Table:
    """Return the time series of one segment, columns of :data:`~gst_jobflow.dynamics.deck.SERIES_COLUMNS`.

    At a kick there are two rows of the same step: before it and after it. A missing file gives empty columns.
    """
    return _read_table(Path(path), SERIES_COLUMNS)


def read_kicks(path: Path) -> Table:
    """Return the logged velocity changes, columns of :data:`~gst_jobflow.dynamics.pulse.KICK_COLUMNS`."""
    return _read_table(Path(path), KICK_COLUMNS)


def read_layers(path: Path) -> Table:
    """Return the gain of each layer at each velocity change; a missing file gives no rows.

    Columns ``stage``, ``kick``, ``step``, ``low_A`` and ``height_A`` of the cell, and ``gained_eV``, shape
    (kicks, layers), lowest layer first.
    """
    text = read_output(Path(path))
    # all whole lines of a run have as many layers as the first
    number = text.partition("\n")[0].count(",") + 1 - len(_LAYER_HEAD)
    names = [f"layer {layer}" for layer in range(max(0, number))]
    table = _read_table(Path(path), (*_LAYER_HEAD, *names))
    gained = [table.pop(name) for name in names]
    return table | {"gained_eV": np.column_stack(gained) if gained else np.empty((0, 0))}


def _read_table(path: Path, columns: Sequence[str]) -> Table:
    rows: list[list[float]] = []
    text = read_output(path)
    # a torn last line may have lost digits and still parse
    for line in text[: text.rfind("\n") + 1].splitlines():
        cells = line.split(",")
        if len(cells) != len(columns):
            continue
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            continue
    data = np.array(rows, dtype=float).reshape(len(rows), len(columns))
    return {name: data[:, i].astype(int) if name in _WHOLE else data[:, i] for i, name in enumerate(columns)}


def join_segments(tables: Sequence[Table], start_steps: Sequence[int], keep_start: bool) -> Table:
    """Return one table of several segments, each of which started from a restart file at its start step.

    Parameters
    ----------
    tables
        In the order of time, all with the same columns, `step` among them.
    start_steps
        Step of the restart file of each segment (0 for the first).
    keep_start
        Whether to keep rows of an earlier segment at the start step of a later one. Yes for a time series, which was
        written before the restart file; no for kicks, since a restart file holds the state before the kick of its step,
        and the later segment makes and logs it again.
    """
    parts: list[Table] = []
    for table, later in zip(tables, valid_until(start_steps), strict=True):
        keep = np.ones(len(table["step"]), dtype=bool)
        if later is not None:
            keep = table["step"] <= later if keep_start else table["step"] < later
        if keep_start and _begins_with_the_end_of(table, parts):
            # LAMMPS also writes a row at the start of a run; an uncut run has it only at a change
            keep[:1] = False
        parts.append({name: column[keep] for name, column in table.items()})
    if not parts:
        return {}
    # an empty table does not know the number of layers
    filled = [part for part in parts if len(part["step"])] or parts[:1]
    return {name: np.concatenate([part[name] for part in filled]) for name in filled[0]}


def _begins_with_the_end_of(table: Table, parts: Sequence[Table]) -> bool:
    before = next((part for part in reversed(parts) if len(part["step"])), None)
    if before is None or not len(table["step"]):
        return False
    return all(np.array_equal(column[:1], before[name][-1:], equal_nan=True) for name, column in table.items())


def read_profiles(path: Path) -> list[ProfileFrame]:
    """Return the frames of a ``fix ave/chunk`` file without a torn last one; a missing file gives none."""
    text = read_output(Path(path))
    lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines() if line]
    frames, index, low, height = [], 0, 0.0, 1.0
    while index < len(lines):
        head, index = lines[index], index + 1
        if head[:2] == ["#", "low"] and len(head) == 5:
            low, height = float(head[2]), float(head[4])
        if len(head) != 3 or head[0] == "#":
            continue
        step, bins = int(head[0]), int(head[1])
        body, index = lines[index : index + bins], index + bins
        if len(body) == bins and all(len(row) == 5 for row in body):
            values = np.array(body, dtype=float)
            frames.append(ProfileFrame(step, low + height * values[:, 1], *values[:, 2:].T))
    return frames


def join_profiles(segments: Sequence[list[ProfileFrame]], start_steps: Sequence[int]) -> list[ProfileFrame]:
    """Return the profiles of a chain of segments, see :func:`join_segments`."""
    joined = []
    for frames, later in zip(segments, valid_until(start_steps), strict=True):
        joined += [frame for frame in frames if later is None or frame.step <= later]
    return joined
