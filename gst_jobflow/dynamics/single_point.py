"""Compute energies and forces of structures with LAMMPS, and time a step of its molecular dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.dynamics.deck import PairStyle, PotentialFiles, pair_lines
from gst_jobflow.dynamics.dump import DumpFrame, iter_frames
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.log import FINISHED_WORD, loop_time
from gst_jobflow.structures.lammps_data import write_data

ENERGIES_FILE, FORCES_FILE = "energies.txt", "forces.dump"


@dataclass(frozen=True)
class LammpsSinglePoint:
    """Energy (eV) and forces (n_atoms, 3) in eV/Å of one structure, in the order and frame of its atoms."""

    energy_eV: float
    forces_eV_A: np.ndarray


def single_points(
    engine: LammpsEngine,
    potential: PotentialFiles,
    structures: Sequence[Atoms],
    directory: Path,
    style: PairStyle = "recursive",
) -> list[LammpsSinglePoint]:
    """Return energies and forces of periodic structures, from one run of LAMMPS in `directory`.

    LAMMPS reads the potential for each structure again, so this suits tens of them.

    Raises
    ------
    InputError
        A structure cannot be written, or the potential has no files for `style`.
    RunError
        LAMMPS fails.
    """
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    for name in (ENERGIES_FILE, FORCES_FILE):
        (directory / name).unlink(missing_ok=True)
    lines: list[str] = []
    for number, atoms in enumerate(structures):
        write_data(atoms, directory / f"{number}.data", potential.elements)
        lines += [
            *cell_lines(number),
            *pair_lines(potential, style),
            "thermo_style custom step pe",
            "run 0 post no",
            f'print "$(pe:%.15g)" append {ENERGIES_FILE} screen no',
            f"write_dump all custom {FORCES_FILE} id type x y z fx fy fz modify sort id append yes format float %.15g",
        ]
    # one rank: cells of a few atoms cannot be divided
    engine.with_ranks(1).run("\n".join([*lines, end_line(), ""]), directory).require_success()
    energies = [float(line) for line in (directory / ENERGIES_FILE).read_text().split()]
    frames = list(iter_frames(directory / FORCES_FILE))
    if not len(energies) == len(frames) == len(structures):
        raise DataError(f"LAMMPS wrote {len(frames)} of {len(structures)} structures", f"see {directory}")
    return [
        LammpsSinglePoint(energy, _turned(frame, atoms))
        for energy, frame, atoms in zip(energies, frames, structures, strict=True)
    ]


def cell_lines(number: int) -> list[str]:
    """Return commands that clear LAMMPS and read the cell ``NUMBER.data``."""
    return [
        "clear",
        "units metal",
        "atom_style atomic",
        "boundary p p p",
        "box tilt large",
        f"read_data {number}.data",
    ]


def end_line() -> str:
    """Return the last line of an input, which tells in the log that it finished."""
    return f'print "{FINISHED_WORD} step 0"'


def _turned(frame: DumpFrame, atoms: Atoms) -> np.ndarray:
    """Return forces (n_atoms, 3), rotated from LAMMPS' coordinates to those of the atoms."""
    forces = np.stack([frame.extra[name] for name in ("fx", "fy", "fz")], axis=1)
    return forces @ np.linalg.solve(frame.cell, atoms.cell.array)


@dataclass(frozen=True)
class StepCost:
    """Cost of a step of molecular dynamics: wall time per atom and step in µs, how it was measured, LAMMPS' version."""

    us_per_atom_step: float
    ranks: int
    n_atoms: int
    n_steps: int
    version: str


def measure_speed(
    engine: LammpsEngine,
    potential: PotentialFiles,
    atoms: Atoms,
    directory: Path,
    seconds: float = 0.5,
) -> StepCost:
    """Time NVE dynamics of a cell at 300 K: the fastest of three runs of about `seconds`, the least disturbed.

    Raises as :func:`single_points`.
    """
    directory = Path(directory).resolve()
    first = _time_runs(engine, potential, atoms, directory / "first", [_TRIED_STEPS])
    n_steps = int(np.clip(seconds / (1e-6 * first.us_per_atom_step * len(atoms)), _TRIED_STEPS, _MOST_STEPS))
    return _time_runs(engine, potential, atoms, directory / "timed", 3 * [n_steps])


_TRIED_STEPS, _MOST_STEPS = 5, 500


def _time_runs(
    engine: LammpsEngine,
    potential: PotentialFiles,
    atoms: Atoms,
    directory: Path,
    runs: Sequence[int],
) -> StepCost:
    """Time runs of these numbers of steps one after the other; return the fastest."""
    directory.mkdir(parents=True, exist_ok=True)
    write_data(atoms, directory / "0.data", potential.elements)
    lines = [
        *cell_lines(0),
        *pair_lines(potential, "recursive"),
        "velocity all create 300 1 mom yes rot no dist gaussian",
        # short steps: the potential need not hold the cell together
        "timestep 0.0005",
        "fix move all nve",
        "run 2 post no",
    ]
    for number, n_steps in enumerate(runs):
        # each run has its own log, from which the loop time is read
        lines += [f"log timed.{number}", f"run {n_steps}"]
    ended = engine.run("\n".join([*lines, end_line(), ""]), directory).require_success()
    loops = [loop_time((directory / f"timed.{number}").read_text()) for number in range(len(runs))]
    if any(loop.steps != n_steps for loop, n_steps in zip(loops, runs, strict=True)):
        raise DataError(f"LAMMPS timed {[loop.steps for loop in loops]} of {list(runs)} steps", f"see {directory}")
    fastest = min(loop.us_per_atom_step for loop in loops)
    return StepCost(fastest, engine.ranks, len(atoms), runs[0], ended.version)
