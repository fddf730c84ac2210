"""Read one side of a dataset with atoms, energies and forces, as a fit takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import Dataset, Label, Structure, unpack
from gst_jobflow.store.atoms import atoms_of

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.store import Results

_BATCH = 500


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
        Id of the label; names the row, so that a prediction can be traced back.
    weight
        Factor on the row's energy and forces in the loss; pacemaker normalises the sum.
    """

    atoms: Atoms
    energy_eV: float
    forces_eV_A: np.ndarray
    label_id: str
    config_type: str
    weight: float = 1.0


def load_split(results: Results, dataset: Dataset, split: str) -> list[LabelledStructure]:
    """Read all labelled structures of `train` or `test` of a dataset; see `stream_split`."""
    return list(stream_split(results, dataset, split))


def stream_split(results: Results, dataset: Dataset, split: str) -> Iterator[LabelledStructure]:
    """Stream the labelled structures of `train` or `test` of a dataset, in the order of the label ids.

    Raises
    ------
    DataError
        A label changed its method or lost its energy since the dataset was made.
    """
    members = (member for member in read_members(results.artifacts, dataset) if member["split"] == split)
    while part := list(islice(members, _BATCH)):
        labels = results.get_many(Label, [member["label_id"] for member in part])
        structures = results.get_many(Structure, [member["structure_id"] for member in part])
        for label, structure in zip(labels, structures, strict=True):
            energy_eV, forces = _checked(label, dataset)
            yield LabelledStructure(
                atoms=atoms_of(structure, results.artifacts),
                energy_eV=energy_eV,
                forces_eV_A=unpack(forces, 3),
                label_id=label.id,
                config_type=label.config_type,
                weight=dataset.config_type_weights.get(label.config_type, 1.0),
            )


def _checked(label: Label, dataset: Dataset) -> tuple[float, bytes]:
    """Return energy (eV) and packed forces of a label that is unchanged since the dataset was made."""
    if label.fingerprint != dataset.fingerprint:
        raise DataError(
            f"dataset {dataset.id} is of method {dataset.fingerprint}, label {label.id} of {label.fingerprint}",
            "energies of different methods do not compare: gst db check",
        )
    if label.state != "converged" or label.energy_eV is None or label.forces is None:
        raise DataError(f"label {label.id} is {label.state} and has no energy", "make the dataset again without it")
    return label.energy_eV, label.forces
