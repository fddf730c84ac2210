"""Select converged labels of one method by conditions on them and their structures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
from pymongo.collection import Collection
from pymongo.database import Database

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.groups import group_names, group_of
from gst_jobflow.datasets.table import Members, ids_of, places_in, texts_of
from gst_jobflow.documents import Label, Structure
from gst_jobflow.store.query import label_filters

_ROWS = 10_000
_IDS = 1000
_FEW = 20
"""Labels are looked up by id if the collection holds this many times as many; else all are read."""
_MOST = 4
_FIELDS = ("structure_id", "config_type", "formula", "n_atoms", "energy_eV", "max_force_eV_A")


@dataclass(frozen=True)
class SelectedLabels:
    """The selected members, all in train, of `n_structures` that matched or were named.

    `left_out` counts structures or labels that were left out, by reason.
    """

    members: Members
    n_structures: int
    left_out: dict[str, int] = field(default_factory=dict)


def select_labels(
    database: Database,
    fingerprint: str,
    where: Sequence[str] | None = None,
    labels_where: Sequence[str] = (),
    structure_ids: Iterable[str] = (),
) -> SelectedLabels:
    """Select the converged labels of one method on structures.

    Parameters
    ----------
    where
        Conditions on structures and labels, see `label_filters`; None: only `structure_ids`.
    labels_where
        More conditions, which leave out and count structures instead of choosing them.
    structure_ids
        More structures.

    Raises
    ------
    DataError
        No label is left; the message names the methods of all labels.
    InputError
        A condition cannot be read.
    """
    of_labels, of_structures = label_filters(where or (), Structure)
    also_of_labels, also_of_structures = label_filters(labels_where)
    labels = {"$and": [{"fingerprint": fingerprint, "state": "converged"}, of_labels, also_of_labels]}
    structures = None if where is None else of_structures
    named = list(dict.fromkeys(structure_ids))
    ids, groups, members = _read(database, structures, labels, named, fingerprint)
    places = places_in(ids, members.structure_ids)
    kept = places >= 0
    if also_of_structures:
        kept &= np.isin(members.structure_ids, _ids(database["structures"], also_of_structures))
    left_out = {"structures_without_label": len(ids) - int(kept.sum())}
    left_out["structures_not_there"] = int((places_in(ids, ids_of(named)) < 0).sum()) if named else 0
    if structures == {}:
        left_out["labels_without_structure"] = int((places < 0).sum())
    if not kept.any():
        raise no_labels(database, len(ids), fingerprint, labels_where)
    order = np.flatnonzero(kept)
    order = order[np.argsort(members.label_ids[order], kind="stable")]
    members = members.take(order)
    names = group_names(database, members.structure_ids, groups[places[order]])
    chosen = Members(**{**vars(members), "groups": names})
    return SelectedLabels(chosen, len(ids), {reason: number for reason, number in left_out.items() if number})


def no_labels(database: Database, n_structures: int, fingerprint: str, labels_where: Sequence[str] = ()) -> DataError:
    """Make the error of a selection without labels; it names the methods of all labels."""
    also = f" with {' '.join(labels_where)}" if labels_where else ""
    known = fingerprints(database)
    return DataError(
        f"none of {n_structures} structures has a converged label of {fingerprint}{also}",
        f"there are labels of {', '.join(known)}" if known else "gst submit label makes labels",
    )


def fingerprints(database: Database) -> list[str]:
    """Return the methods of all labels."""
    return sorted(database["labels"].distinct("fingerprint"))


def _structures(database: Database, where: dict[str, Any] | None, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted ids and groups of the structures that match or are named."""
    collection, fields = database["structures"], {"group": 1}
    found: Iterator[dict[str, Any]] = iter(())
    if where is not None:
        found = collection.find(where, fields).batch_size(_ROWS)
    parts = [_columns(found, itemgetter("_id"), group_of)]
    for start in range(0, len(ids), _IDS):
        named = collection.find({"_id": {"$in": ids[start : start + _IDS]}}, fields)
        parts.append(_columns(named, itemgetter("_id"), group_of))
    all_ids, first = np.unique(np.concatenate([part[0] for part in parts]), return_index=True)
    return all_ids, np.concatenate([part[1] for part in parts])[first]


def _columns(found: Iterator[dict[str, Any]], *values: Callable[[dict[str, Any]], str]) -> tuple[np.ndarray, ...]:
    """Return a column of bytes for each value of the documents."""
    parts = [[ids_of([])] for _ in values]
    for part in batches(found, _ROWS):
        for column, value in zip(parts, values, strict=True):
            column.append(ids_of(map(value, part)))
    return tuple(map(np.concatenate, parts))


def _read(
    database: Database, structures: dict[str, Any] | None, labels: dict[str, Any], ids: list[str], fingerprint: str
) -> tuple[np.ndarray, np.ndarray, Members]:
    """Return ids and groups of structures, and labels of these and perhaps of others, in any order."""
    if structures == {}:
        # the server reads one collection while the other is taken in
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(_all_labels, database, labels, fingerprint)
            return *_structures(database, structures, ids), later.result()
    all_ids, groups = _structures(database, structures, ids)
    if len(all_ids) * _FEW > database["labels"].estimated_document_count():
        return all_ids, groups, _all_labels(database, labels, fingerprint)
    return all_ids, groups, _labels_of(database, labels, all_ids, fingerprint)


def _all_labels(database: Database, where: dict[str, Any], fingerprint: str) -> Members:
    collection = database["labels"]
    found = collection.find(where, _FIELDS).batch_size(_ROWS)
    if collection.count_documents({"fingerprint": fingerprint}) * _MOST > collection.estimated_document_count():
        # most labels are of this method: reading in disk order is twice as fast as by an index
        found = found.hint([("$natural", 1)])
    return Members.joined(list(_tables(found)))


def _labels_of(database: Database, where: dict[str, Any], structure_ids: np.ndarray, fingerprint: str) -> Members:
    parts = [_members([])]
    for start in range(0, len(structure_ids), _IDS):
        ids = [Label.id_for(id, fingerprint) for id in texts_of(structure_ids[start : start + _IDS])]
        parts += _tables(database["labels"].find({"$and": [{"_id": {"$in": ids}}, where]}, _FIELDS))
    return Members.joined(parts)


def _tables(found: Iterator[dict[str, Any]]) -> Iterator[Members]:
    yield _members([])
    for part in batches(found, _ROWS):
        yield _members(part)


def _members(labels: list[dict[str, Any]]) -> Members:
    for label in labels:
        if label["energy_eV"] is None:
            raise DataError(f"label {label['_id']} is converged and has no energy", "gst db check")
    # groups stand in the structures and are filled in later
    return Members.of_labels(labels)


def matching(database: Database, members: Members, where: Sequence[str]) -> np.ndarray:
    """Return the mask of the members whose structures and labels meet the conditions, shape (n,)."""
    of_labels, of_structures = label_filters(where, Structure)
    mask = np.ones(len(members), bool)
    if of_structures:
        mask &= np.isin(members.structure_ids, _ids(database["structures"], of_structures))
    if of_labels:
        mask &= np.isin(members.label_ids, _ids(database["labels"], of_labels))
    return mask


def _ids(collection: Collection, where: dict[str, Any]) -> np.ndarray:
    return _columns(collection.find(where, {"_id": 1}).batch_size(_ROWS), itemgetter("_id"))[0]
