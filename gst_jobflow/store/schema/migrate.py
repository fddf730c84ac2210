"""Migrate a database to this version's documents, collections, validators and indexes; repeating it changes nothing.

The order: mark the database, which keeps jobs and older programs away; set the validators, which refuse older
documents; upgrade documents; create indexes; remove the mark. After a kill anywhere, repeating it continues.
"""

from __future__ import annotations

from collections.abc import Callable

from pymongo.database import Database
from pymongo.errors import OperationFailure

from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION
from gst_jobflow.store.connect import connect, launchpad
from gst_jobflow.store.schema.lock import Lock, locked
from gst_jobflow.store.schema.preparation import Change, pending_collections, pending_indexes, record_indexes
from gst_jobflow.store.schema.upgrade import begin_upgrade, finish_upgrade, upgrade_documents
from gst_jobflow.store.schema.versions import META_COLLECTION, SCHEMA, Version, read_version, refuse_newer

_WAIT_S = 60.0
# MongoDB's codes: duplicate values; an index of the same keys, or of the same name
_INDEX_CONFLICTS = (11000, 85, 86)

Tell = Callable[[str], None]


def migrate(project: Project, tell: Tell | None = None, wait_s: float = _WAIT_S) -> list[str]:
    """Migrate the project's database to this version and prepare launchpad and job store.

    When nothing needs to change, nothing is written, and no right to write is needed.

    Returns what was changed; calls `tell` with a line every few seconds, and waits `wait_s` for another process that
    migrates the same database.

    Raises
    ------
    DatabaseError
        The database is of a newer version than this program, another process migrates it, or an index of somebody
        else is in the way.
    DataError
        A document cannot be upgraded; those before it are.
    """
    database = connect(project, any_version=True)
    with database.client:
        if not _to_do(database) and not _launchpad_is_bare(database):
            return []
        with locked(database, wait_s, tell) as lock:
            changed = _apply(database, lock, tell)
            if _launchpad_is_bare(database):
                # creates id counter and indexes; the launchpad holds no fireworks
                launchpad(project).reset("", require_password=False)
                changed.append("launchpad: initialised")
        return changed


def _to_do(database: Database) -> bool:
    """Whether anything needs to be changed; only reads."""
    version = read_version(database)
    refuse_newer(database, version)
    return _to_upgrade(version) or bool(pending_collections(database) or _possible(pending_indexes(database)))


def _possible(changes: list[Change]) -> list[Change]:
    """Return the changes, or raise DatabaseError if one of them is not ours to make."""
    for change in changes:
        if change.conflict:
            raise change.conflict
    return changes


def _to_upgrade(version: Version) -> bool:
    return version.number < SCHEMA_VERSION or version.upgrading_from is not None


def _apply(database: Database, lock: Lock, tell: Tell | None = None) -> list[str]:
    version = read_version(database)
    refuse_newer(database, version)
    holds_documents = version.number > 0 or any(database[name].find_one({}, {"_id": 1}) for name in DOCUMENTS)
    upgrade = _to_upgrade(version) and holds_documents
    if upgrade:
        _refuse_newer_documents(database)
        begin_upgrade(database, version)
    changed = _do(pending_collections(database), lock)
    if upgrade:
        changed += upgrade_documents(database, lock.beat, tell)
    pending = _possible(pending_indexes(database))
    record_indexes(database)
    changed += _do(pending, lock)
    record_indexes(database)
    if upgrade:
        finish_upgrade(database)
        changed.append(f"schema version {SCHEMA_VERSION}")
    elif _to_upgrade(version):
        new = {"$set": {"version": SCHEMA_VERSION}, "$unset": {"upgrading_from": ""}}
        database[META_COLLECTION].update_one({"_id": SCHEMA}, new, upsert=True)
    return changed


def _do(changes: list[Change], lock: Lock) -> list[str]:
    for change in changes:
        try:
            change.apply()
        except OperationFailure as err:
            if change.kind != "index" or err.code not in _INDEX_CONFLICTS:
                raise
            raise DatabaseError(
                f"an index cannot be made: {change.text}: {str((err.details or {}).get('errmsg', ''))[:200]}",
                "drop an index of the same name or keys by hand, or remove one of two documents with equal values",
            ) from err
        lock.beat()
    return [change.text for change in changes]


def _refuse_newer_documents(database: Database) -> None:
    """Raise DataError if a document is of a newer version than the recorded one."""
    for name in DOCUMENTS:
        newer = database[name].find_one({"schema_version": {"$gt": SCHEMA_VERSION}}, {"schema_version": 1})
        if newer is not None:
            raise DataError(
                f"document '{newer['_id']}' of {name} has schema version {newer['schema_version']}, "
                f"this program knows {SCHEMA_VERSION}",
                "upgrade gst_jobflow",
            )


def _launchpad_is_bare(database: Database) -> bool:
    if database["fw_id_assigner"].find_one() is not None:
        return False
    if database["fireworks"].find_one() is not None:
        raise DatabaseError(
            f"database '{database.name}' holds fireworks but no id counter",
            "restore it from a backup of the database",
        )
    return True
