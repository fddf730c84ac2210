"""The members of a dataset with their labels and atoms, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import ArtifactRef, Dataset, Label, Structure, unpack

if TYPE_CHECKING:
    from gst_jobflow.store import Results

_BATCH = 1000
_LABEL_FIELDS = ("structure_id", "fingerprint", "state", "config_type", "energy_eV", "forces", "stress_eV_A3")
_STRUCTURE_FIELDS = ("numbers", "positions", "cell_A", "pbc", "atoms_artifact", "iteration", "group", "source")


@dataclass(frozen=True)
class Row:
    """One member of a dataset.

    Attributes
    ----------
    numbers, positions_A, cell_A, pbc
        The structure; shapes (N,), (N, 3), (3, 3), (3,).
    energy_eV, forces_eV_A, stress_eV_A3
        The label: total energy, shape (N, 3), and Voigt xx, yy, zz, yz, xz, xy (positive is tension) or None.
    source
        What made the structure.
    """

    label_id: str
    structure_id: str
    config_type: str
    split: str
    numbers: np.ndarray
    positions_A: np.ndarray
    cell_A: np.ndarray
    pbc: list[bool]
    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: list[float] | None
    iteration: int
    group: str
    source: dict[str, Any]


def labelled_members(
    results: Results, dataset: Dataset, split: str | None = None, progress: Callable[[int], None] | None = None
) -> Iterator[Row]:
    """Stream the members of a dataset, or of one split, in their order, in constant memory.

    Documents are read as they are, without their models: a hundred thousand take seconds.

    Raises
    ------
    DataError
        A label or structure is gone, or a label lost its energy or changed its method.
    """
    members = read_members(results.artifacts, dataset)
    chosen = (member for member in members if split is None or member["split"] == split)
    done = 0
    while batch := list(islice(chosen, _BATCH)):
        labels = _found(results, Label.collection, (member["label_id"] for member in batch), _LABEL_FIELDS)
        ids = (label["structure_id"] for label in labels.values())
        structures = _found(results, Structure.collection, ids, _STRUCTURE_FIELDS)
        for member in batch:
            yield _row(results, dataset, member, labels, structures)
        done += len(batch)
        if progress:
            progress(done)


def _found(results: Results, collection: str, ids: Iterable[str], fields: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    where = {"_id": {"$in": list(ids)}}
    return {found["_id"]: found for found in results.database[collection].find(where, dict.fromkeys(fields, 1))}


def _row(results: Results, dataset: Dataset, member: dict[str, Any], labels: dict, structures: dict) -> Row:
    label = labels.get(member["label_id"])
    if label is None:
        raise DataError(f"label {member['label_id']} of dataset {dataset.id} is not there", "gst db check")
    if label["state"] != "converged" or label["energy_eV"] is None or label["forces"] is None:
        raise DataError(f"label {label['_id']} of dataset {dataset.id} has no energy any more", "gst db check --deep")
    if label["fingerprint"] != dataset.fingerprint:
        raise DataError(f"label {label['_id']} is not of the method of dataset {dataset.id}", "gst db check --deep")
    structure = structures.get(label["structure_id"])
    if structure is None:
        raise DataError(f"structure {label['structure_id']} of dataset {dataset.id} is not there", "gst db check")
    numbers, positions_A = _atoms(results, structure)
    return Row(
        label_id=label["_id"],
        structure_id=structure["_id"],
        config_type=label["config_type"],
        split=member["split"],
        numbers=numbers,
        positions_A=positions_A,
        cell_A=np.array(structure["cell_A"], dtype=float),
        pbc=structure["pbc"],
        energy_eV=float(label["energy_eV"]),
        forces_eV_A=unpack(label["forces"], 3),
        stress_eV_A3=label["stress_eV_A3"],
        iteration=structure["iteration"],
        group=structure["group"],
        source=structure["source"],
    )


def _atoms(results: Results, structure: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if structure["atoms_artifact"] is None:
        return unpack(structure["numbers"], dtype="u1"), unpack(structure["positions"], 3)
    with np.load(results.artifacts.path(ArtifactRef(**structure["atoms_artifact"]))) as data:
        return data["numbers"], data["positions"]
