"""What a potential predicts for many structures: by pyace where it is installed, else by LAMMPS."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.processes import run_program
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.single_point import single_points

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.base.settings import Settings
    from gst_jobflow.dynamics.deck import PotentialFiles

PROGRAM = Path(__file__).with_name("predict_program.py")


@dataclass(frozen=True)
class Predicted:
    """Energies (n_structures,) in eV, less those of free atoms as the potential counts them, and forces in eV/Å.

    Attributes
    ----------
    forces_eV_A
        All atoms of all structures in order, shape (sum of n_atoms, 3).
    evaluator
        What computed them.
    """

    energies_eV: np.ndarray
    forces_eV_A: np.ndarray
    evaluator: str


def predict(settings: Settings, potential: PotentialFiles, structures: Sequence[Atoms], cores: int = 1) -> Predicted:
    """Return energies and forces.

    Raises
    ------
    MissingProgramError
        Neither pyace nor LAMMPS is there.
    RunError
        The program fails, or predicts what is not finite (class ``nan``).
    """

    try:
        python = pacemaker_runner(settings).python
    except MissingProgramError:
        return _checked(_by_lammps(settings, potential, structures))
    return by_pyace(python, potential.yace, structures, cores)


def _checked(found: Predicted) -> Predicted:
    if not (np.isfinite(found.energies_eV).all() and np.isfinite(found.forces_eV_A).all()):
        raise RunError(f"{found.evaluator} predicts numbers that are not finite", "the potential is broken", "nan")
    return found


def by_pyace(python: Path, file: str, structures: Sequence[Atoms], cores: int, kind: str = "ace") -> Predicted:
    """As :func:`predict`, by the pyace of a Python.

    Parameters
    ----------
    file, kind
        A `.yace` of ``ace``, or a `.yaml` of ``grace/fs``.
    """
    # dealt out in turn: parts then cost about the same
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


def _run_part(
    python: Path, file: str, kind: str, structures: Sequence[Atoms], folder: Path
) -> tuple[np.ndarray, np.ndarray]:

    folder.mkdir()
    np.savez(
        folder / "in.npz",
        numbers=np.concatenate([atoms.numbers for atoms in structures]),
        positions=np.concatenate([atoms.positions for atoms in structures]),
        cells=np.stack([atoms.cell.array for atoms in structures]),
        pbc=np.stack([atoms.pbc for atoms in structures]),
        n_atoms=np.array([len(atoms) for atoms in structures]),
    )
    command = [str(python), str(PROGRAM), kind, str(Path(file).resolve()), "in.npz", "out.npz"]
    ended = run_program(command, folder, output="predict.out")
    if ended.returncode != 0:
        lines = (folder / "predict.out").read_text(errors="replace").strip().splitlines()
        raise RunError(f"pyace failed: {(lines or ['no output'])[-1][:300]}", "gst doctor", "crash")
    with np.load(folder / "out.npz") as arrays:
        return arrays["energies"], arrays["forces"]


def _by_lammps(settings: Settings, potential: PotentialFiles, structures: Sequence[Atoms]) -> Predicted:

    with tempfile.TemporaryDirectory(prefix="gst_predict_") as folder:
        points = single_points(lammps_engine(settings, n_ranks=1), potential, structures, Path(folder))
    energies = np.array([point.energy_eV for point in points])
    return Predicted(energies, np.concatenate([point.forces_eV_A for point in points]), "LAMMPS")
