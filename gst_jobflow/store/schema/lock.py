"""Lock a database for one migration at a time; the lock of a dead process is taken over."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psutil
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.processes import is_alive
from gst_jobflow.documents import now
from gst_jobflow.store.schema.versions import META_COLLECTION

LOCK = "migration_lock"
_BEAT_S = 10.0
_SILENT = timedelta(minutes=15)
"""A lock of another host, whose processes cannot be seen, is stale after this time: longer than building an index of a
few million documents."""


class Lock:
    """The lock while it is held."""

    def __init__(self, meta: Collection, token: str) -> None:
        self._meta, self._token = meta, token
        self._next = time.monotonic() + _BEAT_S

    def beat(self) -> None:
        """Show every few seconds that the owner is alive; DatabaseError if another process took the lock over."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _BEAT_S
        mine = {"_id": LOCK, "token": self._token}
        if self._meta.update_one(mine, {"$set": {"beat_at": now()}}).matched_count == 0:
            raise DatabaseError("another process took this migration over", "gst db migrate after it has ended")


@contextmanager
def locked(database: Database, wait_s: float, tell: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Hold the lock of the database; DatabaseError if another process still holds it after `wait_s`."""
    meta = database[META_COLLECTION]
    process = psutil.Process()
    mine = {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": process.create_time(),
        "taken_at": now(),
        "beat_at": now(),
    }
    _acquire(meta, mine, time.monotonic() + wait_s, tell)
    try:
        yield Lock(meta, mine["token"])
    finally:
        meta.delete_one({"_id": LOCK, "token": mine["token"]})


def _acquire(meta: Collection, mine: dict[str, Any], deadline: float, tell: Callable[[str], None] | None) -> None:
    while True:
        try:
            meta.insert_one({"_id": LOCK, **mine})
            return
        except DuplicateKeyError:
            holder = meta.find_one({"_id": LOCK})
        if holder is None:
            continue
        if _is_stale(holder):
            # only one of several processes that see a stale lock finds its token
            if meta.replace_one({"_id": LOCK, "token": holder["token"]}, mine).matched_count:
                return
            continue
        owner = f"process {holder['pid']} on {holder['host']}"
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"the database is being migrated by {owner} since {holder['taken_at']:%Y-%m-%d %H:%M:%S} UTC",
                "wait for it, then run this again; the lock of a dead host lapses after 15 minutes",
            )
        if tell:
            tell(f"waiting for a migration by {owner}")
            tell = None
        time.sleep(0.2)


def _is_stale(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        return not is_alive(holder["pid"], holder["process_started"])
    beat: datetime = holder["beat_at"]
    return now() - (beat if beat.tzinfo else beat.replace(tzinfo=now().tzinfo)) > _SILENT
