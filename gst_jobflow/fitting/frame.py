"""From labelled structures to the dataframe that pacemaker reads."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.errors import DataError, InputError
from gst_jobflow.fitting.config import ENERGY_CORRECTED_RANGE_EV

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with its reference energy and forces.

    Attributes
    ----------
    energy_eV
        Total energy of the cell, eV.
    forces_eV_A
        Shape (n_atoms, 3), eV/Å.
    label_id
        Id of the label; it is the name of the row and finds the way back from a prediction.
    weight
        Factor on the row's share of the loss, for energy and forces; pacemaker normalises the sum.
    """

    atoms: Atoms
    energy_eV: float
    forces_eV_A: np.ndarray
    label_id: str
    config_type: str
    weight: float = 1.0


def to_dataframe(items: Sequence[LabelledStructure], reference_energies: Mapping[str, float]) -> pd.DataFrame:
    """Return the dataframe of a training or test set.

    Parameters
    ----------
    reference_energies
        Energy of one atom of each element, eV.

    Returns
    -------
    pandas.DataFrame
        Columns `ase_atoms`, `energy` (eV), `forces` (eV/Å), `energy_corrected` (energy less that of the atoms, eV; what
        is fitted), `name` (label id), `config_type`, `w_factor`.

    Raises
    ------
    DataError
        If a label is missing, not finite or misshapen, is named twice, has an element without a reference energy,
        or its corrected energy lies where pacemaker would silently choose reference energies of its own.
    """
    import pandas as pd

    if not items:
        raise DataError("the dataset is empty", "choose at least one labelled structure")
    repeated = [name for name, count in Counter(item.label_id for item in items).items() if count > 1]
    if repeated:
        raise DataError(f"label {repeated[0]} is in the dataset more than once", "take each label once")
    rows = [_row(item, reference_energies) for item in items]
    return pd.DataFrame(rows)


def _row(item: LabelledStructure, reference_energies: Mapping[str, float]) -> dict[str, object]:
    """Return one row, with everything checked."""
    energy, forces = _checked_label(item)
    corrected = energy - _energy_of_atoms(item, reference_energies)
    low, high = ENERGY_CORRECTED_RANGE_EV
    per_atom = corrected / len(item.atoms)
    if not low <= per_atom <= high:
        raise DataError(
            f"label {item.label_id}: energy less the atoms' is {per_atom:.1f} eV/atom, outside {low:g}..{high:g}",
            "check the unit of the energy and the reference energies of the dataset",
        )
    # a bare copy: a calculator or extra arrays would travel in the pickle, and pacemaker attaches its own
    bare = type(item.atoms)(
        numbers=item.atoms.numbers, positions=item.atoms.positions, cell=item.atoms.cell, pbc=item.atoms.pbc
    )
    return {
        "ase_atoms": bare,
        "energy": energy,
        "forces": forces,
        "energy_corrected": corrected,
        "name": item.label_id,
        "config_type": item.config_type,
        "w_factor": float(item.weight),
    }


def _checked_label(item: LabelledStructure) -> tuple[float, np.ndarray]:
    """Return energy (eV) and forces (n_atoms, 3) in eV/Å of a label that is complete and finite."""
    where = f"label {item.label_id}"
    n_atoms = len(item.atoms)
    if n_atoms == 0:
        raise DataError(f"{where}: the structure has no atoms")
    if item.energy_eV is None or not np.isfinite(item.energy_eV):
        raise DataError(f"{where}: the energy is missing or not finite", "leave failed labels out of the dataset")
    if item.forces_eV_A is None:
        raise DataError(f"{where}: the forces are missing", "leave failed labels out of the dataset")
    forces = np.asarray(item.forces_eV_A, dtype=float)
    if forces.shape != (n_atoms, 3):
        raise DataError(f"{where}: forces have shape {forces.shape}, but {n_atoms} atoms need ({n_atoms}, 3)")
    if not np.isfinite(forces).all() or not np.isfinite(item.atoms.positions).all():
        raise DataError(f"{where}: forces or positions are not finite", "leave failed labels out of the dataset")
    if not (np.isfinite(item.weight) and item.weight > 0):
        raise DataError(f"{where}: weight {item.weight} is not a positive number", "leave the label out instead")
    # pacemaker treats such names as made-up data: a tiny weight, and not part of the active set
    if item.label_id.startswith("augmented"):
        raise DataError(f"{where}: a name that begins with 'augmented' is treated as made-up data", "rename it")
    return float(item.energy_eV), forces


def _energy_of_atoms(item: LabelledStructure, reference_energies: Mapping[str, float]) -> float:
    """Return the sum of the reference energies of a structure's atoms, eV."""
    counts = Counter(item.atoms.get_chemical_symbols())
    for symbol in counts:
        if symbol not in reference_energies:
            raise DataError(
                f"label {item.label_id}: no reference energy for {symbol}",
                "the dataset must hold one for each of its elements",
            )
    return sum(n * float(reference_energies[symbol]) for symbol, n in counts.items())


def write_pckl(df: pd.DataFrame, path: Path) -> Path:
    """Write a dataframe as pacemaker reads it (gzipped pickle) and return its path.

    Raises
    ------
    InputError
        If the name does not end in `.pckl.gzip`, by which pacemaker knows the compression.
    """
    if not path.name.endswith(".pckl.gzip"):
        raise InputError(f"{path.name}: pacemaker wants a dataframe named *.pckl.gzip", "rename it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    # no name and no time in the gzip header: the same data gives the same bytes, and so the same artifact
    with temporary.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        df.to_pickle(packed, compression=None, protocol=4)
    temporary.replace(path)
    return path


def reference_energies_least_squares(items: Sequence[LabelledStructure]) -> dict[str, float]:
    """Return the energy of one atom of each element (eV) that fits all total energies best.

    Used once, when a dataset is made, then pinned in it and passed to every fit, upfit and ablation. pacemaker's own
    `auto` solves the same equations on whatever it is given and then shifts by its sparsest structure: take away some
    structures and the zero of energy moves, so potentials and errors are not comparable any more.

    With compositions that do not tell the elements apart (all the same formula) the smallest solution is
    returned, which is as good for the fit.

    Raises
    ------
    DataError
        If there is no label, or one has no finite energy.
    """
    if not items:
        raise DataError("no labels to take reference energies from", "label at least one structure")
    energies = np.array([_checked_label(item)[0] for item in items])
    symbols = sorted({symbol for item in items for symbol in item.atoms.get_chemical_symbols()})
    counts = np.array([[item.atoms.get_chemical_symbols().count(symbol) for symbol in symbols] for item in items])
    # per atom, so that a large cell does not outweigh many small ones
    n_atoms = counts.sum(axis=1)
    solution = np.linalg.lstsq(counts / n_atoms[:, None], energies / n_atoms, rcond=1e-8)[0]
    return {symbol: float(value) for symbol, value in zip(symbols, solution, strict=True)}
