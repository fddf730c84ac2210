"""Write documents to the database by their rules.

Immutable documents are inserted once, a converged label replaces a failed one, and mutable documents take new values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import DatabaseError, DataError, NoDocumentError
from gst_jobflow.documents import Document, Label, Structure
from gst_jobflow.documents.label import COMPLETE
from gst_jobflow.store import manifest
from gst_jobflow.store.driver_errors import denials
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure

if TYPE_CHECKING:
    from pymongo import InsertOne, ReplaceOne
    from pymongo.collection import Collection
    from pymongo.database import Database

ENERGY_TOLERANCE_EV_PER_ATOM = 1e-4
"""Two converged results of one method on one structure may differ by this much (parallel summation order)."""
_DUPLICATE_KEY = 11000


def apply_entry(database: Database, entry: manifest.Insert | manifest.Update) -> bool:
    """Apply a manifest entry to the database; return whether it changed something.

    Raises
    ------
    DatabaseError
        The server refused it.
    DataError
        A converged label with another energy exists.
    NoDocumentError
        The document to update does not exist.
    """
    if isinstance(entry, manifest.Update):
        return _update(database, entry)
    if isinstance(entry.document, Label):
        changed, contradictions = write_labels(database, [entry.document])
        for error in contradictions.values():
            raise error
        return changed > 0
    return insert_all(database, [entry.document]) > 0


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
        raise NoDocumentError(
            f"no document '{entry.id}' in {entry.collection} to update",
            "first ingest the folder of the job that made it",
        )
    return result.modified_count > 0


def _any_operation(state: str) -> dict[str, Any]:
    return {"$in": [state, "$operations.state"]}


_CASES = [
    {"case": _any_operation("failed"), "then": "failed"},
    {"case": {"$not": [_any_operation("waiting")]}, "then": "finished"},
    {"case": _any_operation("finished"), "then": "running"},
]
_CYCLE_STATE = [{"$set": {"state": {"$switch": {"branches": _CASES, "default": "waiting"}}}}]
"""Derives a cycle's state from its operations, in whatever order their results arrive."""


def _with_times(key: str, value: Any) -> Any:
    # a manifest holds times as text; in mutable documents, they are the fields called …_at
    if key.endswith("_at") and isinstance(value, str):
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def insert_all(
    database: Database, documents: Sequence[Document | EncodedStructure], *, expect_new: bool = False
) -> int:
    """Insert documents of one collection; return how many were new; `expect_new` as in `insert_each`.

    If the server refused some, the others are inserted, and the error of the first is raised (DatabaseError).
    """
    inserted, refused = insert_each(database, documents, expect_new=expect_new)
    if refused:
        raise refused[min(refused)]
    return inserted


@denials()
def insert_each(
    database: Database, documents: Sequence[Document | EncodedStructure], *, expect_new: bool = False
) -> tuple[int, dict[int, DatabaseError]]:
    """Insert documents of one collection; return how many were new, and by place those that the server refused.

    Existing documents are looked up first: a plain insert costs the server a quarter of an upsert, and an existing
    document nothing. A single document, as jobs write, is almost always new and is just inserted, and so are those of
    whom the caller expects it; the result is the same. An existing structure gains the tags of the new one.
    """
    from pymongo import InsertOne

    collection = database[documents[0].collection]
    existing = set()
    if len(documents) > 1 and not expect_new:
        found = collection.find({"_id": {"$in": [document.id for document in documents]}}, {"_id": 1})
        existing = {document["_id"] for document in found}
    absent = [place for place, document in enumerate(documents) if document.id not in existing]
    refused: dict[int, DatabaseError] = {}
    inserted, errors = _bulk(collection, [InsertOne(documents[place].to_mongo()) for place in absent])
    for error in errors:
        document = documents[absent[error["index"]]]
        if error["code"] == _DUPLICATE_KEY:
            # twice in this batch, or another process was first
            existing.add(document.id)
        else:
            refused[absent[error["index"]]] = refused_by_server(collection.name, document.id, error)
    _add_tags(collection, [document for document in documents if document.id in existing])
    return inserted, refused


def _bulk(collection: Collection, writes: list[Any]) -> tuple[int, list[dict[str, Any]]]:
    """Write in any order; return how many writes changed something, and the errors, each with its `index`."""
    from pymongo.errors import BulkWriteError

    if not writes:
        return 0, []
    done: Any
    try:
        done = collection.bulk_write(writes, ordered=False).bulk_api_result
    except BulkWriteError as err:
        done = err.details
    return done["nInserted"] + done["nUpserted"] + done["nModified"], done["writeErrors"]


def _add_tags(collection: Collection, existing: Sequence[Document | EncodedStructure]) -> None:
    from pymongo import UpdateOne

    changes = [
        UpdateOne({"_id": document.id}, {"$addToSet": {"tags": {"$each": document.tags}}})
        for document in existing
        if isinstance(document, Structure | EncodedStructure) and document.tags
    ]
    _bulk(collection, changes)


@denials()
def write_labels(
    database: Database, labels: Sequence[Label | EncodedLabel], *, expect_new: bool = False
) -> tuple[int, dict[int, DataError]]:
    """Insert labels; a converged one replaces a failed one, and of two failures the newest stays.

    With `expect_new` they are inserted, and looked up only where one is known; the result is the same. Returns how many
    changed the database, and by place in `labels` the errors of those whose energy contradicts that of an existing
    converged label.
    """
    collection = database[Label.collection]
    changed, contradictions = 0, {}
    pending = list(range(len(labels)))
    while pending:
        # existing labels are compared, not sent: repeating an import is cheap
        wanted = [] if expect_new else [labels[place].id for place in pending]
        expect_new = False
        found = collection.find({"_id": {"$in": wanted}}, {"state": 1, "energy_eV": 1}) if wanted else ()
        existing = {label["_id"]: label for label in found}
        writes: dict[int, InsertOne | ReplaceOne] = {}
        for place in pending:
            label = labels[place]
            outcome = _outcome(label, existing.get(label.id))
            if isinstance(outcome, DataError):
                contradictions[place] = outcome
            elif outcome is not None:
                writes[place] = outcome
        written, errors = _bulk(collection, list(writes.values()))
        changed += written
        duplicates = []
        for error in errors:
            place = list(writes)[error["index"]]
            if error["code"] != _DUPLICATE_KEY:
                raise refused_by_server(collection.name, labels[place].id, error)
            duplicates.append(place)
        # decide anew where another label was first, unless this one is a failure that is older than the existing one
        pending = [n for n in duplicates if labels[n].state == "converged" or labels[n].id not in existing]
    return changed, contradictions


def _outcome(label: Label | EncodedLabel, existing: dict[str, Any] | None) -> InsertOne | ReplaceOne | DataError | None:
    """Return how to write a label beside the existing one: its write, the error of a contradiction, or None."""
    from pymongo import InsertOne, ReplaceOne

    if existing is not None and existing["state"] in COMPLETE:
        return _contradiction(label, existing["energy_eV"])
    document: Any = label.to_mongo()
    if existing is None:
        return InsertOne(document)
    # replaces a failed label, or inserts; a complete or newer one of this id is a duplicate key
    replaceable: dict[str, Any] = {"_id": label.id, "state": {"$nin": list(COMPLETE)}}
    if label.state != "converged":
        replaceable["created_at"] = {"$lt": document["created_at"]}
    return ReplaceOne(replaceable, document, upsert=True)


def _contradiction(label: Label | EncodedLabel, existing_eV: float | None) -> DataError | None:
    if existing_eV is None or label.energy_eV is None:
        return None
    difference = abs(existing_eV - label.energy_eV) / label.n_atoms
    if difference <= ENERGY_TOLERANCE_EV_PER_ATOM:
        return None
    return DataError(
        f"label {label.id} of structure {label.structure_id} exists with an energy that differs by "
        f"{difference:.2g} eV/atom for the same method {label.fingerprint}",
        "the first is kept: compare the two runs, since one of them is wrong",
    )


def refused_by_server(collection: str, id: str, error: Any) -> DatabaseError:
    """Return the error of a document that the server's schema refused."""
    details = error.details if hasattr(error, "details") else error
    info = (details or {}).get("errInfo", {}).get("details", {})
    rules = info.get("schemaRulesNotSatisfied", [])
    reason = str(rules[0])[:300] if rules else str(details)[:300]
    return DatabaseError(f"the server refused document '{id}' of {collection}: {reason}", "gst db migrate; then again")
