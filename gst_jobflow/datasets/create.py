"""Make an immutable dataset of labels of one method, with train and test sets and pinned reference energies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.base.errors import DataError, nearest
from gst_jobflow.base.words import counted
from gst_jobflow.datasets import references
from gst_jobflow.datasets.duplicates import near_duplicates
from gst_jobflow.datasets.fractions import thin
from gst_jobflow.datasets.members import load_members, write_members
from gst_jobflow.datasets.select import SelectedLabels, select_labels
from gst_jobflow.datasets.spec import RANDOM_TYPES, DatasetSpec
from gst_jobflow.datasets.split import draw_split
from gst_jobflow.datasets.table import Members, ids_of, texts_of
from gst_jobflow.documents import Dataset, derive_id
from gst_jobflow.store import Results

_NAMED = 3
SPLIT_RULE = "groups of trajectory or parent, by config_type"


@dataclass(frozen=True)
class CreatedDataset:
    """A dataset, and whether it is new; one that was known keeps the name that it got first."""

    dataset: Dataset
    new: bool


def create_dataset(
    results: Results,
    name: str,
    fingerprint: str,
    spec: DatasetSpec | None = None,
    *,
    where: Sequence[str] | None = None,
    structure_ids: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> CreatedDataset:
    """Select labels, split them, pin reference energies and store the dataset.

    Repeating it with the same labels gives the same id and changes nothing. See `select_labels` for `fingerprint`,
    `where` (an empty one takes all structures) and `structure_ids`, and `near_duplicates` for `progress`.

    Raises
    ------
    DataError
        No labels are left, one side of the split is empty, weights name a config_type that no label has, or an
        element has no reference energy.
    InputError
        A condition cannot be read.
    """
    spec = spec or DatasetSpec()
    before = _members_of(results, spec.parent_id, fingerprint, "parent")
    given = _without_excluded(results, _members_of(results, spec.test_dataset_id, fingerprint, "test set"))
    chosen = select_labels(results.database, fingerprint, where, spec.labels_where, structure_ids)
    members, selection = _filtered(results, chosen, spec, progress)
    selection |= {} if where is None else {"where": list(where)}
    members, thinned = _split(members, spec, before, given)
    energies, source = _reference_energies(results, members, fingerprint, spec)
    return store_dataset(
        results,
        members,
        name=name,
        fingerprint=fingerprint,
        config_type_weights=checked_weights(members, spec.config_type_weights),
        reference_energies_eV=energies,
        reference_energies_source=source,
        selection=selection | thinned,
        split=_split_in_words(spec),
        parent_id=spec.parent_id,
        iteration=spec.iteration,
    )


def _members_of(results: Results, dataset_id: str | None, fingerprint: str, what: str) -> Members | None:
    if dataset_id is None:
        return None
    dataset = results.get(Dataset, dataset_id)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"dataset {dataset.id} is of method {dataset.fingerprint}, not of {fingerprint}",
            f"energies of different methods do not compare: choose another {what} or none, or its method",
        )
    return load_members(results, dataset)


def _without_excluded(results: Results, members: Members | None) -> Members | None:
    """Leave out members whose label was excluded since."""
    if members is None:
        return None
    where = {"state": "excluded", "_id": {"$in": texts_of(members.label_ids)}}
    excluded = [label["_id"] for label in results.database["labels"].find(where, {"_id": 1})]
    return members.take(~np.isin(members.label_ids, ids_of(excluded)))


def _filtered(
    results: Results, chosen: SelectedLabels, spec: DatasetSpec, progress: Callable[[int, int], None] | None
) -> tuple[Members, dict[str, Any]]:
    """Leave out members with large forces and near-duplicates; return the others and the counts."""
    members = chosen.members
    selection: dict[str, Any] = {"structures": chosen.n_structures, **chosen.left_out}
    if spec.labels_where:
        selection["labels_where"] = spec.labels_where
    if spec.max_force_eV_A is not None:
        kept = ~(members.max_forces_eV_A > spec.max_force_eV_A)
        if not kept.any():
            raise DataError(f"every label has a force above {spec.max_force_eV_A} eV/Å", "raise the largest force")
        selection |= {"max_force_eV_A": spec.max_force_eV_A, "large_forces": int((~kept).sum())}
        members = members.take(kept)
    if spec.near_duplicates_A is not None:
        pairs = near_duplicates(results, members, spec.near_duplicates_A, progress)
        kept = np.ones(len(members), bool)
        kept[[pair.row for pair in pairs]] = False
        selection |= {"near_duplicates_A": spec.near_duplicates_A, "near_duplicates": len(pairs)}
        members = members.take(kept)
    return members, selection


def _split_in_words(spec: DatasetSpec) -> dict[str, Any]:
    if spec.test_dataset_id is not None:
        return {"rule": "given", "test_dataset": spec.test_dataset_id}
    kept_sides = {} if spec.parent_id is None else {"sides_of": spec.parent_id}
    return {"rule": SPLIT_RULE, **spec.split.model_dump(), **kept_sides}


def _split(
    members: Members, spec: DatasetSpec, before: Members | None, given: Members | None
) -> tuple[Members, dict[str, Any]]:
    """Draw the test set, or take the given one, and thin random structures in train; return what was left out, too."""
    if given is not None:
        members = _with_given_test(members, given.take(given.test))
    else:
        members = members.with_test(draw_split(members, spec.split, before))
    if spec.random_fraction == 1:
        return members, {}
    members, gone = thin(members, RANDOM_TYPES, spec.random_fraction, spec.split.seed)
    return members, {"random_fraction": spec.random_fraction, "random_left_out": gone}


def _with_given_test(members: Members, test: Members) -> Members:
    """Return the members in train, and `test` as test set; refuse members of a group that is tested."""
    train = members.take(~np.isin(members.label_ids, test.label_ids))
    if not len(train) or not len(test):
        raise DataError(
            f"no label is left to {'train on' if len(test) else 'test'} beside the given test set",
            "select structures that it does not hold, or choose another test set",
        )
    if np.any(shared := np.isin(train.groups, test.groups)):
        names = sorted(set(texts_of(train.groups[shared])))
        named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        raise DataError(
            f"{counted(int(shared.sum()), 'structure')} to train on share a group with the test set: {named}",
            "they would train on what is tested: leave them out, or choose another test set",
        )
    joined = Members.joined([train, test])
    return joined.take(np.argsort(joined.label_ids, kind="stable"))


def _reference_energies(
    results: Results, members: Members, fingerprint: str, spec: DatasetSpec
) -> tuple[dict[str, float], str]:
    """Return the energy of each element, eV, and its source."""
    elements, given = members.elements(), spec.reference_energies
    fix = "no training label has it: choose another split or seed, or give the energies"
    if isinstance(given, dict):
        energies, source, fix = given, spec.reference_energies_source, "give one for each element of the labels"
    elif given == references.FREE_ATOMS:
        energies = references.isolated_atom_energies(results.database, fingerprint, elements)
        source = "labels of free atoms by the method"
    else:
        energies = references.least_squares(members.take(~members.test))
        source = "least squares over the training labels"
    if missing := [element for element in elements if element not in energies]:
        raise DataError(f"no reference energy for {', '.join(missing)}", fix)
    return energies, source


def checked_weights(members: Members, weights: dict[str, float]) -> dict[str, float]:
    """Return the weights; raise DataError if they name a config_type that no member has."""
    known = members.config_types.counts()
    if unknown := sorted(set(weights) - set(known)):
        raise DataError(
            f"weights name config_type {unknown}, the labels have {sorted(known)}", nearest(unknown[0], known)
        )
    return weights


def store_dataset(results: Results, members: Members, **fields: Any) -> CreatedDataset:
    """Write the member file and the document; `fields` are those of `Dataset` that do not follow from the members.

    `_id` is a hash of members, split, weights and reference energies; name and selection do not matter.
    """
    file, identity = write_members(results.artifacts, members)
    dataset = Dataset(
        id=derive_id("dataset", identity, fields["config_type_weights"], fields["reference_energies_eV"]),
        elements=members.elements(),
        n_members=len(members),
        n_atoms=int(members.n_atoms.sum()),
        counts=members.counts(),
        counts_by_config_type=members.counts_by_config_type(),
        members=file,
        **fields,
    )
    known = results.database["datasets"].find_one({"_id": dataset.id})
    if known is not None:
        # a stored dataset never changes, also where the same content was selected in another way
        return CreatedDataset(Dataset.model_validate(known), False)
    return CreatedDataset(dataset, results.add(dataset))
