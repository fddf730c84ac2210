"""What a reader gives: one structure at a time with what was computed of it, so that no file is held in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.document_fields import content_hash
from gst_jobflow.structures.lattice import volume_A3

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.labelling.method import Method


_NUMBERS = int | float | np.number
_REFERENCE = re.compile(r"(^|_)(ref|reference|dft|qm|target|true)_?energy$|^energy_(ref|dft|reference|target)$", re.I)
_SAME_EV_PER_ATOM = 1e-4


@dataclass(frozen=True)
class Record:
    """One structure of a file, or why it cannot be read.

    Parameters
    ----------
    file
        Where it is from.
    index
        Its place in the file, from 0.
    atoms
        The structure as ASE reads it; None with `problem`.
    problem
        Why it cannot be read.
    method
        What the file itself says of how its energies were computed; None where it says nothing.
    no_method
        Why it says nothing.
    group
        Id of the first structure of the trajectory that this is a frame of; empty where the file holds no trajectory.
    warning
        What holds for the whole file and should be known; it does not keep the record out.
    end
        Bytes of the file up to where it ends; 0 where the reader does not count them.
    step
        Of the dynamics that this is a frame of; None where the file does not say.
    """

    file: Path
    index: int
    atoms: Atoms | None = None
    problem: str = ""
    method: Method | None = None
    no_method: str = ""
    group: str = ""
    warning: str = ""
    end: int = 0
    step: int | None = None


def group_id(atoms: Atoms) -> str:
    """Return the id that a structure gets when it is stored; empty where it can have none."""
    try:
        return content_hash(atoms)
    except (DataError, ValueError, np.linalg.LinAlgError):
        return ""


@dataclass(frozen=True)
class Computed:
    """What a record says of energy (eV), forces (eV/Å, shape (N, 3)) and stress (eV/Å³, Voigt, tension positive)."""

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: list[float] | None


def computed_of(atoms: Atoms) -> Computed | None:
    """Energy, forces and stress that came with a structure; None where it has neither energy nor forces.

    The energy is the free energy where there is one, for the forces are its derivative (with smeared occupations the
    energy extrapolated to no smearing is another). A stress in a column `virial` (eV, 3 × 3, -dE/dε as in QUIP and
    GST-GAP-22) becomes -virial / volume, ASE's sign. A single atom needs no forces, they are zero.

    Raises
    ------
    DataError
        One of energy and forces is missing, not a number, not finite, of a wrong shape; or virial and stress disagree.
    """
    found: dict[str, Any] = {**atoms.info, **(getattr(atoms.calc, "results", None) or {})}
    energy = found.get("free_energy", found.get("energy"))
    forces = found.get("forces", atoms.arrays.get("forces", atoms.arrays.get("force")))
    if energy is None and forces is None:
        return None
    if energy is None:
        raise DataError("forces without an energy")
    if forces is None:
        if len(atoms) != 1:
            raise DataError("an energy without forces")
        forces = np.zeros((1, 3))
    energy_eV = _numbers(energy, "energy", ())
    forces_eV_A = _numbers(forces, "forces", (len(atoms), 3))
    return Computed(float(energy_eV), forces_eV_A, _stress(atoms, found))


def unread_label(atoms: Atoms) -> str:
    """What looks like energies and forces under names that `computed_of` does not read; empty where nothing does."""
    energies = [name for name, value in atoms.info.items() if "energy" in name.lower() and isinstance(value, _NUMBERS)]
    forces = [
        name for name, value in atoms.arrays.items() if "force" in name.lower() and value.shape == (len(atoms), 3)
    ]
    if not (energies and forces):
        return ""
    names = ", ".join(sorted([*energies, *forces]))
    return f"structures without labels: {names} are not read; what is computed has to be called energy and forces"


def rival_label(atoms: Atoms) -> str:
    """Name reference energies beside the energy that `computed_of` takes, if they differ; empty if none does.

    Since ASE 3.23 `energy` and `forces` are those of the calculator that was attached last, such as a model, while
    programs for training keep the labels as REF_energy, dft_energy and the like.
    """
    names = [name for name, value in atoms.info.items() if _REFERENCE.search(name) and isinstance(value, _NUMBERS)]
    computed = computed_of(atoms) if names else None
    if computed is None:
        return ""
    rivals = [name for name in names if abs(atoms.info[name] - computed.energy_eV) > _SAME_EV_PER_ATOM * len(atoms)]
    if not rivals:
        return ""
    return (
        f"two sets of labels: {', '.join(sorted(rivals))} and the energy that is taken differ; if that energy is a "
        "model's, rename the reference energies and forces to energy and forces first"
    )


def _numbers(value: Any, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise DataError(f"{name} '{str(value)[:40]}' is not numbers") from err
    if array.shape not in shapes:
        raise DataError(f"{name} of shape {array.shape}, not {' or '.join(map(str, shapes))}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} not finite")
    return array


def _stress(atoms: Atoms, found: dict[str, Any]) -> list[float] | None:
    stresses = []
    if found.get("stress") is not None:
        stresses.append(_voigt(_numbers(found["stress"], "stress", (6,), (3, 3)), "stress"))
    if found.get("virial") is not None:
        cell_A3 = volume_A3(atoms.cell.array.tolist())
        stresses.append([-x / cell_A3 for x in _voigt(_numbers(found["virial"], "virial", (3, 3)), "virial", cell_A3)])
    if len(stresses) == 2 and not np.allclose(stresses[0], stresses[1], rtol=1e-3, atol=1e-5):
        raise DataError("stress and virial disagree: the stress is -virial/volume")
    return stresses[0] if stresses else None


def _voigt(tensor: np.ndarray, name: str, unit: float = 1.0) -> list[float]:
    """xx, yy, zz, yz, xz, xy of a symmetric tensor; `unit` is what 1 eV/Å³ is in it."""
    if tensor.shape == (6,):
        return tensor.tolist()
    rows = tensor.tolist()
    off_diagonal = [(rows[i][j], rows[j][i]) for i, j in ((1, 2), (0, 2), (0, 1))]
    # files hold few digits, but a tensor off by more than this was not symmetric to begin with
    largest = max(abs(x) for row in rows for x in row)
    if max(abs(a - b) for a, b in off_diagonal) > 0.01 * largest + 1e-6 * unit:
        raise DataError(f"{name} is not symmetric")
    return [rows[0][0], rows[1][1], rows[2][2], *((a + b) / 2 for a, b in off_diagonal)]
