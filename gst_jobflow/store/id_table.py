"""Sets of ids on disk: a million of them do not belong in memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

FileRow = tuple[str, int, str]
"""SHA-256, size in bytes and name of a file."""


class IdTable:
    """Ids by kind, each once, in a temporary SQLite file; `with IdTable() as table`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gst-ids-")
        self._table = sqlite3.connect(Path(self._folder.name) / "ids.sqlite")
        for statement in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE ids (kind TEXT, id TEXT, size_bytes INTEGER DEFAULT 0, name TEXT DEFAULT '', "
            "taken INTEGER DEFAULT 0, PRIMARY KEY (kind, id)) WITHOUT ROWID",
            "CREATE INDEX by_id ON ids (id)",
            "CREATE INDEX by_taken ON ids (kind, taken)",
        ):
            self._table.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        self._folder.cleanup()

    def add(self, kind: str, ids: Iterable[str]) -> None:
        """Add ids; those that the table holds stay as they are."""
        self._table.executemany("INSERT OR IGNORE INTO ids (kind, id) VALUES (?, ?)", ((kind, id) for id in ids))

    def add_files(self, kind: str, files: Iterable[FileRow]) -> None:
        """Add files by their hash; of several names, the first in the alphabet stays."""
        self._table.executemany(
            "INSERT INTO ids (kind, id, size_bytes, name) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET name = min(name, excluded.name)",
            ((kind, *file) for file in files),
        )

    def count(self, kind: str) -> int:
        """Count the ids of a kind."""
        return self._table.execute("SELECT count(*) FROM ids WHERE kind = ?", (kind,)).fetchone()[0]

    def kinds(self, id: str) -> list[str]:
        """Return the kinds that hold an id."""
        return [kind for (kind,) in self._table.execute("SELECT kind FROM ids WHERE id = ?", (id,))]

    def ids(self, kind: str) -> Iterator[str]:
        """Stream the ids of a kind in order."""
        for (id,) in self._table.execute("SELECT id FROM ids WHERE kind = ? ORDER BY id", (kind,)):
            yield id

    def files(self, kind: str, *except_kinds: str) -> Iterator[FileRow]:
        """Stream the files of a kind that no other given kind holds, in the order of their hashes."""
        others = ", ".join("?" * len(except_kinds))
        return self._table.execute(
            "SELECT id, size_bytes, name FROM ids WHERE kind = ? "
            f"AND id NOT IN (SELECT id FROM ids WHERE kind IN ({others})) ORDER BY id",
            (kind, *except_kinds),
        )

    def take(self, kind: str, most: int) -> list[str]:
        """Return some ids of a kind that were not taken before."""
        where = "kind = ? AND taken = 0"
        taken = [id for (id,) in self._table.execute(f"SELECT id FROM ids WHERE {where} LIMIT {most}", (kind,))]
        self._table.executemany("UPDATE ids SET taken = 1 WHERE kind = ? AND id = ?", ((kind, id) for id in taken))
        return taken
