"""Read reference and prediction of each split, as fits store them beside a potential."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import ArtifactRef, Potential

PARITY_NAME = "parity.npz"


@dataclass
class Parity:
    """Reference and prediction of one split.

    `energy_*` (n,) eV/atom, less the atoms' reference energies, of n structures of `config_type` (n,); `force_*` (m,)
    eV/Å of m components of structures of `force_config_type` (m,).
    """

    energy_ref: np.ndarray
    energy_pred: np.ndarray
    config_type: np.ndarray
    force_ref: np.ndarray
    force_pred: np.ndarray
    force_config_type: np.ndarray


def parity_file(potential: Potential) -> ArtifactRef | None:
    """Return the file that :func:`read_parity` reads; None for a potential that was not fitted here."""
    return next((each for each in potential.files if each.name == PARITY_NAME), None)


def read_parity(file: Path) -> dict[str, Parity]:
    """Read reference and prediction by split from a file of `fitting.parse.write_parity`.

    Raises DataError if the file is damaged or incomplete.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as err:
        raise DataError(f"{PARITY_NAME} is damaged: {err}", "compute the potential's predictions again") from err
    try:
        return {split: _split(content, split) for split in ("train", "test") if (content["split"] == split).any()}
    except KeyError as err:
        raise DataError(f"{PARITY_NAME} lacks {err}", "compute the potential's predictions again") from err


def _split(content: dict[str, np.ndarray], split: str) -> Parity:
    energies, forces = content["split"] == split, content["force_split"] == split
    names = {"energy_ref": energies, "energy_pred": energies, "config_type": energies}
    names |= {"force_ref": forces, "force_pred": forces, "force_config_type": forces}
    return Parity(**{name: content[name][rows] for name, rows in names.items()})
