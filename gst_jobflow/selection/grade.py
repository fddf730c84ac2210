"""Extrapolation grade of structures by LAMMPS."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.dynamics.dump import iter_frames
from gst_jobflow.dynamics.single_point import cell_lines, end_line
from gst_jobflow.errors import DataError, InputError, RunError
from gst_jobflow.structures.lammps_data import write_data

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.dynamics.deck import PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine

_FILE = "gamma.dump"


@dataclass(frozen=True)
class Grade:
    """Extrapolation grade of one structure.

    Attributes
    ----------
    maximum
        Of all atoms; above 1 the potential extrapolates.
    element
        Of the atom that has it.
    share
        Of the atoms that are above the threshold.
    """

    maximum: float
    element: str
    share: float

    @classmethod
    def of(cls, atoms: Atoms, gamma: np.ndarray, threshold: float) -> Grade:
        """Sum up the grades (n_atoms,) of a structure's atoms."""
        worst = int(gamma.argmax())
        return cls(float(gamma[worst]), atoms[worst].symbol, float((gamma > threshold).mean()))


def gammas(
    engine: LammpsEngine, potential: PotentialFiles, structures: Sequence[Atoms], directory: Path, at_once: int = 1
) -> list[np.ndarray]:
    """Return the extrapolation grade of each atom of each structure, (n_atoms,), in the order of its atoms.

    Cells count as periodic. The potential is read anew for each structure.

    Parameters
    ----------
    directory
        Each of the `at_once` runs of LAMMPS, of one rank, has a folder in it.

    Raises
    ------
    InputError
        A structure cannot be written, or the potential has no active set.
    RunError
        LAMMPS fails, or is too old to give grades.
    """
    if not structures:
        return []
    lacking = sorted({symbol for atoms in structures for symbol in atoms.symbols} - set(potential.elements))
    if lacking:
        raise InputError(
            f"the potential does not know {', '.join(lacking)}", f"it is for {' '.join(potential.elements)}"
        )
    # dealt out in turn: parts then cost about the same
    parts = [range(start, len(structures), at_once) for start in range(min(at_once, len(structures)))]

    def part(number: int) -> list[np.ndarray]:
        return _run(engine, potential, [structures[place] for place in parts[number]], Path(directory) / str(number))

    found: list[np.ndarray] = [np.empty(0)] * len(structures)
    with ThreadPoolExecutor(len(parts)) as pool:
        for places, of_part in zip(parts, pool.map(part, range(len(parts))), strict=True):
            for place, gamma in zip(places, of_part, strict=True):
                found[place] = gamma
    return found


def _run(
    engine: LammpsEngine, potential: PotentialFiles, structures: Sequence[Atoms], directory: Path
) -> list[np.ndarray]:
    directory = directory.resolve()
    directory.mkdir(parents=True)
    lines: list[str] = []
    for number, atoms in enumerate(structures):
        write_data(atoms, directory / f"{number}.data", potential.elements)
        lines += [
            *cell_lines(number, potential, "extrapolation"),
            "fix gamma all pair 1 pace/extrapolation gamma 1",
            "run 0 post no",
            f"write_dump all custom {_FILE} id type x y z f_gamma modify sort id append yes format float %.15g",
        ]
    # one rank: cells of a few atoms cannot be shared out
    engine.with_ranks(1).run("\n".join([*lines, end_line(), ""]), directory).require_success()
    found = [frame.extra["f_gamma"] for frame in iter_frames(directory / _FILE)]
    if [len(gamma) for gamma in found] != [len(atoms) for atoms in structures]:
        raise DataError(f"LAMMPS wrote {len(found)} of {len(structures)} structures", f"see {directory}")
    if not all(np.isfinite(gamma).all() for gamma in found):
        raise RunError("LAMMPS gives grades that are not finite", "the active set is broken: fit again", "nan")
    # every atom with neighbours has a grade
    if all((gamma == 0).all() for gamma in found):
        raise RunError("LAMMPS gives no grade but 0", "LAMMPS before November 2023 cannot: gst doctor", "bad_input")
    return found
