"""Upgrade the documents of a database to this version in batches; after a kill, repeating it continues.

Batches are found by the versions of their documents, and a document changes in one write together with its version. So
no document is upgraded twice or left out, whatever the noted position; that only saves reading upgraded ones again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, WriteError

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.words import counted
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, now
from gst_jobflow.store.schema.migrations import OLDEST, has_changes, upgrade_document
from gst_jobflow.store.schema.versions import META_COLLECTION, SCHEMA, Version

POSITION = "upgrade"
"""`_id` of the document in `gst_meta` that says how far an upgrade is: version, collection, last id."""
_BATCH = 1000
_TELL_S = 5.0
_OUTDATED = {"schema_version": {"$ne": SCHEMA_VERSION}}

Tell = Callable[[str], None]


def begin_upgrade(database: Database, version: Version) -> None:
    """Mark the database as being upgraded; this refuses jobs and older programs."""
    if version.upgrading_from is None:
        change = {"$set": {"version": SCHEMA_VERSION, "upgrading_from": version.number or OLDEST}}
        database[META_COLLECTION].update_one({"_id": SCHEMA}, change, upsert=True)
    elif version.number != SCHEMA_VERSION:  # a program of a version in between began it
        database[META_COLLECTION].update_one({"_id": SCHEMA}, {"$set": {"version": SCHEMA_VERSION}})


def finish_upgrade(database: Database) -> None:
    """Mark the upgrade as complete; jobs may run again."""
    meta = database[META_COLLECTION]
    done = meta.find_one({"_id": SCHEMA}) or {}
    step = {"from": done.get("upgrading_from"), "to": SCHEMA_VERSION, "at": now()}
    meta.delete_one({"_id": POSITION})
    meta.update_one({"_id": SCHEMA}, {"$unset": {"upgrading_from": ""}, "$push": {"history": step}})


def upgrade_documents(database: Database, on_batch: Callable[[], None], tell: Tell | None = None) -> list[str]:
    """Upgrade every document that is not of this version; return a line for each collection with upgraded documents.

    The database must have the validators of this version, so that nobody writes older documents meanwhile. A document
    that cannot be upgraded, or is invalid then, is a DataError; those before it are upgraded.
    """
    done = []
    for name in DOCUMENTS:
        count = sum(_batches(database, name, on_batch, tell))
        if count:
            done.append(f"{name}: {counted(count, 'document')} upgraded to version {SCHEMA_VERSION}")
    return done


def _batches(database: Database, name: str, on_batch: Callable[[], None], tell: Tell | None) -> Iterator[int]:
    """Upgrade one collection batch by batch; yields the documents in each."""
    collection, meta = database[name], database[META_COLLECTION]
    noted = meta.find_one({"_id": POSITION}) or {}
    after = noted.get("after") if noted.get("collection") == name else None
    told, count = time.monotonic(), 0
    while True:
        where = {**_OUTDATED, **({"_id": {"$gt": after}} if after is not None else {})}
        batch = list(collection.find(where, {"_id": 1, "schema_version": 1}).sort("_id", 1).limit(_BATCH))
        if not batch:
            if after is None:
                return
            after = None  # once more from the start: an older document may have been written before the position
            continue
        _upgrade_batch(collection, batch)
        after = batch[-1]["_id"]
        place = {"to": SCHEMA_VERSION, "collection": name, "after": after, "at": now()}
        meta.replace_one({"_id": POSITION}, place, upsert=True)
        count += len(batch)
        on_batch()
        if tell and time.monotonic() - told > _TELL_S:
            told = time.monotonic()
            tell(f"{name}: {count} of about {collection.estimated_document_count()} documents")
        yield len(batch)


def _upgrade_batch(collection: Collection, batch: list[dict[str, Any]]) -> None:
    ids: list[Any] = []
    writes: list[UpdateOne] = []
    outdated: dict[Any, list[Any]] = {}
    for found in batch:
        outdated.setdefault(found.get("schema_version"), []).append(found["_id"])
    for version, members in outdated.items():
        if not isinstance(version, int) or version < OLDEST or version > SCHEMA_VERSION:
            upgrade_document(collection.name, {"_id": members[0], "schema_version": version})  # raises
        if not has_changes(collection.name, version):
            change = {"$set": {"schema_version": SCHEMA_VERSION}}
            with suppress(WriteError):
                collection.update_many({"_id": {"$in": members}, "schema_version": version}, change)
                continue
            # the server says which document it refused only of single writes
            ids += members
            writes += [UpdateOne({"_id": id, "schema_version": version}, change) for id in members]
            continue
        for document in collection.find({"_id": {"$in": members}}):
            ids.append(document["_id"])
            writes.append(UpdateOne(*_change(document, upgrade_document(collection.name, document))))
    if not writes:
        return
    try:
        collection.bulk_write(writes, ordered=False)
    except BulkWriteError as err:
        first = err.details["writeErrors"][0]
        rules = first.get("errInfo", {}).get("details", {}).get("schemaRulesNotSatisfied", [])
        raise DataError(
            f"document '{ids[first['index']]}' of {collection.name} is not valid in version {SCHEMA_VERSION}: "
            f"{str(rules[0] if rules else first.get('errmsg', ''))[:300]}",
            "correct or remove the document by hand, then: gst db migrate",
        ) from err


def _change(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the update of only those fields that differ, so that no other write is lost."""
    change: dict[str, Any] = {"$set": {key: value for key, value in new.items() if key not in old or old[key] != value}}
    gone = {key: "" for key in old if key not in new}
    if gone:
        change["$unset"] = gone
    return {"_id": old["_id"], "schema_version": old["schema_version"]}, change
