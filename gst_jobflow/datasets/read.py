"""Stream the members of a dataset with atoms, energies and forces, as fits and exports take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import ArtifactRef, Dataset, unpack
from gst_jobflow.documents.label import COMPLETE
from gst_jobflow.store import Results

_BATCH = 1000
_LABEL_FIELDS = ("structure_id", "fingerprint", "state", "config_type", "energy_eV", "forces", "stress_eV_A3")
_STRUCTURE_FIELDS = ("numbers", "positions", "cell_A", "pbc", "atoms_artifact", "iteration", "group", "source")


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with its reference energy of the cell, eV, and forces (n_atoms, 3), eV/Å.

    `label_id` is the name of the row and finds the way back from a prediction. `weight` is a factor on the row's share
    of the loss, for energy and forces; pacemaker normalises the sum.
    """

    atoms: Atoms
    energy_eV: float
    forces_eV_A: np.ndarray
    label_id: str
    config_type: str
    weight: float = 1.0


@dataclass(frozen=True)
class MemberRow:
    """A member of a dataset.

    Shapes are `numbers` (N,), `positions_A` (N, 3), `cell_A` (3, 3), `pbc` (3,), `forces_eV_A` (N, 3); the energy is
    that of the cell. The stress is Voigt xx, yy, zz, yz, xz, xy (positive is tension) or None. `source` says what made
    the structure.
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

    def labelled(self, dataset: Dataset) -> LabelledStructure:
        """Return the row as a fit takes it."""
        return LabelledStructure(
            atoms=Atoms(numbers=self.numbers, positions=self.positions_A, cell=self.cell_A, pbc=self.pbc),
            energy_eV=self.energy_eV,
            forces_eV_A=self.forces_eV_A,
            label_id=self.label_id,
            config_type=self.config_type,
            weight=dataset.config_type_weights.get(self.config_type, 1.0),
        )


def load_split(results: Results, dataset: Dataset, split: str) -> list[LabelledStructure]:
    """Read the labelled structures of `train` or `test` of a dataset; see `stream_rows`."""
    return [row.labelled(dataset) for row in stream_rows(results, dataset, split)]


def stream_rows(
    results: Results,
    dataset: Dataset,
    split: str | None = None,
    progress: Callable[[int], None] | None = None,
    most: int | None = None,
) -> Iterator[MemberRow]:
    """Stream the members of a dataset, or of one split, in the order of the label ids and in constant memory.

    Documents are read without their models: a hundred thousand take seconds. `progress` is called with how many are
    done. At `most` so many are taken at even distances; label ids are hashes, so this is a uniform draw, and the same
    each time.

    Raises
    ------
    DataError
        A label or structure does not exist any more, or a label lost its energy or changed its method.
    """
    members = (each for each in read_members(results.artifacts, dataset) if split in (None, each["split"]))
    total = dataset.n_members if split is None else dataset.counts.get(split, 0)
    if most is not None and most < total:
        places = {number * total // most for number in range(most)}
        members = (each for place, each in enumerate(members) if place in places)
    done = 0
    for batch in batches(members, _BATCH):
        labels = _found(results, "labels", (member["label_id"] for member in batch), _LABEL_FIELDS)
        ids = (label["structure_id"] for label in labels.values())
        structures = _found(results, "structures", ids, _STRUCTURE_FIELDS)
        for member in batch:
            yield _row(results, dataset, member, labels, structures)
        done += len(batch)
        if progress:
            progress(done)


def _found(results: Results, collection: str, ids: Iterable[str], fields: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    where = {"_id": {"$in": list(ids)}}
    return {found["_id"]: found for found in results.database[collection].find(where, dict.fromkeys(fields, 1))}


def _row(results: Results, dataset: Dataset, member: dict[str, Any], labels: dict, structures: dict) -> MemberRow:
    label = labels.get(member["label_id"])
    if label is None:
        raise DataError(f"label {member['label_id']} of dataset {dataset.id} does not exist", "gst db check")
    if label["fingerprint"] != dataset.fingerprint:
        raise DataError(
            f"dataset {dataset.id} is of method {dataset.fingerprint}, label {label['_id']} of {label['fingerprint']}",
            "energies of different methods do not compare: gst db check",
        )
    # a dataset that was made before the label was excluded stays as it is
    if label["state"] not in COMPLETE or label["energy_eV"] is None or label["forces"] is None:
        problem = f"label {label['_id']} is {label['state']} and has no energy"
        raise DataError(problem, "make the dataset again without it")
    structure = structures.get(label["structure_id"])
    if structure is None:
        raise DataError(f"structure {label['structure_id']} of dataset {dataset.id} does not exist", "gst db check")
    numbers, positions_A = _atoms(results, structure)
    return MemberRow(
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
