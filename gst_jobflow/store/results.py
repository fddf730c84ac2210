"""The results database as jobs and commands use it: write once, read by id, find by index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gst_jobflow.base.disk import is_full
from gst_jobflow.base.errors import DatabaseError, DataError, InputError, NoDocumentError, nearest
from gst_jobflow.documents import DOCUMENTS, Attempt, Document, Label, Structure
from gst_jobflow.store import manifest
from gst_jobflow.store.connect import connect
from gst_jobflow.store.driver_errors import denials
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure
from gst_jobflow.store.files.artifacts import ArtifactStore

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

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

    def add(self, document: Document, *, durable: bool = True) -> bool:
        """Write a document, to disk first; True if it was new to the database.

        Where it need not be `durable`, nobody waits for a disk: it is in the files of this machine and in the memory of
        the server, which survives the end of this process, and on the server's disk with the next write that is
        durable, or after a tenth of a second. A surviving write implies that all earlier ones survived.
        """
        return self._write(manifest.Insert(document), durable)

    def update(
        self,
        collection: str,
        id: str,
        values: dict[str, Any],
        unless: dict[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """Set values of a mutable document, to disk first; see `manifest.Update` for `unless`, `add` for `durable`."""
        self._write(manifest.Update(collection, id, values, unless), durable)

    def _write(self, entry: manifest.Insert | manifest.Update, durable: bool) -> bool:
        from pymongo.errors import ConnectionFailure

        spooled = self._spool(entry, durable or self._database is None)
        if self._database is None:
            return False
        try:
            # without a manifest entry the write must be journaled
            return apply(_from_memory(self._database) if spooled and not durable else self._database, entry)
        except ConnectionFailure as err:
            self._spool_only(err, spooled)
            return False

    def _spool(self, entry: manifest.Insert | manifest.Update, durable: bool) -> bool:
        """Spool an entry if results are spooled; return False if the disk is full and only the database has it."""
        if self.spool_dir is None:
            return False
        try:
            manifest.append(self.spool_dir, entry, durable=durable)
        except OSError as err:
            if self._database is None or not is_full(err):
                raise
            logger.warning("no room for the manifest in %s: written to the database only", self.spool_dir)
            return False
        return True

    def _spool_only(self, err: Exception, spooled: bool = True) -> None:
        """Continue without the database; raises DatabaseError if nothing is spooled."""
        if self.spool_dir is None or not spooled:
            raise DatabaseError("the results database went away", "gst db up; then run this again") from err
        manifest.flush_manifest(self.spool_dir)
        logger.warning("database went away; results are spooled in %s: gst ingest puts them in", self.spool_dir)
        self._database = None

    def add_many(self, documents: Iterable[Document | EncodedStructure]) -> tuple[int, int]:
        """Insert immutable documents in batches, to disk first; (new, known before) of those that reached the database.

        Raises
        ------
        DatabaseError
            The server refused a document, or went away and nothing is spooled.
        """
        from pymongo.errors import ConnectionFailure

        new = known = 0
        batch: list[Document | EncodedStructure] = []

        def flush() -> None:
            nonlocal new, known
            if self._database is None and self.spool_dir is not None:
                batch.clear()
                return
            try:
                inserted = _insert_batch(self.database, batch)
                new, known = new + inserted, known + len(batch) - inserted
            except ConnectionFailure as err:
                self._spool_only(err)
            batch.clear()

        for document in documents:
            if self.spool_dir is not None:
                manifest.append(self.spool_dir, manifest.Insert(_spoolable(document)))
            if batch and (len(batch) >= _BATCH or batch[0].collection != document.collection):
                flush()
            batch.append(document)
        if batch:
            flush()
        return new, known

    def put_labels(self, labels: Sequence[Label | EncodedLabel]) -> tuple[int, dict[int, DataError]]:
        """Put labels in as one batch: a converged label replaces a failed one, and of two failures the newest stays.

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
                manifest.append(self.spool_dir, manifest.Insert(_spoolable(label)))
        try:
            return put_labels(self.database, labels)
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


def _from_memory(database: Database) -> Database:
    """Return the database with writes that are acknowledged from memory."""
    from pymongo import WriteConcern

    return database.with_options(write_concern=WriteConcern(w=1))


def apply(database: Database, entry: manifest.Insert | manifest.Update) -> bool:
    """Apply a manifest entry to the database; return whether it changed something.

    Raises
    ------
    DatabaseError
        The server refused it.
    DataError
        A converged label is there already with another energy.
    NoDocumentError
        What an update changes is not there.
    """
    if isinstance(entry, manifest.Update):
        return _update(database, entry)
    if isinstance(entry.document, Label):
        return _put_label(database, entry.document)
    return _insert_batch(database, [entry.document]) > 0


@denials()
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
        raise refused_by_server(entry.collection, entry.id, err) from err
    if result.matched_count == 0 and collection.find_one({"_id": entry.id}, {"_id": 1}) is None:
        raise NoDocumentError(f"no document '{entry.id}' in {entry.collection} to update", "ingest what made it first")
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


def _spoolable(document: Document | EncodedStructure | EncodedLabel) -> Document:
    if not isinstance(document, Document):
        raise ValueError("what is encoded goes to the database only; spool the document itself")
    return document


@denials()
def _insert_batch(database: Database, documents: Sequence[Document | EncodedStructure]) -> int:
    """Insert documents of one collection; return how many were new.

    Raises
    ------
    DatabaseError
        The server refused one; the others are in.
    """
    inserted, refused = insert_each(database, documents)
    if refused:
        raise refused[min(refused)]
    return inserted


@denials()
def insert_each(
    database: Database, documents: Sequence[Document | EncodedStructure]
) -> tuple[int, dict[int, DatabaseError]]:
    """Insert documents of one collection; how many were new, and by place those that the server refused.

    What is there already is looked up first: a plain insert costs the server a quarter of an upsert, and a known
    document nothing. One document alone, which a job writes, is as good as always new, and is just inserted. The one
    thing that a known structure gains is somebody else's tag.
    """
    collection = database[documents[0].collection]
    known = set()
    if len(documents) > 1:
        there = collection.find({"_id": {"$in": [document.id for document in documents]}}, {"_id": 1})
        known = {found["_id"] for found in there}
    absent = [place for place, document in enumerate(documents) if document.id not in known]
    refused: dict[int, DatabaseError] = {}
    inserted, errors = _insert(collection, [documents[place].to_mongo() for place in absent])
    for error in errors:
        place = absent[error["index"]]
        if error["code"] == _DUPLICATE_KEY:
            # twice in this batch, or another process was first
            known.add(documents[place].id)
        else:
            refused[place] = refused_by_server(collection.name, documents[place].id, error)
    _add_tags(collection, [document for document in documents if document.id in known])
    return inserted, refused


def _insert(collection: Collection, documents: list[Any]) -> tuple[int, list[dict[str, Any]]]:
    """Insert documents; return how many were inserted, and an error with its `index` for each other one."""
    from pymongo.errors import BulkWriteError, WriteError

    if not documents:
        return 0, []
    try:
        if len(documents) == 1:
            # the driver's way of one takes two thirds of the time of its way of many
            collection.insert_one(documents[0])
        else:
            collection.insert_many(documents, ordered=False)
    except BulkWriteError as err:
        return err.details["nInserted"], err.details["writeErrors"]
    except WriteError as err:
        return 0, [{**(err.details or {}), "index": 0, "code": err.code}]
    return len(documents), []


def _add_tags(collection: Collection, known: Sequence[Document | EncodedStructure]) -> None:
    from pymongo import UpdateOne

    changes = [
        UpdateOne({"_id": document.id}, {"$addToSet": {"tags": {"$each": document.tags}}})
        for document in known
        if isinstance(document, Structure | EncodedStructure) and document.tags
    ]
    if changes:
        collection.bulk_write(changes, ordered=False)


_DUPLICATE_KEY = 11000


def _put_label(database: Database, label: Label) -> bool:
    """Insert one label as `put_labels` does; raises DataError where a converged one of another energy is there."""
    changed, refused = put_labels(database, [label])
    if refused:
        raise refused[0]
    return changed > 0


def _contradiction(label: Label | EncodedLabel, known_eV: float | None) -> DataError | None:
    """Return the error of a label whose energy is not that of the converged one in the database."""
    if known_eV is None or label.energy_eV is None:
        return None
    difference = abs(known_eV - label.energy_eV) / label.n_atoms
    if difference <= ENERGY_TOLERANCE_EV_PER_ATOM:
        return None
    return DataError(
        f"label {label.id} of structure {label.structure_id} exists with an energy that differs by "
        f"{difference:.2g} eV/atom for the same method {label.fingerprint}",
        "one of the two is wrong, and the first is kept: compare the two runs",
    )


@denials()
def put_labels(database: Database, labels: Sequence[Label | EncodedLabel]) -> tuple[int, dict[int, DataError]]:
    """Insert labels; a converged one replaces a failed one, and of two failures the newest stays.

    Each label is inserted, replaces the one of its id, or is only compared with it. Where another process (or an
    earlier label of the same id) was first, the label is decided upon again.
    """
    collection = database[Label.collection]
    changed, refused = 0, {}
    pending = list(range(len(labels)))
    while pending:
        # what exists is compared, not sent: repeating an import is cheap
        there = _states(collection, [labels[place].id for place in pending])
        new: list[int] = []
        better: list[int] = []
        for place in pending:
            state, energy_eV = there.get(labels[place].id, ("", None))
            if not state:
                new.append(place)
            elif state == "converged":
                if error := _contradiction(labels[place], energy_eV):
                    refused[place] = error
            else:
                better.append(place)
        inserted, errors = _insert(collection, [labels[place].to_mongo() for place in new])
        pending = _duplicates(errors, labels, new)
        replaced, late = _replace_labels(collection, labels, better)
        changed += inserted + replaced
        # a failure that is late is older than what exists
        pending += [place for place in late if labels[place].state == "converged"]
    return changed, refused


def _states(collection: Collection, ids: list[str]) -> dict[str, tuple[str, float | None]]:
    """Return state and energy (eV) of the labels that exist."""
    found = collection.find({"_id": {"$in": ids}}, {"state": 1, "energy_eV": 1})
    return {label["_id"]: (label["state"], label["energy_eV"]) for label in found}


def _replace_labels(
    collection: Collection, labels: Sequence[Label | EncodedLabel], places: list[int]
) -> tuple[int, list[int]]:
    """Replace failed labels; return how many, and the places where a converged or newer one was first."""
    from pymongo import ReplaceOne
    from pymongo.errors import BulkWriteError

    if not places:
        return 0, []
    writes: list[Any] = []
    for place in places:
        document = cast(Any, labels[place].to_mongo())
        # matches a failed label of this id and replaces it, or inserts; a converged or newer one is a duplicate key
        gives_way: dict[str, Any] = {"_id": labels[place].id, "state": {"$ne": "converged"}}
        if labels[place].state != "converged":
            gives_way["created_at"] = {"$lt": document["created_at"]}
        writes.append(ReplaceOne(gives_way, document, upsert=True))
    try:
        done = collection.bulk_write(writes, ordered=False)
        return done.upserted_count + done.modified_count, []
    except BulkWriteError as err:
        changed = err.details["nUpserted"] + err.details["nModified"]
        return changed, _duplicates(err.details["writeErrors"], labels, places)


def _duplicates(errors: list[dict[str, Any]], labels: Sequence[Label | EncodedLabel], places: list[int]) -> list[int]:
    """Return the places of writes whose id existed; raises DatabaseError for any other failure."""
    found = []
    for error in errors:
        place = places[error["index"]]
        if error["code"] != _DUPLICATE_KEY:
            raise refused_by_server(Label.collection, labels[place].id, error)
        found.append(place)
    return found


def refused_by_server(collection: str, id: str, error: Any) -> DatabaseError:
    details = error.details if hasattr(error, "details") else error
    info = (details or {}).get("errInfo", {}).get("details", {})
    rules = info.get("schemaRulesNotSatisfied", [])
    reason = str(rules[0])[:300] if rules else str(details)[:300]
    return DatabaseError(f"the server refused document '{id}' of {collection}: {reason}", "gst db migrate; then again")


def public(document: dict[str, Any]) -> dict[str, Any]:
    """Return a stored document as programs read it: `id` instead of `_id`, without packed arrays."""
    fields = {key: value for key, value in document.items() if key != "_id" and not isinstance(value, bytes)}
    return {"id": document["_id"], **fields}


def collection_of(name: str) -> type[Document]:
    """Return the document model of a collection.

    Raises
    ------
    InputError
        There is no such collection.
    """
    if name not in DOCUMENTS:
        raise InputError(f"no collection '{name}'", nearest(name, DOCUMENTS))
    return DOCUMENTS[name]


__all__ = ["Attempt", "Results", "apply", "collection_of", "public"]
