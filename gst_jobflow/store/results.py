"""The results database as jobs and commands use it: write once, read by id, find by index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gst_jobflow.documents import DOCUMENTS, Attempt, Document, Label, Structure
from gst_jobflow.errors import DatabaseError, DataError
from gst_jobflow.store import manifest
from gst_jobflow.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.settings import Project

logger = logging.getLogger(__name__)
DocumentT = TypeVar("DocumentT", bound=Document)

ENERGY_TOLERANCE_EV_PER_ATOM = 1e-4
"""Two converged results of one method on one structure may differ by this much (parallel summation order)."""
_BATCH = 500


class Results:
    """Documents and files of a project.

    Parameters
    ----------
    database
        The MongoDB database; None while it cannot be reached: writing then only spools, reading raises.
    artifacts
        The files.
    spool_dir
        Where manifests are written: the launch directory of the job. None: write to the database only, as
        commands do whose input is on disk already.
    """

    def __init__(self, database: Database | None, artifacts: ArtifactStore, spool_dir: Path | None = None) -> None:
        self._database = database
        self.artifacts = artifacts
        self.spool_dir = spool_dir

    @classmethod
    def open(cls, project: Project, spool_dir: Path | None = None) -> Results:
        """Open the results of a project; with `spool_dir`, an unreachable database is tolerated for writing."""
        from gst_jobflow.store.connect import connect

        try:
            database = connect(project)
        except DatabaseError as err:
            if spool_dir is None:
                raise
            logger.warning("%s; results are spooled in %s", err.message, spool_dir)
            database = None
        return cls(database, ArtifactStore(project.artifacts_dir), spool_dir)

    @property
    def database(self) -> Database:
        """The MongoDB database.

        Raises
        ------
        DatabaseError
            It could not be reached when this was opened.
        """
        if self._database is None:
            raise DatabaseError("the results database cannot be reached", "gst db status")
        return self._database

    def add(self, document: Document) -> bool:
        """Write a document, to disk first; True if it was new to the database."""
        return self._write(manifest.Insert(document))

    def update(self, collection: str, id: str, values: dict[str, Any], unless: dict[str, Any] | None = None) -> None:
        """Set values of a mutable document, to disk first; see `manifest.Update` for `unless`."""
        self._write(manifest.Update(collection, id, values, unless))

    def _write(self, entry: manifest.Insert | manifest.Update) -> bool:
        from pymongo.errors import ConnectionFailure

        if self.spool_dir is not None:
            manifest.append(self.spool_dir, entry)
        if self._database is None:
            return False
        try:
            return apply(self._database, entry)
        except ConnectionFailure as err:
            if self.spool_dir is None:
                raise DatabaseError("the results database went away", "gst db status; then run this again") from err
            logger.warning("database went away; results are spooled in %s: gst ingest puts them in", self.spool_dir)
            self._database = None
            return False

    def add_many(self, documents: Iterable[Document]) -> tuple[int, int]:
        """Insert immutable documents in batches; (new, known before).

        Raises
        ------
        DatabaseError
            The server refused a document.
        """
        from pymongo.errors import ConnectionFailure

        new = known = 0
        batch: list[Document] = []

        def flush() -> None:
            nonlocal new, known
            try:
                inserted = _insert_batch(self.database, batch)
            except ConnectionFailure as err:
                raise DatabaseError("the results database went away", "gst db up; then run this again") from err
            new, known = new + inserted, known + len(batch) - inserted
            batch.clear()

        for document in documents:
            if self.spool_dir is not None:
                manifest.append(self.spool_dir, manifest.Insert(document))
            if batch and (len(batch) >= _BATCH or batch[0].collection != document.collection):
                flush()
            batch.append(document)
        if batch:
            flush()
        return new, known

    def put_labels(self, labels: Sequence[Label]) -> tuple[int, dict[int, DataError]]:
        """Put labels in as one batch, by the rule of one: converged replaces failed, never the other way.

        Returns
        -------
        tuple
            How many changed the database, and by their place in `labels` those refused because a converged label of
            another energy is there.

        Raises
        ------
        DatabaseError
            The server refused a label or went away.
        """
        from pymongo.errors import ConnectionFailure

        if self.spool_dir is not None:
            for label in labels:
                manifest.append(self.spool_dir, manifest.Insert(label))
        try:
            return _put_labels(self.database, labels)
        except ConnectionFailure as err:
            raise DatabaseError("the results database went away", "gst db up; then run this again") from err

    def get(self, model: type[DocumentT], id: str) -> DocumentT:
        """Read one document.

        Raises
        ------
        DataError
            There is none of this id.
        """
        found = self.database[model.collection].find_one({"_id": id})
        if found is None:
            raise DataError(f"no document '{id}' in {model.collection}", f"gst query {model.collection} lists them")
        return model.model_validate(found)

    def get_many(self, model: type[DocumentT], ids: Sequence[str]) -> Iterator[DocumentT]:
        """Read documents in the order of `ids`.

        Raises
        ------
        DataError
            One is not there.
        """
        for start in range(0, len(ids), _BATCH):
            part = list(ids[start : start + _BATCH])
            found = {doc["_id"]: doc for doc in self.database[model.collection].find({"_id": {"$in": part}})}
            for id in part:
                if id not in found:
                    raise DataError(f"no document '{id}' in {model.collection}")
                yield model.model_validate(found[id])

    def find(
        self, model: type[DocumentT], where: dict[str, Any], sort: list[tuple[str, int]] | None = None
    ) -> Iterator[DocumentT]:
        """Stream the documents that match a MongoDB filter made by our own code (never by a user's text)."""
        cursor = self.database[model.collection].find(where)
        for found in cursor.sort(sort) if sort else cursor:
            yield model.model_validate(found)


def apply(database: Database, entry: manifest.Insert | manifest.Update) -> bool:
    """Put a manifest entry into the database; True if that changed something.

    Raises
    ------
    DatabaseError
        The server refused it.
    DataError
        A converged label is there already with another energy.
    """
    if isinstance(entry, manifest.Update):
        return _update(database, entry)
    if isinstance(entry.document, Label):
        return _put_label(database, entry.document)
    return _insert_batch(database, [entry.document]) > 0


def _update(database: Database, entry: manifest.Update) -> bool:
    from pymongo.errors import WriteError

    collection = database[entry.collection]
    values = {key: _with_times(key, value) for key, value in entry.values.items()}
    where = {"_id": entry.id, **{path: {"$ne": value} for path, value in entry.unless.items()}}
    try:
        result = collection.update_one(where, {"$set": values})
        if entry.collection == "cycles":
            collection.update_one({"_id": entry.id}, _CYCLE_STATE)
    except WriteError as err:
        raise _refused(entry.collection, entry.id, err) from err
    if result.matched_count == 0 and collection.find_one({"_id": entry.id}, {"_id": 1}) is None:
        raise DataError(f"no document '{entry.id}' in {entry.collection} to update", "ingest what made it first")
    return result.modified_count > 0


def _any_operation(state: str) -> dict[str, Any]:
    return {"$in": [state, "$operations.state"]}


_CYCLE_STATE = [
    {
        "$set": {
            "state": {
                "$switch": {
                    "branches": [
                        {"case": _any_operation("failed"), "then": "failed"},
                        {"case": {"$not": [_any_operation("waiting")]}, "then": "finished"},
                        {"case": _any_operation("finished"), "then": "running"},
                    ],
                    "default": "waiting",
                }
            }
        }
    }
]
"""A cycle's state follows from its operations, in whatever order their results came in."""


def _with_times(key: str, value: Any) -> Any:
    # manifests are JSON: fields called …_at are the only times in mutable documents
    if key.endswith("_at") and isinstance(value, str):
        from datetime import datetime

        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def _insert_batch(database: Database, documents: Sequence[Document]) -> int:
    from pymongo import UpdateOne
    from pymongo.errors import BulkWriteError

    operations = []
    for document in documents:
        fields = document.to_mongo()
        id = fields.pop("_id")
        change: dict[str, Any] = {"$setOnInsert": fields}
        if isinstance(document, Structure):
            # the one thing that a known structure gains: somebody else's tag
            change["$addToSet"] = {"tags": {"$each": fields.pop("tags")}}
        operations.append(UpdateOne({"_id": id}, change, upsert=True))
    try:
        return database[documents[0].collection].bulk_write(operations, ordered=False).upserted_count
    except BulkWriteError as err:
        failures = [error for error in err.details["writeErrors"] if error["code"] != _DUPLICATE_KEY]
        if failures:
            index = failures[0]["index"]
            raise _refused(documents[0].collection, documents[index].id, failures[0]) from err
        return err.details["nUpserted"]


_DUPLICATE_KEY = 11000


def _put_label(database: Database, label: Label) -> bool:
    """Insert one label as `_put_labels` does; raises DataError where a converged one of another energy is there."""
    changed, refused = _put_labels(database, [label])
    if refused:
        raise refused[0]
    return changed > 0


def _contradiction(label: Label, known_eV: float | None) -> DataError | None:
    """The error of a label whose energy is not that of the converged one that is there already."""
    if known_eV is None or label.energy_eV is None:
        return None
    difference = abs(known_eV - label.energy_eV) / label.n_atoms
    if difference <= ENERGY_TOLERANCE_EV_PER_ATOM:
        return None
    return DataError(
        f"label {label.id} of structure {label.structure_id} is there with an energy that differs by "
        f"{difference:.2g} eV/atom for the same method {label.fingerprint}",
        "one of the two is wrong: the first is kept; look at both runs",
    )


def _put_labels(database: Database, labels: Sequence[Label]) -> tuple[int, dict[int, DataError]]:
    """Insert labels; a converged one takes the place of a failed one, never the other way round."""
    from pymongo.errors import BulkWriteError

    collection = database[Label.collection]

    def converged(places: Iterable[int]) -> dict[str, float | None]:
        where = {"_id": {"$in": [labels[place].id for place in places]}, "state": "converged"}
        return {found["_id"]: found["energy_eV"] for found in collection.find(where, {"energy_eV": 1})}

    # what is there already is compared, not sent: doing an import again is cheap
    known = converged(range(len(labels)))
    fresh = [place for place, label in enumerate(labels) if label.id not in known]
    changed, lost = 0, []
    if fresh:
        try:
            done = collection.bulk_write([_label_write(labels[place]) for place in fresh], ordered=False)
            changed = done.upserted_count + done.modified_count
        except BulkWriteError as err:
            changed = err.details["nUpserted"] + err.details["nModified"]
            for error in err.details["writeErrors"]:
                place = fresh[error["index"]]
                if error["code"] != _DUPLICATE_KEY:
                    raise _refused(Label.collection, labels[place].id, error) from err
                lost.append(place)
            # twice in this batch, or another process was first
            known |= converged(lost)
    compared = (place for place in sorted({*range(len(labels))} - {*fresh} | {*lost}))
    refused = {place: _contradiction(labels[place], known.get(labels[place].id)) for place in compared}
    return changed, {place: error for place, error in refused.items() if error}


def _label_write(label: Label) -> Any:
    """One write of the batch."""
    from pymongo import ReplaceOne, UpdateOne

    fields = label.to_mongo()
    if label.state == "converged":
        # matches a failed label of this id and replaces it, or inserts; a converged one is a duplicate key
        return ReplaceOne({"_id": label.id, "state": {"$ne": "converged"}}, fields, upsert=True)
    del fields["_id"]
    return UpdateOne({"_id": label.id}, {"$setOnInsert": fields}, upsert=True)


def _refused(collection: str, id: str, error: Any) -> DatabaseError:
    details = error.details if hasattr(error, "details") else error
    info = (details or {}).get("errInfo", {}).get("details", {})
    rules = info.get("schemaRulesNotSatisfied", [])
    reason = str(rules[0])[:300] if rules else str(details)[:300]
    return DatabaseError(f"the server refused document '{id}' of {collection}: {reason}", "gst db migrate; then again")


def ingest(results: Results, directories: Iterable[Path]) -> dict[str, Any]:
    """Put the manifests below `directories` into the database; doing it again changes nothing.

    What cannot be put in (refused, contradictory, damaged) is reported, and the rest goes in.

    Returns
    -------
    dict
        Counts `manifests`, `entries`, `new`, and `problems`: a line for each.
    """
    found: dict[str, Any] = {"manifests": 0, "entries": 0, "new": 0, "problems": []}
    files = {file.resolve() for directory in directories for file in directory.rglob(manifest.MANIFEST_NAME)}
    for file in sorted(files):
        found["manifests"] += 1
        try:
            for entry in manifest.read(file):
                found["entries"] += 1
                try:
                    found["new"] += apply(results.database, entry)
                except (DataError, DatabaseError) as err:
                    found["problems"].append(f"{file.parent}: {err.message}")
        except DataError as err:
            found["problems"].append(err.message)
    return found


def public(document: dict[str, Any]) -> dict[str, Any]:
    """A stored document as programs read it: `id` instead of `_id`, packed arrays left out."""
    fields = {key: value for key, value in document.items() if key != "_id" and not isinstance(value, bytes)}
    return {"id": document["_id"], **fields}


def collection_of(name: str) -> type[Document]:
    """The document model of a collection's name.

    Raises
    ------
    InputError
        There is no such collection.
    """
    from gst_jobflow.errors import InputError, nearest

    if name not in DOCUMENTS:
        raise InputError(f"no collection '{name}'", nearest(name, DOCUMENTS))
    return DOCUMENTS[name]


__all__ = ["Attempt", "Results", "apply", "collection_of", "ingest", "public"]
