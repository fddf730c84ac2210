"""Convert labelled structures to the dataframe that pacemaker reads."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.fitting.config import ENERGY_CORRECTED_RANGE_EV, WeightsConfig
from gst_jobflow.structures.lattice import right_handed

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms


def to_dataframe(items: Sequence[LabelledStructure], reference_energies: Mapping[str, float]) -> pd.DataFrame:
    """Return the dataframe of a training or test set.

    Parameters
    ----------
    reference_energies
        Energy of one atom of each element, eV.

    Returns
    -------
    pandas.DataFrame
        Columns `ase_atoms`, `energy` (eV), `forces` (eV/Å), `energy_corrected` (eV; energy minus reference energies,
        which is fitted), `name` (label id), `config_type`, `w_factor`.

    Raises
    ------
    DataError
        A label is incomplete, not finite, misshapen or named twice, an element has no reference energy, or a corrected
        energy is so large that pacemaker would silently fit reference energies of its own.
    """
    import pandas as pd

    if not items:
        raise DataError("the dataset is empty", "choose at least one labelled structure")
    repeated = [name for name, count in Counter(item.label_id for item in items).items() if count > 1]
    if repeated:
        raise DataError(f"label {repeated[0]} is in the dataset more than once", "take each label once")
    rows = [_row(item, reference_energies) for item in items]
    return pd.DataFrame(rows)


def weighted(items: Sequence[LabelledStructure], weights: WeightsConfig, seed: int = 0) -> list[LabelledStructure]:
    """Return a training set with the weights of a fit, without labels of weight 0; `seed` draws bootstrap weights.

    Raises
    ------
    InputError
        All weights are zero.
    """
    chosen = [
        replace(item, weight=weights.config_types.get(item.config_type, item.weight))
        for item in items
        if weights.config_types.get(item.config_type, item.weight) != 0
    ]
    if items and not chosen:
        types = ", ".join(sorted({item.config_type for item in items}))
        raise InputError(f"all weights are zero: the training set is of {types}", "give one of them a weight above 0")
    if not weights.bootstrap:
        return chosen
    draws = np.random.default_rng(seed).exponential(size=len(chosen))
    return [replace(item, weight=item.weight * float(draw)) for item, draw in zip(chosen, draws, strict=True)]


def _row(item: LabelledStructure, reference_energies: Mapping[str, float]) -> dict[str, object]:
    """Return the checked row of a label."""
    energy, forces = _checked_label(item)
    corrected = energy - _energy_of_atoms(item, reference_energies)
    low, high = ENERGY_CORRECTED_RANGE_EV
    per_atom = corrected / len(item.atoms)
    if not low <= per_atom <= high:
        raise DataError(
            f"label {item.label_id}: {per_atom:.1f} eV/atom relative to free atoms, outside {low:g}..{high:g}",
            "check the unit of the energy and the reference energies of the dataset",
        )
    return {
        # pacemaker's programs refuse left-handed cells
        "ase_atoms": right_handed(_bare(item.atoms)),
        "energy": energy,
        "forces": forces,
        "energy_corrected": corrected,
        "name": item.label_id,
        "config_type": item.config_type,
        "w_factor": float(item.weight),
    }


def _bare(atoms: Atoms) -> Atoms:
    """Return atoms without calculator and extra arrays, which the pickle would carry along."""
    if atoms.calc is None and not atoms.info and not atoms.constraints and len(atoms.arrays) == 2:
        return atoms  # copying a hundred thousand takes seconds
    return type(atoms)(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _checked_label(item: LabelledStructure) -> tuple[float, np.ndarray]:
    """Return energy (eV) and forces (eV/Å, (n_atoms, 3)) of a label, which must be complete and finite."""
    where = f"label {item.label_id}"
    n_atoms = len(item.atoms)
    if n_atoms == 0:
        raise DataError(f"{where}: the structure has no atoms", "leave the label out of the dataset")
    if item.energy_eV is None or not np.isfinite(item.energy_eV):
        raise DataError(f"{where}: the energy is missing or not finite", "leave failed labels out of the dataset")
    if item.forces_eV_A is None:
        raise DataError(f"{where}: the forces are missing", "leave failed labels out of the dataset")
    forces = np.asarray(item.forces_eV_A, dtype=float)
    if forces.shape != (n_atoms, 3):
        raise DataError(f"{where}: forces have shape {forces.shape}, but {n_atoms} atoms", "label it again")
    if not np.isfinite(forces).all() or not np.isfinite(item.atoms.positions).all():
        raise DataError(f"{where}: forces or positions are not finite", "leave failed labels out of the dataset")
    if not (np.isfinite(item.weight) and item.weight > 0):
        raise DataError(f"{where}: weight {item.weight} is not a positive number", "leave the label out instead")
    # pacemaker treats such names as augmented data: tiny weight, no part in the active set
    if item.label_id.startswith("augmented"):
        raise DataError(f"{where}: pacemaker takes names that begin with 'augmented' as artificial", "rename it")
    return float(item.energy_eV), forces


def _energy_of_atoms(item: LabelledStructure, reference_energies: Mapping[str, float]) -> float:
    """Return the sum of the reference energies of a structure's atoms, eV."""
    from ase.data import chemical_symbols

    numbers, found = np.unique(item.atoms.numbers, return_counts=True)
    counts = {chemical_symbols[number]: int(n) for number, n in zip(numbers, found, strict=True)}
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
        The name does not end in `.pckl.gzip`, from which pacemaker infers the compression.
    """
    if not path.name.endswith(".pckl.gzip"):
        raise InputError(f"{path.name}: pacemaker needs the ending .pckl.gzip", "rename it")
    path.parent.mkdir(parents=True, exist_ok=True)
    # no name and no time in the gzip header: the same data gives the same bytes, and so the same artifact
    with replacing(path, durable=False) as part, part.open("wb") as raw:  # noqa: SIM117
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            df.to_pickle(packed, compression=None, protocol=4)
    return path
