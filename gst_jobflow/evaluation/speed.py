"""Time molecular dynamics with a potential, on the same cell for all potentials of the same elements."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase import Atoms

from gst_jobflow.documents import Speed
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.single_point import measure_speed
from gst_jobflow.evaluation.predict import run_pyace
from gst_jobflow.structures.crystals import rocksalt
from gst_jobflow.structures.material import DEFAULT, MATERIALS, shipped_material

PROGRAM = Path(__file__).with_name("speed_program.py")
SPACING_A = 3.0
"""Distance between sites, as in rock-salt tellurides, so the number of neighbours is realistic."""
REPEAT = 4


def speed_cell(elements: Sequence[str]) -> Atoms:
    """Make 4 x 4 x 4 cells of rock salt for elements of a shipped material, else a simple cubic cell of all in turn."""
    atoms = _rocksalt_of(set(elements))
    if atoms is None:
        atoms = simple_cubic(elements)
    atoms.rattle(0.05, seed=1)
    return atoms


def simple_cubic(symbols: Sequence[str]) -> Atoms:
    """Make 8 x 8 x 8 cells of a simple cubic lattice, whose sites have the symbols in turn."""
    atoms = Atoms(symbols[0], cell=[SPACING_A] * 3, pbc=True) * (2 * REPEAT, 2 * REPEAT, 2 * REPEAT)
    atoms.symbols = [symbols[place % len(symbols)] for place in range(len(atoms))]
    return atoms


def _rocksalt_of(elements: set[str]) -> Atoms | None:
    """Return rock salt with exactly these elements, of the first shipped material that has it."""
    for name in (DEFAULT, *MATERIALS.names()):
        material = shipped_material(name)
        if formula := material.crystal_of(elements):
            return rocksalt(formula, (REPEAT, REPEAT, REPEAT), 2 * SPACING_A, seed=1, material=material)
    return None


def measure(engine: LammpsEngine, potential: PotentialFiles) -> Speed:
    """Time the recursive evaluator on the ranks of `engine`; raises RunError if LAMMPS fails."""
    atoms = speed_cell(potential.elements)
    with tempfile.TemporaryDirectory(prefix="gst_speed_") as folder:
        cost = measure_speed(engine, potential, atoms, Path(folder))
    return Speed(
        **asdict(cost),
        formula=atoms.get_chemical_formula(mode="hill"),
        pair_style=potential.style or "pace recursive",
        processor=processor(),
    )


def measure_in_python(python: Path, file: Path, elements: Sequence[str], kind: str, seconds: float = 0.5) -> Speed:
    """Time the cell by pyace in ASE on one thread, for kinds without a LAMMPS pair style and those compared with them.

    LAMMPS is faster, because here neighbours are listed anew at every step. Raises RunError if the program fails.
    """
    atoms = speed_cell(elements)
    with tempfile.TemporaryDirectory(prefix="gst_speed_") as name:
        folder = Path(name)
        np.savez(folder / "in.npz", numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array)
        arguments = [kind, str(Path(file).resolve()), "in.npz", "out.json", str(seconds)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        run_pyace(python, PROGRAM, arguments, folder, one_thread)
        found = json.loads((folder / "out.json").read_text())
    return Speed(
        us_per_atom_step=found["us_per_atom_step"],
        ranks=1,
        n_atoms=len(atoms),
        formula=atoms.get_chemical_formula(mode="hill"),
        n_steps=found["n_steps"],
        pair_style=f"{kind}, pyace in ASE",
        processor=processor(),
    )


def processor() -> str:
    """Return the name of this computer's processor, and the number of cores that a job may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())}, {len(os.sched_getaffinity(0))} cores"
