"""Read the labels that potentials are evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import Dataset, Label, Structure, unpack
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.store.query import make_query

Split = Literal["train", "test", "all"]


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled structures in the order of their label ids; `fingerprint` is the method of all labels.

    Energies (n_structures,) are those of the cells, forces have the shape (n_atoms, 3) for each structure, and
    `min_distances_A` is NaN for a structure without contacts.
    """

    name: str
    fingerprint: str
    label_ids: list[str]
    atoms: list[Atoms]
    energies_eV: np.ndarray
    forces_eV_A: list[np.ndarray]
    config_types: list[str]
    formulas: list[str]
    iterations: list[int]
    min_distances_A: np.ndarray
    dataset_id: str | None = None

    @property
    def elements(self) -> list[str]:
        """Return all elements, sorted."""
        return sorted({symbol for each in self.atoms for symbol in set(each.get_chemical_symbols())})

    @property
    def n_atoms(self) -> np.ndarray:
        """Return the number of atoms of each structure."""
        return np.array([len(each) for each in self.atoms])


def of_dataset(results: Results, dataset: Dataset, split: Split = "test") -> EvaluationSet:
    """Read the labels of one side of a dataset, or of both; raises InputError if there are none."""
    members = (m for m in read_members(results.artifacts, dataset) if split in ("all", m["split"]))
    ids = [(member["label_id"], member["structure_id"]) for member in members]
    return _load(results, ids, f"{dataset.name} ({split})", dataset.id)


def of_query(results: Results, where: Sequence[str]) -> EvaluationSet:
    """Read the converged labels that meet conditions on them and their structures, see `make_query`.

    Raises InputError if there are none, they are of several methods, or a condition cannot be read.
    """
    query = make_query("labels", [*where, "state=converged"])
    methods = [found["_id"] for found in query.aggregate(results.database, [{"$group": {"_id": "$fingerprint"}}])]
    if len(methods) > 1:
        raise InputError(
            f"these labels are of {len(methods)} methods: {', '.join(sorted(methods)[:4])}",
            "add fingerprint=… to the conditions, since energies of different methods do not compare",
        )
    found = query.cursor(results.database, {"structure_id": 1})
    ids = sorted((label["_id"], label["structure_id"]) for label in found)
    return _load(results, ids, " ".join(where))


def _load(results: Results, ids: list[tuple[str, str]], name: str, dataset_id: str | None = None) -> EvaluationSet:
    if not ids:
        raise InputError(f"no converged label in {name or 'the database'}", "gst query labels shows what there is")
    labels = results.get_many(Label, [label for label, _ in ids])
    structures = results.get_many(Structure, [structure for _, structure in ids])
    pairs = list(zip(labels, structures, strict=True))
    return EvaluationSet(
        name=name,
        fingerprint=pairs[0][0].fingerprint,
        label_ids=[label.id for label, _ in pairs],
        atoms=[atoms_of(structure, results.artifacts) for _, structure in pairs],
        energies_eV=np.array([label.energy_eV for label, _ in pairs], dtype=float),
        forces_eV_A=[unpack(label.forces or b"", 3) for label, _ in pairs],
        config_types=[label.config_type for label, _ in pairs],
        formulas=[structure.formula for _, structure in pairs],
        iterations=[structure.iteration for _, structure in pairs],
        min_distances_A=np.array(
            [np.nan if s.min_distance_A is None else s.min_distance_A for _, s in pairs], dtype=float
        ),
        dataset_id=dataset_id,
    )
