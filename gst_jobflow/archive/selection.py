"""What belongs to a bundle: a document with its members and all that these came from, or the whole database.

Ids and files are kept in a table on disk: a million of them do not belong in memory.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import DOCUMENTS, Dataset
from gst_jobflow.store.check import REFERENCES, file_fields, ids_at, references_to_files
from gst_jobflow.store.lineage import OF_JOB

if TYPE_CHECKING:
    from gst_jobflow.store import Results

ORDER = ("structures", "labels", "datasets", "potentials", "cycles", "trajectories", "studies", "attempts")
"""Collections so that a document stands behind most of those that it names."""

_BATCH = 500
_LICENSED = re.compile(r"(?i)(^|[._-])(potcar|potcars|potpaw|vdw_kernel)([._-]|$)")
_FREE = re.compile(r"(?i)potcar\.spec(\.|$)")
# origins that are written down in free-form fields, and may be gone
_SOFT = {"structures": (("source", "potential_id", "potentials"),)}


def is_licensed(name: str) -> bool:
    """Whether a file of this name must not be passed on by its licence, as VASP's potentials."""
    return bool(_LICENSED.search(name)) and not _FREE.search(name)


class Selection:
    """Documents and files of a bundle, on disk in `folder`.

    Parameters
    ----------
    everything
        All documents of the database: ids are then not kept.
    """

    def __init__(self, folder: Path, *, everything: bool = False) -> None:
        self.everything = everything
        self._table = sqlite3.connect(folder / "selection.sqlite")
        self._table.execute("PRAGMA journal_mode=OFF")
        self._table.execute(
            "CREATE TABLE documents (collection TEXT, id TEXT, followed INTEGER DEFAULT 0, "
            "PRIMARY KEY (collection, id)) WITHOUT ROWID"
        )
        self._table.execute("CREATE INDEX waiting ON documents (collection, followed)")
        self._table.execute(
            "CREATE TABLE files (sha256 TEXT PRIMARY KEY, size_bytes INTEGER, name TEXT, licensed INTEGER) "
            "WITHOUT ROWID"
        )

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def add(self, collection: str, ids: Iterable[str]) -> None:
        """Select documents; those selected before stay."""
        values = ((collection, id) for id in ids)
        self._table.executemany("INSERT OR IGNORE INTO documents (collection, id) VALUES (?, ?)", values)

    def waiting(self, collection: str) -> list[str]:
        """Return some documents whose origins are still to be followed, and mark them as followed."""
        where = "collection = ? AND followed = 0"
        found = self._table.execute(f"SELECT id FROM documents WHERE {where} LIMIT {_BATCH}", (collection,)).fetchall()
        self._table.executemany(
            "UPDATE documents SET followed = 1 WHERE collection = ? AND id = ?", ((collection, id) for (id,) in found)
        )
        return [id for (id,) in found]

    def ids(self, collection: str) -> Iterator[list[str]]:
        """Yield the selected ids in order, in batches."""
        last = ""
        while True:
            found = self._table.execute(
                f"SELECT id FROM documents WHERE collection = ? AND id > ? ORDER BY id LIMIT {_BATCH}",
                (collection, last),
            ).fetchall()
            if not found:
                return
            yield [id for (id,) in found]
            last = found[-1][0]

    def count(self, results: Results, collection: str) -> int:
        """Count the selected documents of a collection."""
        if self.everything:
            return results.database[collection].estimated_document_count()
        return self._table.execute("SELECT count(*) FROM documents WHERE collection = ?", (collection,)).fetchone()[0]

    def documents(self, results: Results, collection: str) -> Iterator[dict[str, Any]]:
        """Yield the selected documents in the order of their ids.

        Raises
        ------
        DataError
            One is gone.
        """
        stored = results.database[collection]
        if self.everything:
            yield from stored.find().sort("_id", 1)
            return
        for batch in self.ids(collection):
            found = {document["_id"]: document for document in stored.find({"_id": {"$in": batch}})}
            for id in batch:
                if id not in found:
                    raise DataError(f"{collection} '{id}' is named and not there", "gst db check")
                yield found[id]

    def size_bytes(self, results: Results, collection: str) -> int:
        """Return the size of the selected documents in the database, bytes."""
        if self.everything:
            sizes: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
            return next(iter(results.database[collection].aggregate(sizes)))["storageStats"]["size"]
        total = 0
        for batch in self.ids(collection):
            summed: list[dict[str, Any]] = [
                {"$match": {"_id": {"$in": batch}}},
                {"$group": {"_id": 0, "n": {"$sum": {"$bsonSize": "$$ROOT"}}}},
            ]
            total += sum(found["n"] for found in results.database[collection].aggregate(summed))
        return total

    def add_files(self, refs: Iterable[dict[str, Any]]) -> None:
        """Record files; one that any document names like a licensed file counts as licensed."""
        values = ((ref["sha256"], ref["size_bytes"], ref["name"], int(is_licensed(ref["name"]))) for ref in refs)
        self._table.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET "
            "licensed = max(licensed, excluded.licensed), name = CASE WHEN excluded.licensed > licensed OR "
            "(excluded.licensed = licensed AND excluded.name < name) THEN excluded.name ELSE name END",
            values,
        )

    def files(self, *, licensed: bool) -> Iterator[tuple[str, int, str]]:
        """Yield SHA-256, size and a name of each file, in order."""
        last = ""
        while True:
            found = self._table.execute(
                f"SELECT sha256, size_bytes, name FROM files WHERE licensed = ? AND sha256 > ? "
                f"ORDER BY sha256 LIMIT {_BATCH}",
                (int(licensed), last),
            ).fetchall()
            if not found:
                return
            yield from found
            last = found[-1][0]

    def n_files(self) -> tuple[int, int]:
        """Return number and bytes of the files without licensed ones."""
        return self._table.execute(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM files WHERE licensed = 0"
        ).fetchone()


def select(results: Results, collection: str, id: str, folder: Path) -> Selection:
    """Choose a document, what it holds (members of a study or dataset, trajectories of a cycle), all that these came
    from, and the attempts of their jobs; nothing that was made from them.

    Raises
    ------
    DataError
        A document on the way is not there, or a member file cannot be read.
    """
    selection = Selection(folder)
    selection.add(collection, [id])
    while any([_follow(results, selection, name) for name in DOCUMENTS]):
        pass
    return selection


def _follow(results: Results, selection: Selection, name: str) -> bool:
    """Select the origins of the waiting documents of a collection; return whether there were any."""
    moved = False
    while ids := selection.waiting(name):
        moved = True
        wanted = [path.split(".")[0] for path in REFERENCES.get(name, {})]
        wanted += ["members", "job_uuid", *(field for field, _, _ in _SOFT.get(name, ()))]
        found = list(results.database[name].find({"_id": {"$in": ids}}, dict.fromkeys(wanted, 1)))
        if len(found) != len(ids):
            missing = sorted({*ids} - {document["_id"] for document in found})
            raise DataError(f"{name} '{missing[0]}' is named by another document and not there", "gst db check")
        _choose_origins(results, selection, name, found)
        if name in OF_JOB:
            jobs = sorted({document["job_uuid"] for document in found if document.get("job_uuid")})
            attempts = results.database["attempts"].find({"job_uuid": {"$in": jobs}}, {"_id": 1})
            selection.add("attempts", [attempt["_id"] for attempt in attempts] if jobs else [])
        if name == "cycles":
            parts = results.database["trajectories"].find({"cycle_id": {"$in": ids}}, {"_id": 1})
            selection.add("trajectories", [part["_id"] for part in parts])
        if name == Dataset.collection:
            for id in ids:
                _choose_members(results, selection, results.get(Dataset, id))
    return moved


def _choose_origins(results: Results, selection: Selection, name: str, found: list[dict[str, Any]]) -> None:
    for path, target in REFERENCES.get(name, {}).items():
        selection.add(target, (id for document in found for id in ids_at(document, path.split("."))))
    for field, key, target in _SOFT.get(name, ()):
        ids = {(document.get(field) or {}).get(key) for document in found} - {None}
        if ids:
            there = results.database[target].find({"_id": {"$in": sorted(map(str, ids))}}, {"_id": 1})
            selection.add(target, [document["_id"] for document in there])
    if name == "studies":
        for document in found:
            for member in document.get("members") or []:
                if member["collection"] not in DOCUMENTS:
                    raise DataError(f"study '{document['_id']}' names {member['collection']}", "gst db check")
                selection.add(member["collection"], [member["id"]])


def _choose_members(results: Results, selection: Selection, dataset: Dataset) -> None:
    members = read_members(results.artifacts, dataset)
    while batch := list(islice(members, 10 * _BATCH)):
        selection.add("labels", (member["label_id"] for member in batch))
        selection.add("structures", (member["structure_id"] for member in batch))


def find_files(results: Results, selection: Selection) -> None:
    """Record the files that the selected documents name."""
    for name, model in DOCUMENTS.items():
        fields = file_fields(model)
        if not fields:
            continue
        stored, shown = results.database[name], dict.fromkeys(fields, 1)
        if selection.everything:
            cursors: Iterable[Iterable[dict[str, Any]]] = [stored.find({}, shown)]
        else:
            cursors = (stored.find({"_id": {"$in": batch}}, shown) for batch in selection.ids(name))
        for cursor in cursors:
            documents = iter(cursor)
            while batch := list(islice(documents, _BATCH)):
                selection.add_files(
                    ref for document in batch for field in fields for ref in references_to_files(document.get(field))
                )
