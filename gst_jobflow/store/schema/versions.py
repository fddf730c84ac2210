"""Read the version of a database, and refuse versions that this program cannot work with."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo.database import Database

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import MOVE_OUT_OF_GRIDFS
from gst_jobflow.documents import SCHEMA_VERSION

META_COLLECTION = "gst_meta"
SCHEMA = "schema"
RESTORE_MARK = "restore"
"""`_id` of the document in `gst_meta` that exists while a restore fills the database."""


@dataclass(frozen=True)
class Version:
    """The version that `gst_meta` holds.

    `number` is 0 for a database that was never prepared. During an upgrade to `number`, `upgrading_from` is the version
    that the documents had; the number is set first, which keeps programs of the older version away.
    """

    number: int = 0
    upgrading_from: int | None = None
    half_restored: bool = False


def read_version(database: Database) -> Version:
    """Read the version of a database by one small query."""
    found = {entry["_id"]: entry for entry in database[META_COLLECTION].find({"_id": {"$in": [SCHEMA, RESTORE_MARK]}})}
    schema = found.get(SCHEMA, {})
    return Version(schema.get("version", 0), schema.get("upgrading_from"), RESTORE_MARK in found)


def refuse_newer(database: Database, version: Version) -> None:
    """Raise DatabaseError if the database is of a newer version."""
    if version.number > SCHEMA_VERSION:
        raise DatabaseError(
            f"database '{database.name}' has schema version {version.number}, this program knows {SCHEMA_VERSION}",
            "upgrade gst_jobflow",
        )


def refuse_files_in_gridfs(database: Database) -> None:
    """Raise DatabaseError if the database holds files in GridFS, as of version 0.1.0, outside of its trash."""
    if database["artifacts.files"].find_one({"metadata.trashed_at": None}, {"_id": 1}) is not None:
        raise DatabaseError(f"database '{database.name}' holds files in GridFS", MOVE_OUT_OF_GRIDFS)


def require_current(database: Database) -> None:
    """Refuse a database that is newer, older, never prepared, half migrated or half restored (DatabaseError).

    This is checked whenever a database is opened, since a worker lives for days and a migration may happen meanwhile.
    """
    version = read_version(database)
    refuse_newer(database, version)
    if version.half_restored:
        raise DatabaseError(
            f"a restore of database '{database.name}' was cut off or is under way", "gst db restore FILE.tar --force"
        )
    if version.upgrading_from is not None:
        raise DatabaseError(
            f"database '{database.name}' is half migrated from schema version {version.upgrading_from} to "
            f"{version.number}",
            "gst db migrate  (continues where it stopped)",
        )
    if version.number == 0:
        raise DatabaseError(f"database '{database.name}' is not prepared", "gst db migrate")
    if version.number < SCHEMA_VERSION:
        raise DatabaseError(
            f"database '{database.name}' has schema version {version.number}, this program needs {SCHEMA_VERSION}",
            "gst db backup FILE.tar, then gst db migrate",
        )
