"""Which version a database has, and who may work with it: jobs and commands only with their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import MOVE_OUT_OF_GRIDFS
from gst_jobflow.documents import SCHEMA_VERSION

if TYPE_CHECKING:
    from pymongo.database import Database

META_COLLECTION = "gst_meta"
SCHEMA = "schema"
RESTORE_MARK = "restore"
"""`_id` of the document in `gst_meta` that is there while a restore fills the database."""


@dataclass(frozen=True)
class Version:
    """What `gst_meta` says.

    `number` is 0 for a database that was never prepared. While documents are brought to `number`, `upgrading_from` is
    the version that they had; the number is set first, so that programs of the older version stay away.
    """

    number: int = 0
    upgrading_from: int | None = None
    half_restored: bool = False


def read_version(database: Database) -> Version:
    """Read the version of a database: one small query."""
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
    """Raise DatabaseError where the database still holds files, which version 0.1.0 could keep in GridFS.

    Files in its trash do not count: no document names them.
    """
    if database["artifacts.files"].find_one({"metadata.trashed_at": None}, {"_id": 1}) is not None:
        raise DatabaseError(f"database '{database.name}' holds files in GridFS", MOVE_OUT_OF_GRIDFS)


def require_current(database: Database) -> None:
    """Refuse a database that this program would misread, or write to without its validators.

    It is asked at every opening, not once a process: a worker lives for days, and a migration may come meanwhile.

    Raises
    ------
    DatabaseError
        It is newer, older, never prepared, half migrated or half restored.
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
            "gst db migrate  (goes on where it stopped)",
        )
    if version.number == 0:
        raise DatabaseError(f"database '{database.name}' is not prepared", "gst db migrate")
    if version.number < SCHEMA_VERSION:
        raise DatabaseError(
            f"database '{database.name}' has schema version {version.number}, this program needs {SCHEMA_VERSION}",
            "gst db backup FILE.tar, then gst db migrate",
        )
