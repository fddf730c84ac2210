"""Select what a bundle holds: a document, its members and everything these came from; or the whole database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import DOCUMENTS, Dataset
from gst_jobflow.store import Results
from gst_jobflow.store.files.references import file_fields, files_of
from gst_jobflow.store.id_table import FileRow, IdTable
from gst_jobflow.store.relations import MADE_BY_JOBS, ids_at, relations_of

ORDER = ("structures", "labels", "datasets", "potentials", "cycles", "trajectories", "studies", "attempts")
"""Collections in an order in which most documents come after those they name."""

_BATCH = 500
_LICENSED_NAME = re.compile(r"(?i)(^|[._-])(potcar|potcars|potpaw|vdw_kernel)([._-]|$)")
_FREE_NAME = re.compile(r"(?i)potcar\.spec(\.|$)")
_FREE, _LICENSED, _MISSING = "free files", "licensed files", "missing files"


def is_licensed(name: str) -> bool:
    """Whether the licence of a file of this name forbids passing it on, as of VASP's potentials."""
    return bool(_LICENSED_NAME.search(name)) and not _FREE_NAME.search(name)


class Selection(IdTable):
    """The documents and files of a bundle; `everything` selects all of the database, without a table of ids."""

    def __init__(self, results: Results, *, everything: bool = False) -> None:
        super().__init__()
        self.results, self.everything = results, everything

    def n_documents(self, name: str) -> int:
        """Count the selected documents of a collection."""
        return self.results.database[name].estimated_document_count() if self.everything else self.count(name)

    def documents(self, name: str, fields: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield the selected documents, or some of their fields, in the order of ids; DataError if one is missing."""
        stored, shown = self.results.database[name], dict.fromkeys(fields, 1) or None
        if self.everything:
            yield from stored.find({}, shown).sort("_id", 1)
            return
        for batch in batches(self.ids(name), _BATCH):
            found = {document["_id"]: document for document in stored.find({"_id": {"$in": batch}}, shown)}
            for id in batch:
                if id not in found:
                    raise _missing(name, id)
                yield found[id]

    def size_bytes(self, name: str) -> int:
        """Return the size of the selected documents in the database, bytes."""
        stored = self.results.database[name]
        if self.everything:
            sizes: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
            return next(iter(stored.aggregate(sizes)))["storageStats"]["size"]
        total = 0
        for batch in batches(self.ids(name), _BATCH):
            summed: list[dict[str, Any]] = [
                {"$match": {"_id": {"$in": batch}}},
                {"$group": {"_id": 0, "n": {"$sum": {"$bsonSize": "$$ROOT"}}}},
            ]
            total += sum(found["n"] for found in stored.aggregate(summed))
        return total

    def note_files(self, refs: Iterable[dict[str, Any]]) -> None:
        """Note files that documents name; one that any of them names like a licensed file counts as licensed."""
        for ref in refs:
            kind = _LICENSED if is_licensed(ref["name"]) else _FREE
            self.add_files(kind, [(ref["sha256"], ref["size_bytes"], ref["name"])])

    def note_all_files(self) -> None:
        """Note the files that the selected documents name."""
        for name, model in DOCUMENTS.items():
            if fields := file_fields(model):
                for document in self.documents(name, fields):
                    self.note_files(files_of(document, model))

    def left_out(self) -> list[tuple[FileRow, Literal["licensed", "missing"]]]:
        """Return the noted files that do not go into the bundle, and why: `licensed` or `missing`."""
        artifacts = self.results.artifacts
        missing = [file for file in self.files(_FREE, _LICENSED) if artifacts.size_of(file[0]) is None]
        self.add_files(_MISSING, missing)
        # a licensed file is left out whether it is stored or not: so a bundle of an imported bundle is the same
        left_out: list[tuple[FileRow, Literal["licensed", "missing"]]] = [(file, "missing") for file in missing]
        left_out += [(file, "licensed") for file in self.files(_LICENSED)]
        return sorted(left_out)

    def held_files(self) -> Iterator[FileRow]:
        """Stream the noted files that go into the bundle, in the order of their hashes; call `left_out` before."""
        return self.files(_FREE, _LICENSED, _MISSING)


def select_with_origins(selection: Selection, collection: str, id: str) -> None:
    """Select a document with its parts (members of a study or dataset, trajectories of a cycle), everything that these
    came from, and the attempts of their jobs; nothing that was made from them.

    A document that does not exist, or a member file that cannot be read, is a DataError.
    """
    selection.add(collection, [id])
    while any([_follow(selection, name) for name in DOCUMENTS]):
        pass


def _missing(name: str, id: str) -> DataError:
    return DataError(f"{name} '{id}' is named by another document and does not exist", "gst db check")


def _follow(selection: Selection, name: str) -> bool:
    """Select the parts and origins of the documents of a collection that were not followed yet; False if none were."""
    followed = False
    database = selection.results.database
    wanted = [relation.field for relation in relations_of(name)] + ["members", "job_uuid"]
    while ids := selection.take(name, _BATCH):
        followed = True
        found = list(database[name].find({"_id": {"$in": ids}}, dict.fromkeys(wanted, 1)))
        if len(found) != len(ids):
            raise _missing(name, min({*ids} - {document["_id"] for document in found}))
        _select_origins(selection, name, found)
        if name in MADE_BY_JOBS:
            jobs = {document["job_uuid"] for document in found if document.get("job_uuid")}
            _select_where(selection, "attempts", "job_uuid", jobs)
        elif name == "cycles":
            _select_where(selection, "trajectories", "cycle_id", ids)
        elif name == "datasets":
            for id in ids:
                _select_members(selection, selection.results.get(Dataset, id))
        elif name == "studies":
            _select_parts(selection, found)
    return followed


def _select_where(selection: Selection, name: str, field: str, values: Iterable[str]) -> None:
    found = selection.results.database[name].find({field: {"$in": sorted(values)}}, {"_id": 1})
    selection.add(name, (document["_id"] for document in found))


def _select_origins(selection: Selection, name: str, found: list[dict[str, Any]]) -> None:
    for relation in relations_of(name):
        path = relation.field.split(".")
        ids = {id for document in found for id in ids_at(document, path)}
        if relation.kept:
            selection.add(relation.target, ids)
        elif ids:
            _select_where(selection, relation.target, "_id", ids)


def _select_members(selection: Selection, dataset: Dataset) -> None:
    for batch in batches(read_members(selection.results.artifacts, dataset), 10 * _BATCH):
        selection.add("labels", (member["label_id"] for member in batch))
        selection.add("structures", (member["structure_id"] for member in batch))


def _select_parts(selection: Selection, studies: list[dict[str, Any]]) -> None:
    for study in studies:
        for member in study.get("members") or []:
            if member["collection"] not in DOCUMENTS:
                raise DataError(f"study '{study['_id']}' names {member['collection']}", "gst db check")
            selection.add(member["collection"], [member["id"]])
