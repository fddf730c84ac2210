"""Remove files that nobody needs: first to the trash, and out of it only after a grace in which nobody missed them.

The order makes it safe beside jobs, imports and exports:

1. note all references;
2. trash files without a reference, unless they were put within the age limit or since a running attempt began;
3. note all references again, after the last file was moved, and take back what is named now;
4. delete what has been in the trash for the grace and is still not named.

Putting or reading a file takes it out of the trash; its grace then begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pymongo.database import Database

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.settings import Project
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.files.references import note_references
from gst_jobflow.store.id_table import IdTable

DEFAULT_AGE_S = 7 * 86_400.0
DEFAULT_GRACE_S = 86_400.0
"""How long a file stays in the trash at least."""


@dataclass
class Collected:
    """What a collection of garbage did or, as a dry run, would do."""

    files: int = 0
    size_bytes: int = 0
    needed: int = 0
    young: int = 0
    left: int = 0
    """Garbage that was put just now, or that belongs to another user."""
    trashed: int = 0
    trashed_bytes: int = 0
    taken_back: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    in_trash: int = 0
    leftovers: int = 0
    leftover_bytes: int = 0
    dry_run: bool = False


def collect_garbage(
    project: Project,
    database: Database,
    artifacts: ArtifactStore,
    *,
    older_than_s: float = DEFAULT_AGE_S,
    grace_s: float = DEFAULT_GRACE_S,
    dry_run: bool = False,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Collected:
    """Trash and delete files that nothing names, in the order that the module describes.

    Parameters
    ----------
    older_than_s
        Keep files put within this time: the document that names them may not be written yet.
    grace_s
        How long a file stays in the trash before it is deleted.
    dry_run
        Only count.
    force
        Collect even if the database names none of the files, which may then belong to another database.
    tell
        Called with a line for each step.

    Raises
    ------
    DataError
        A manifest cannot be read, or the database names none of the files. Nothing is removed then.
    """
    begun = time.time()
    limit = _limit(database, begun - older_than_s)
    done = Collected(dry_run=dry_run)
    with IdTable() as named:
        tell("looking at documents and manifests")
        note_references(project, database, named)
        if not force:
            _refuse_strangers(database, artifacts, named)
        _trash_garbage(artifacts, named, limit, done)
    with IdTable() as named:
        tell("looking once more")
        note_references(project, database, named)
        _empty_trash(artifacts, named, begun - grace_s, done)
    # unfinished files stay for a day, however short the age limit is: somebody may be writing them
    done.leftovers, done.leftover_bytes = artifacts.sweep(min(limit, begun - DEFAULT_GRACE_S), dry_run=dry_run)
    return done


def _limit(database: Database, limit: float) -> float:
    """Return the age limit, or the start of the oldest running attempt, which may name its files only at its end."""
    running = database["attempts"].find({"state": "running"}, {"started_at": 1})
    return min([limit, *(attempt["started_at"].timestamp() for attempt in running)])


def _refuse_strangers(database: Database, artifacts: ArtifactStore, named: IdTable) -> None:
    strangers = 0
    for file in artifacts.stored():
        if named.kinds(file.digest):
            return
        strangers += 1
    if strangers:
        raise DataError(
            f"database '{database.name}' names none of the {strangers} files: do they belong to another database?",
            "check mongo.database and artifacts_dir; if they are all garbage: --force",
        )


def _trash_garbage(artifacts: ArtifactStore, named: IdTable, limit: float, done: Collected) -> None:
    for file in artifacts.stored():
        done.files, done.size_bytes = done.files + 1, done.size_bytes + file.size_bytes
        if named.kinds(file.digest):
            done.needed += 1
        elif file.time >= limit:
            done.young += 1
        elif done.dry_run or artifacts.trash(file.digest, limit):
            done.trashed, done.trashed_bytes = done.trashed + 1, done.trashed_bytes + file.size_bytes
        else:
            done.left += 1


def _empty_trash(artifacts: ArtifactStore, named: IdTable, before: float, done: Collected) -> None:
    for file in list(artifacts.trashed()):
        if named.kinds(file.digest):
            done.taken_back += done.dry_run or artifacts.untrash(file.digest)
        elif file.time < before and (done.dry_run or artifacts.delete_trashed(file.digest, before)):
            done.deleted, done.deleted_bytes = done.deleted + 1, done.deleted_bytes + file.size_bytes
        else:
            done.in_trash += 1
