"""Where the bytes of stored files are: what a folder and GridFS have in common.

A file is known by its SHA-256. Garbage goes in two steps, so that nobody who writes beside it can lose anything:

1. a file that nobody names, and that was not put for long, goes to the trash: there it is still found, and whoever
   puts it or reads it takes it back;
2. what has lain in the trash for long, and is still not named, is deleted.

A put of a file that is there already renews the time of its putting before it returns, and trashing looks at that time
again after the file was moved. So a put that returned is never undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file, and when it was last put (in the trash: when it was put there), s since 1970."""

    digest: str
    size_bytes: int
    time: float


@dataclass(frozen=True)
class Swept:
    """Leftovers that were removed: of writes that were cut off, and copies that can be had again."""

    count: int = 0
    size_bytes: int = 0


class FileBackend(Protocol):
    """One place for files."""

    kind: str

    def put(self, file: Path, digest: str, size_bytes: int) -> None:
        """Store a file; it is complete and safe when this returns. One in the trash is taken back."""

    def size_of(self, digest: str) -> int | None:
        """Size in bytes, None where there is none; one in the trash is still there."""

    def local(self, digest: str) -> Path | None:
        """A path to read it from, None where there is none; one in the trash is taken back.

        Raises
        ------
        DataError
            What was fetched from afar does not have this SHA-256.
        """

    def place(self, digest: str) -> Path:
        """Where on this computer it is or would be."""

    def open(self, digest: str) -> IO[bytes]:
        """Open it for reading once, without keeping a copy; raises FileNotFoundError."""

    def stored(self) -> Iterator[StoredFile]:
        """Every file that is not in the trash."""

    def discard(self, digest: str) -> None:
        """Remove a file at once: a corrupt one before it is put again, or one that was moved elsewhere."""

    def trash(self, digest: str, before: float) -> bool:
        """Move it to the trash unless it was put since `before`; whether it was moved."""

    def untrash(self, digest: str) -> bool:
        """Take it back from the trash; whether it was there."""

    def trashed(self) -> Iterator[StoredFile]:
        """Every file in the trash."""

    def delete_trashed(self, digest: str, before: float) -> bool:
        """Delete it from the trash if it was put there before `before`; whether it was deleted."""

    def sweep(self, before: float, *, dry_run: bool = False) -> Swept:
        """Remove leftovers older than `before`."""


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def hash_of(stream: Readable) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size in bytes of all that a stream has."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def sha256_of(file: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size of a file in bytes."""
    with file.open("rb") as source:
        return hash_of(source)
