"""Extrapolation grade of structures by LAMMPS."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism

from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.dynamics.deck import PotentialFiles, pair_lines
from gst_jobflow.dynamics.dump import bounds_of, iter_frames
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.single_point import cell_lines, end_line
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.structures.lammps_data import write_data

_FILE = "gamma.dump"


@dataclass(frozen=True)
class Grade:
    """Extrapolation grade of the mobile atoms of a structure.

    `maximum` is the largest grade, above 1 where the potential extrapolates, of an atom of `element`; `share` is that
    of the atoms above the threshold.
    """

    maximum: float
    element: str
    share: float

    @classmethod
    def of(cls, found: FoundStructure, gamma: np.ndarray, threshold: float) -> Grade:
        """Sum up the grades (n_atoms,) of a structure; frozen atoms do not count."""
        places = np.flatnonzero(found.is_mobile)
        worst = int(places[gamma[places].argmax()])
        return cls(float(gamma[worst]), found.atoms[worst].symbol, float((gamma[places] > threshold).mean()))


def gammas(
    engine: LammpsEngine,
    potential: PotentialFiles,
    structures: Sequence[Atoms],
    directory: Path,
    at_once: int = 1,
    ranks: int = 1,
) -> list[np.ndarray]:
    """Return the extrapolation grade of each atom of each structure, shape (n_atoms,).

    Cells are taken as periodic. A run reads the potential once for all structures with the same numbers of atoms. Each
    of the `at_once` runs of LAMMPS has a folder of its own in `directory` and as many MPI `ranks`; small cells cannot
    be divided among several.

    Raises
    ------
    InputError
        A structure cannot be written, or the potential has no active set.
    RunError
        LAMMPS fails, or is too old for grades.
    """
    if not structures:
        return []
    lacking = sorted({symbol for atoms in structures for symbol in atoms.symbols} - set(potential.elements))
    if lacking:
        raise InputError(
            f"the potential does not know {', '.join(lacking)}", f"it is for {' '.join(potential.elements)}"
        )
    # taken in turn, so that parts cost about the same
    parts = [range(start, len(structures), at_once) for start in range(min(at_once, len(structures)))]

    def part(number: int) -> list[np.ndarray]:
        chosen = [structures[place] for place in parts[number]]
        return _run(engine.with_ranks(ranks), potential, chosen, Path(directory) / str(number))

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
    # atoms in the order of their types: cells of equal counts differ in box and positions only
    orders = [np.argsort([potential.elements.index(symbol) for symbol in atoms.symbols], kind="stable")
              for atoms in structures]  # fmt: skip
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, atoms in enumerate(structures):
        counts = tuple(int((atoms.symbols == element).sum()) for element in potential.elements)
        alike.setdefault(counts, []).append(number)
    lines: list[str] = []
    for numbers in alike.values():
        first = numbers[0]
        write_data(structures[first][orders[first]], directory / f"{first}.data", potential.elements)
        # the box of the first cell may then take any shape
        lines += [*cell_lines(first), "change_box all triclinic", *pair_lines(potential, "extrapolation")]
        lines.append("fix gamma all pair 1 pace/extrapolation gamma 1")
        for number in numbers:
            # each is a step of its own: fix pair evaluates once a step
            _write_cell(structures[number][orders[number]], directory / f"{number}.lammpstrj", number)
            lines += [
                f"read_dump {number}.lammpstrj {number} x y z box yes",
                "run 0 post no",
                f"write_dump all custom {_FILE} id type x y z f_gamma modify sort id append yes format float %.15g",
            ]
    engine.run("\n".join([*lines, end_line(), ""]), directory).require_success()
    written = [frame.extra["f_gamma"] for frame in iter_frames(directory / _FILE)]
    places = [number for numbers in alike.values() for number in numbers]
    if [len(gamma) for gamma in written] != [len(structures[place]) for place in places]:
        raise DataError(f"LAMMPS wrote {len(written)} of {len(structures)} structures", f"see {directory}")
    found = [np.empty(len(atoms)) for atoms in structures]
    for place, gamma in zip(places, written, strict=True):
        found[place][orders[place]] = gamma
    if not all(np.isfinite(gamma).all() for gamma in found):
        raise RunError("grades are not finite", "the active set is broken: fit again", "nan")
    # every atom with neighbours has a grade
    if all((gamma == 0).all() for gamma in found):
        raise RunError(
            "all grades are 0", "update LAMMPS: releases before November 2023 give none; see gst doctor", "bad_input"
        )
    return found


def _write_cell(atoms: Atoms, path: Path, step: int) -> None:
    """Write a frame that LAMMPS reads into an existing box, in its own coordinates."""
    prism = Prism(atoms.cell.array, pbc=True)
    x, y, z, xy, xz, yz = prism.get_lammps_prism()
    positions = prism.vector_to_lammps(atoms.get_positions(wrap=True, pbc=True), wrap=True)
    bounds = bounds_of(np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]))
    lines = [
        "ITEM: TIMESTEP",
        str(step),
        "ITEM: NUMBER OF ATOMS",
        str(len(atoms)),
        "ITEM: BOX BOUNDS xy xz yz pp pp pp",
    ]
    lines += [" ".join(repr(value) for value in bound) for bound in bounds]
    lines += ["ITEM: ATOMS id x y z"]
    lines += [f"{number} {a!r} {b!r} {c!r}" for number, (a, b, c) in enumerate(positions.tolist(), 1)]
    path.write_text("\n".join([*lines, ""]))
