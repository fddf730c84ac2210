"""Predict energies and forces of many structures: by pyace if installed, else by LAMMPS."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.processes import run_program
from gst_jobflow.base.settings import Settings
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.single_point import single_points
from gst_jobflow.structures.lattice import right_handed

PROGRAM = Path(__file__).with_name("predict_program.py")


@dataclass(frozen=True)
class Predicted:
    """Predicted energies (n_structures,), and forces on the atoms of all structures in order, (sum of n_atoms, 3).

    Energies are without those of free atoms, which the fit subtracted. `evaluator` is the program that computed them.
    """

    energies_eV: np.ndarray
    forces_eV_A: np.ndarray
    evaluator: str


def predict(settings: Settings, potential: PotentialFiles, structures: Sequence[Atoms], cores: int = 1) -> Predicted:
    """Predict energies and forces of structures by an ACE potential.

    Raises
    ------
    MissingProgramError
        Neither pyace nor LAMMPS is installed.
    RunError
        The program fails, or predicts numbers that are not finite (class ``nan``).
    """
    try:
        python = pacemaker_runner(settings).python
    except MissingProgramError:
        return _checked(_by_lammps(settings, potential, structures))
    return by_pyace(python, potential.yace, structures, cores)


def _checked(found: Predicted) -> Predicted:
    if not (np.isfinite(found.energies_eV).all() and np.isfinite(found.forces_eV_A).all()):
        raise RunError(
            f"{found.evaluator} predicts numbers that are not finite",
            "the fit or its file is broken",
            "nan",
        )
    return found


def by_pyace(python: Path, file: str, structures: Sequence[Atoms], cores: int, kind: str = "ace") -> Predicted:
    """Predict as :func:`predict`, by the pyace of a Python environment.

    `file` is a `.yace` for the kind ``ace``, or a `.yaml` for ``grace/fs``.
    """
    # dealt out in turn, so that parts cost about the same
    parts = [list(range(start, len(structures), cores)) for start in range(min(cores, len(structures)))]
    energies = np.empty(len(structures))
    forces: list[np.ndarray] = [np.empty(0)] * len(structures)
    with tempfile.TemporaryDirectory(prefix="gst_predict_") as folder, ThreadPoolExecutor(len(parts)) as pool:

        def part(number: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = [structures[place] for place in parts[number]]
            return _run_part(python, file, kind, chosen, Path(folder) / str(number))

        for places, (found_E, found_F) in zip(parts, pool.map(part, range(len(parts))), strict=True):
            energies[places] = found_E
            ends = np.cumsum([len(structures[place]) for place in places])
            for place, of_one in zip(places, np.split(found_F, ends[:-1]), strict=True):
                forces[place] = of_one
    return _checked(Predicted(energies, np.concatenate(forces), "pyace"))


def by_calculator(calculator: Any, structures: Sequence[Atoms]) -> Predicted:
    """Predict as :func:`predict`, by an ASE calculator in this process."""
    energies, forces = [], []
    for atoms in structures:
        alone = atoms.copy()
        alone.calc = calculator
        energies.append(alone.get_potential_energy())
        forces.append(alone.get_forces())
    return _checked(Predicted(np.array(energies), np.concatenate(forces), type(calculator).__name__))


def _run_part(
    python: Path, file: str, kind: str, structures: Sequence[Atoms], folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir()
    save_structures(folder / "in.npz", structures)
    run_pyace(python, PROGRAM, [kind, str(Path(file).resolve()), "in.npz", "out.npz"], folder)
    with np.load(folder / "out.npz") as arrays:
        return arrays["energies"], arrays["forces"]


def save_structures(file: Path, structures: Sequence[Atoms]) -> None:
    """Write structures for a program that :func:`run_pyace` runs, all cells right-handed: pyace refuses others."""
    ours = [right_handed(atoms) for atoms in structures]
    np.savez(
        file,
        numbers=np.concatenate([atoms.numbers for atoms in ours]),
        positions=np.concatenate([atoms.positions for atoms in ours]),
        cells=np.stack([atoms.cell.array for atoms in ours]),
        pbc=np.stack([atoms.pbc for atoms in ours]),
        n_atoms=np.array([len(atoms) for atoms in ours]),
    )


def run_pyace(
    python: Path, program: Path, arguments: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> None:
    """Run a program of ours in `folder` by the Python that has pyace; raise RunError with its last line if it fails."""
    ended = run_program([str(python), str(program), *arguments], folder, output="pyace.out", environment=environment)
    if ended.returncode != 0:
        lines = (folder / "pyace.out").read_text(errors="replace").strip().splitlines()
        raise RunError(f"pyace failed: {(lines or ['no output'])[-1][:300]}", "gst doctor", "crash")


def _by_lammps(settings: Settings, potential: PotentialFiles, structures: Sequence[Atoms]) -> Predicted:
    with tempfile.TemporaryDirectory(prefix="gst_predict_") as folder:
        points = single_points(lammps_engine(settings, n_ranks=1), potential, structures, Path(folder))
    energies = np.array([point.energy_eV for point in points])
    return Predicted(energies, np.concatenate([point.forces_eV_A for point in points]), "LAMMPS")
