"""Remove files that nobody needs: into the trash first, out of it only when they were not missed for long.

The order, which makes it safe beside jobs, imports and exports:

1. a first look at all references;
2. files without one, not put since the age limit and since the start of any attempt that still runs, go to the trash;
3. a second look, begun after the last file was moved: what has a reference now comes back;
4. what has lain in the trash for the grace, and has none in the second look either, is deleted.

Whoever puts a file or reads it takes it out of the trash, and its grace begins anew if it ever comes back there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DataError
from gst_jobflow.store.files.artifacts import StoredFile, Swept
from gst_jobflow.store.files.references import References, look

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project
    from gst_jobflow.store.files.artifacts import ArtifactStore

DEFAULT_AGE_S = 7 * 86_400.0
DEFAULT_GRACE_S = 86_400.0
"""So long a file lies in the trash at least."""


@dataclass
class Collected:
    """What a collection did or, as a dry run, would do."""

    files: int = 0
    size_bytes: int = 0
    needed: int = 0
    young: int = 0
    left: int = 0
    """Put at this moment, or of another user, who collects them himself."""
    trashed: int = 0
    trashed_bytes: int = 0
    taken_back: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    in_trash: int = 0
    leftovers: int = 0
    leftover_bytes: int = 0
    dry_run: bool = False


def collect(
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
    project, database, artifacts
        The project.
    older_than_s
        Files put within this time stay: the document that names them may not be written yet.
    grace_s
        How long a file lies in the trash before it is deleted.
    dry_run
        Only count.
    force
        Collect even if the database names none of the files; they may belong to another database.
    tell
        Gets a line for each step.

    Raises
    ------
    DataError
        A manifest cannot be read, or the database names none of the files. Nothing is removed then.
    """
    begun = time.time()
    limit = _limit(database, begun - older_than_s)
    done = Collected(dry_run=dry_run)
    with References() as first:
        tell("looking at documents and manifests")
        look(project, database, first)
        if not force:
            _refuse_strangers(database, artifacts, first)
        _trash_garbage(artifacts, first, limit, done)
    with References() as second:
        tell("looking once more")
        look(project, database, second)
        _empty_trash(artifacts, second, begun - grace_s, done)
    # whatever the age limit: a file that is being written must stay
    swept: Swept = artifacts.sweep(min(limit, begun - DEFAULT_GRACE_S), dry_run=dry_run)
    done.leftovers, done.leftover_bytes = swept.count, swept.size_bytes
    return done


def _limit(database: Database, limit: float) -> float:
    """Return the age limit, or the start of the oldest running attempt, which may name its files only at its end."""
    running = database["attempts"].find({"state": "running"}, {"started_at": 1})
    return min([limit, *(attempt["started_at"].timestamp() for attempt in running)])


def _refuse_strangers(database: Database, artifacts: ArtifactStore, references: References) -> None:
    strangers = 0
    for file in artifacts.stored():
        if references.kinds(file.digest):
            return
        strangers += 1
    if strangers:
        raise DataError(
            f"database '{database.name}' names none of the {strangers} files: do they belong to another database?",
            "check mongo.database and artifacts_dir; if they are all garbage: --force",
        )


def _trash_garbage(artifacts: ArtifactStore, references: References, limit: float, done: Collected) -> None:
    for file in artifacts.stored():
        if not _is_garbage(file, references, limit, done):
            continue
        if done.dry_run or artifacts.trash(file.digest, limit):
            done.trashed, done.trashed_bytes = done.trashed + 1, done.trashed_bytes + file.size_bytes
        else:
            done.left += 1


def _is_garbage(file: StoredFile, references: References, limit: float, done: Collected) -> bool:
    done.files, done.size_bytes = done.files + 1, done.size_bytes + file.size_bytes
    if references.kinds(file.digest):
        done.needed += 1
        return False
    if file.time >= limit:
        done.young += 1
        return False
    return True


def _empty_trash(artifacts: ArtifactStore, references: References, before: float, done: Collected) -> None:
    for file in list(artifacts.trashed()):
        if references.kinds(file.digest):
            done.taken_back += done.dry_run or artifacts.untrash(file.digest)
        elif file.time < before and (done.dry_run or artifacts.delete_trashed(file.digest, before)):
            done.deleted, done.deleted_bytes = done.deleted + 1, done.deleted_bytes + file.size_bytes
        else:
            done.in_trash += 1
