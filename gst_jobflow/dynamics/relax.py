"""Relax many small cells under pressure, several at a time; what collapses or does not converge is a result, too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from pydantic import Field

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import RunError
from gst_jobflow.base.processes import run_program
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.dynamics.deck import PotentialFiles, pair_lines
from gst_jobflow.dynamics.engine import LammpsEngine

State = Literal["converged", "unfinished", "collapsed", "swollen", "crashed"]
_PROGRAM = "gst_jobflow.dynamics.relax_program"
_FOREVER_S = 1e9


class RelaxOptions(StrictModel):
    """How cells are relaxed: atoms and cell together, under hydrostatic pressure."""

    steps: int = Field(300, ge=1, description="Most steps of the optimiser")
    force_eV_A: float = Field(0.05, gt=0, description="Converged where every force, and the cell's, is below it, eV/Å")
    frame_every: int = Field(10, ge=1, description="Steps between frames on the way that are kept")
    floors_A: dict[str, float] = Field(
        default_factory=dict,
        description="Contact by pair below which a cell has collapsed, Å; else floor_share of the covalent radii",
    )
    floor_share: float = Field(0.5, gt=0, lt=1, description="Under pressure contacts are shorter than in a melt")


@dataclass(frozen=True)
class Relaxed:
    """What became of a cell.

    `frames` are the sound ones on the way, the last one last; their `info` holds `step`, `enthalpy_eV` (E + PV) and
    `potential_eV`.
    """

    state: State
    reason: str
    steps: int
    frames: list[Atoms]


def relax(
    engine: LammpsEngine,
    potential: PotentialFiles,
    cells: Sequence[Atoms],
    pressures_GPa: Sequence[float],
    options: RelaxOptions,
    directory: Path,
    n_processes: int = 1,
    deadline: Deadline | None = None,
) -> list[Relaxed | None]:
    """Relax cells in `directory`, `n_processes` at a time, or go on with those that have no result there yet.

    Cells have a pressure each. None is begun after the deadline, and those that it leaves out have the result None.
    Raises RunError if the program cannot compute at all.
    """
    from ase.io import write

    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "cells.extxyz", list(cells), format="extxyz")
    job = {
        **options.model_dump(),
        "cells": "cells.extxyz",
        "pressures_GPa": list(pressures_GPa),
        "pair_lines": pair_lines(potential, "recursive"),
        "elements": potential.elements,
        "until": time.time() + _FOREVER_S if deadline is None else deadline.stop,
    }
    # large ones first, dealt out in turn: processes then end at about the same time
    order = sorted(range(len(cells)), key=lambda index: (-len(cells[index]), index))
    shares = [order[first::n_processes] for first in range(min(n_processes, len(cells)))]
    with ThreadPoolExecutor(max(1, len(shares))) as pool:
        list(pool.map(lambda share: _run(engine, directory, job, share), shares))
    return [_read(directory, index) for index in range(len(cells))]


def _run(engine: LammpsEngine, directory: Path, job: dict[str, Any], share: list[int]) -> None:
    """Run the program on a share of the cells; one that ends it is marked, and the others go on."""
    name = f"job_{share[0]}"
    while missing := [index for index in share if not _result(directory, index).exists()]:
        write_text(directory / f"{name}.json", json.dumps({**job, "indices": missing}), durable=False)
        command = [sys.executable, "-m", _PROGRAM, f"{name}.json"]
        ended = run_program(command, directory, output=f"{name}.out", environment=engine.environment())
        if ended.returncode == 0:
            return
        left = [index for index in missing if not _result(directory, index).exists()]
        said = (directory / f"{name}.out").read_text(errors="replace").strip().splitlines() or ["no output"]
        if left == share:
            raise RunError(f"the cells cannot be relaxed: {said[-1][:300]}", f"see {directory / name}.out", "crash")
        if left:
            crashed = {"state": "crashed", "reason": said[-1][:300], "steps": 0, "n_frames": 0}
            write_text(_result(directory, left[0]), json.dumps(crashed), durable=False)


def _result(directory: Path, index: int) -> Path:
    return directory / f"relaxed_{index}.json"


def _read(directory: Path, index: int) -> Relaxed | None:
    from ase.io import iread

    path = _result(directory, index)
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    frames = list(iread(directory / f"frames_{index}.extxyz")) if found["n_frames"] else []
    return Relaxed(found["state"], found["reason"], found["steps"], frames)
