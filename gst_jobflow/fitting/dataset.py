"""From labels to an immutable dataset: one method, train and test, pinned reference energies."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Maker, job
from pydantic import Field

from gst_jobflow.documents import Dataset, Label, Structure, derive_id, unpack
from gst_jobflow.errors import DataError
from gst_jobflow.fitting.frame import LabelledStructure, reference_energies_least_squares
from gst_jobflow.store.query import make_query
from gst_jobflow.strict import StrictModel

if TYPE_CHECKING:
    from gst_jobflow.store import ArtifactStore, Results

SPLITS = ("train", "test")


class SplitSpec(StrictModel):
    """How train and test are drawn: by groups, so that structures made from one parent never straddle the two."""

    test_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)


@dataclass
class DatasetMaker(Maker):
    """Make a dataset of the converged labels of structures.

    Attributes
    ----------
    config_type_weights
        Factor on the loss of each config_type; 1 where not named.
    reference_energies_eV
        Energy of each element that the fit subtracts; None: least squares over the training labels, pinned here.
    max_force_eV_A
        Labels with a larger force on an atom are left out; None: none are.
    """

    name: str = "dataset"
    dataset_name: str = "dataset"
    split: SplitSpec = field(default_factory=SplitSpec)
    config_type_weights: dict[str, float] = field(default_factory=dict)
    reference_energies_eV: dict[str, float] | None = None
    reference_energies_source: str = "given"
    max_force_eV_A: float | None = None
    iteration: int = 0

    @job
    def make(self, structure_ids: list[list[str]], fingerprint: str, where: list[str] | None = None) -> dict[str, Any]:
        """Select, check, split and store.

        Parameters
        ----------
        structure_ids
            Lists of structure ids, as labelling jobs give them.
        fingerprint
            The one method whose labels are taken.
        where
            Conditions on structures as `gst query` takes them, beside the ids: many structures are chosen by a query,
            which stays small in the database, and not by their ids.

        Returns
        -------
        dict
            `dataset_id`, `counts`.
        """
        from gst_jobflow.store.context import job_results

        results = job_results()
        wanted = [id for part in structure_ids for id in part]
        if where is not None:
            chosen = make_query("structures", where).where
            wanted += [found["_id"] for found in results.database["structures"].find(chosen, {"_id": 1})]
        labels = [label for label in labels_of(results, wanted, fingerprint) if label.state == "converged"]
        if not labels:
            raise _no_labels(results, len(wanted), fingerprint)
        dataset = build_dataset(results, labels, self)
        results.add(dataset)
        return {"dataset_id": dataset.id, "counts": dataset.counts, "without_label": len(wanted) - len(labels)}


def _no_labels(results: Results, n_structures: int, fingerprint: str) -> DataError:
    known = sorted(results.database["labels"].distinct("fingerprint"))
    return DataError(
        f"none of {n_structures} structures has a converged label of {fingerprint}",
        f"there are labels of {', '.join(known)}" if known else "gst submit label makes labels",
    )


def labels_of(results: Results, structure_ids: list[str], fingerprint: str) -> list[Label]:
    """Labels of the structures by one method, in any state; structures without a label are left out."""
    ids = [Label.id_for(structure_id, fingerprint) for structure_id in dict.fromkeys(structure_ids)]
    found: list[Label] = []
    for start in range(0, len(ids), 1000):
        found += results.find(Label, {"_id": {"$in": ids[start : start + 1000]}}, sort=[("_id", 1)])
    return found


def build_dataset(results: Results, labels: list[Label], maker: DatasetMaker) -> Dataset:
    """Make the dataset document; its member list goes to the artifacts.

    Raises
    ------
    DataError
        No labels, labels of several methods, a label that is not converged or lacks its energy, or an unknown
        config_type among the weights.
    """
    fingerprint = check_labels(labels)
    labels, selection = select(labels, maker.max_force_eV_A)
    structures = {item.id: item for item in results.get_many(Structure, [label.structure_id for label in labels])}
    splits = draw_split(labels, structures, maker.split)
    items = list(labelled_structures(labels, structures, results.artifacts, {}))
    types = {label.config_type for label in labels}
    if unknown := set(maker.config_type_weights) - types:
        raise DataError(f"weights name config_type {sorted(unknown)}", f"the labels have {sorted(types)}")
    references, source = maker.reference_energies_eV, maker.reference_energies_source
    if references is None:
        train = [item for item, split in zip(items, splits, strict=True) if split == "train"]
        references, source = reference_energies_least_squares(train), "least squares over the training labels"
    members = [
        {"label_id": lb.id, "structure_id": lb.structure_id, "config_type": lb.config_type, "split": split}
        for lb, split in zip(labels, splits, strict=True)
    ]
    identity = [members, maker.config_type_weights, references]
    return Dataset(
        _id=derive_id("dataset", *identity),
        name=maker.dataset_name,
        fingerprint=fingerprint,
        elements=sorted({element for structure in structures.values() for element in structure.elements}),
        n_members=len(members),
        n_atoms=sum(label.n_atoms for label in labels),
        counts={split: splits.count(split) for split in SPLITS},
        counts_by_config_type={
            split: dict(Counter(m["config_type"] for m in members if m["split"] == split)) for split in SPLITS
        },
        config_type_weights=maker.config_type_weights,
        reference_energies_eV=references,
        reference_energies_source=source,
        selection=selection,
        split={"rule": "groups of one parent, by config_type", **maker.split.model_dump()},
        members=results.artifacts.put_bytes(_members_file(members), "members.jsonl.gz"),
        iteration=maker.iteration,
    )


def select(labels: list[Label], max_force_eV_A: float | None) -> tuple[list[Label], dict[str, Any]]:
    """Labels in the order of their ids without those above the largest force, and what that left out.

    Raises
    ------
    DataError
        None is left.
    """
    ordered = sorted(labels, key=lambda label: label.id)
    if max_force_eV_A is None:
        return ordered, {}
    kept = [label for label in ordered if (label.max_force_eV_A or 0.0) <= max_force_eV_A]
    if not kept:
        raise DataError(f"every label has a force above {max_force_eV_A} eV/Å", "raise max_force_eV_A")
    return kept, {"max_force_eV_A": max_force_eV_A, "left_out": len(ordered) - len(kept)}


def check_labels(labels: list[Label]) -> str:
    """The one fingerprint of the labels; see `build_dataset` for what is refused."""
    if not labels:
        raise DataError(
            "a dataset needs converged labels and there are none", "gst query labels -w state=failed says why"
        )
    fingerprints = Counter(label.fingerprint for label in labels)
    if len(fingerprints) > 1:
        raise DataError(
            f"labels of {len(fingerprints)} methods in one dataset: {', '.join(sorted(fingerprints))}",
            "choose one fingerprint: energies of different methods do not compare",
        )
    for label in labels:
        if label.state != "converged" or label.energy_eV is None or label.forces is None:
            raise DataError(f"label {label.id} is {label.state} and has no energy", "leave it out, or compute it again")
    return labels[0].fingerprint


def draw_split(labels: list[Label], structures: dict[str, Structure], spec: SplitSpec) -> list[str]:
    """`train` or `test` for each label: of each config_type at least one group is tested where there are two.

    Raises
    ------
    DataError
        No label is left for one of the two.
    """
    rng = np.random.default_rng(spec.seed)
    members: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        parents = structures[label.structure_id].parents
        members.setdefault(parents[0] if parents else label.structure_id, []).append(index)
    # a group of several types counts with the type of its first member
    groups: dict[str, dict[str, list[int]]] = {}
    for root, indices in members.items():
        groups.setdefault(labels[indices[0]].config_type, {})[root] = indices
    splits = ["train"] * len(labels)
    for config_type in sorted(groups):
        names = sorted(groups[config_type])
        n_test = 0 if len(names) < 2 else max(1, round(spec.test_fraction * len(names)))
        for name in rng.permutation(names)[:n_test]:
            for index in groups[config_type][str(name)]:
                splits[index] = "test"
    if missing := [split for split in SPLITS if split not in splits]:
        raise DataError(
            f"{len(labels)} labels give no {missing[0]} set with test_fraction {spec.test_fraction}",
            "label more structures",
        )
    return splits


def labelled_structures(
    labels: Iterable[Label], structures: dict[str, Structure], artifacts: ArtifactStore, weights: dict[str, float]
) -> Iterator[LabelledStructure]:
    """Join labels with the atoms of their structures."""
    from gst_jobflow.store.atoms import atoms_of

    for label in labels:
        assert label.energy_eV is not None and label.forces is not None  # `check_labels` sees to it
        yield LabelledStructure(
            atoms=atoms_of(structures[label.structure_id], artifacts),
            energy_eV=label.energy_eV,
            forces_eV_A=unpack(label.forces, 3),
            label_id=label.id,
            config_type=label.config_type,
            weight=weights.get(label.config_type, 1.0),
        )


def _members_file(members: list[dict[str, str]]) -> bytes:
    lines = "".join(json.dumps(member) + "\n" for member in members)
    # no time stamp in the gzip header: the same members are the same file
    return gzip.compress(lines.encode(), mtime=0)


def read_members(artifacts: ArtifactStore, dataset: Dataset) -> Iterator[dict[str, str]]:
    """Stream the members of a dataset: label_id, structure_id, config_type, split."""
    with gzip.open(artifacts.path(dataset.members), "rt") as lines:
        for line in lines:
            yield json.loads(line)


def load_split(results: Results, dataset: Dataset, split: str) -> list[LabelledStructure]:
    """Read the labelled structures of `train` or `test` of a dataset.

    Raises
    ------
    DataError
        A label changed its method or lost its energy since the dataset was made.
    """
    ids = [member["label_id"] for member in read_members(results.artifacts, dataset) if member["split"] == split]
    labels = list(results.get_many(Label, ids))
    if check_labels(labels) != dataset.fingerprint:
        raise DataError(
            f"dataset {dataset.id} is of method {dataset.fingerprint}, its labels are not", "gst query labels"
        )
    structures = {item.id: item for item in results.get_many(Structure, [label.structure_id for label in labels])}
    return list(labelled_structures(labels, structures, results.artifacts, dataset.config_type_weights))
