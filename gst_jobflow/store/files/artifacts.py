"""Files by content: `root/ab/cdef…` is the file whose SHA-256 is `abcdef…`, `root/.trash/abcdef…` is garbage.

Garbage is removed in two steps (see `garbage`), so that nobody who writes at the same time loses anything: a file in
the trash is still found, and whoever puts or reads it takes it back. Putting a file that exists renews its time before
`put` returns, and `trash` checks that time again after moving the file. So a put that returned is never undone.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gst_jobflow.base.atomic import PART, replacing, sync
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import ArtifactRef

CHUNK_BYTES = 1 << 20
_TRASH = ".trash"
_FOLDER, _NAME = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{62}")


@dataclass(frozen=True)
class StoredFile:
    """A stored file; `time` says when it was last put or, in the trash, when it was moved there (s since 1970)."""

    digest: str
    size_bytes: int
    time: float


class ArtifactStore:
    """Files in a folder that every node of the project sees; equal content is stored once.

    The modification time of a file says when it was last put. Any number of processes may write at the same time. The
    folder is created with the first file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, file: Path, name: str | None = None) -> ArtifactRef:
        """Store a copy of a file; it is complete and on disk when this returns."""
        digest, size_bytes = sha256_of(file)
        target = self.path_of(digest)
        known = self._renew(target, digest, size_bytes)
        if not known and not (self.untrash(digest) and self._renew(target, digest, size_bytes)):
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                sync(self.root)
            with replacing(target, mode=0o444) as part:
                shutil.copyfile(file, part)
        return ArtifactRef(sha256=digest, size_bytes=size_bytes, name=name or file.name)

    def put_bytes(self, data: bytes, name: str) -> ArtifactRef:
        """Store bytes as a file."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return self.put(Path(file.name), name)

    def _renew(self, target: Path, digest: str, size_bytes: int) -> bool:
        """Give a stored file the time of this put; False where it is missing, corrupt or another user's."""
        try:
            # renew the time first: from then on, nobody takes the file for garbage
            os.utime(target)
            return target.stat().st_size == size_bytes and sha256_of(target)[0] == digest
        except (FileNotFoundError, PermissionError):
            return False

    def path(self, ref: ArtifactRef) -> Path:
        """Return the path of a file, for reading only; one in the trash is taken back; DataError if it is missing."""
        path = self.path_of(ref.sha256)
        if not path.is_file():
            self.untrash(ref.sha256)
        if not path.is_file():
            raise DataError(
                f"file '{ref.name}' ({ref.sha256[:12]}…) is missing from {self.root}",
                "restore it (gst db restore), or compute the document again",
            )
        return path

    def fetch(self, ref: ArtifactRef, folder: Path) -> Path:
        """Link (or copy, across file systems) the file into `folder` under its name, for reading only."""
        target = folder / ref.name
        target.unlink(missing_ok=True)
        path = self.path(ref)
        try:
            # programs resolve symbolic links and lose the ending, by which LAMMPS knows the format
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
        return target

    def path_of(self, digest: str) -> Path:
        """Return where the file of this hash is or would be."""
        return self.root / digest[:2] / digest[2:]

    def _trash_of(self, digest: str) -> Path:
        return self.root / _TRASH / digest

    def size_of(self, digest: str) -> int | None:
        """Return the size in bytes of the file of this hash, also in the trash; None if there is none."""
        for path in (self.path_of(digest), self._trash_of(digest), self.path_of(digest)):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return None

    def open(self, digest: str) -> IO[bytes]:
        """Open the file of this hash for reading; raises FileNotFoundError."""
        with suppress(FileNotFoundError):
            return self.path_of(digest).open("rb")
        return self._trash_of(digest).open("rb")

    def is_sound(self, digest: str) -> bool:
        """Whether the file of this hash exists and its content has this hash."""
        try:
            with self.open(digest) as stream:
                return stream_hash(stream)[0] == digest
        except FileNotFoundError:
            return False

    def stored(self) -> Iterator[StoredFile]:
        """Stream every file that is not in the trash."""
        for folder in _entries(self.root):
            if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                for item in _entries(Path(folder.path)):
                    if _NAME.fullmatch(item.name):
                        yield from _described(item, folder.name + item.name)

    def trashed(self) -> Iterator[StoredFile]:
        """Stream every file in the trash."""
        for item in _entries(self.root / _TRASH):
            yield from _described(item, item.name)

    def discard(self, digest: str) -> None:
        """Remove a corrupt file at once, so that it can be put again."""
        self.path_of(digest).unlink(missing_ok=True)
        self._trash_of(digest).unlink(missing_ok=True)

    def trash(self, digest: str, before: float) -> bool:
        """Move a file to the trash unless it was put since `before`; return whether it was moved."""
        place, trash = self.path_of(digest), self._trash_of(digest)
        trash.parent.mkdir(parents=True, exist_ok=True)
        try:
            if place.stat().st_mtime >= before:
                return False
            place.rename(trash)
            if trash.stat().st_mtime >= before:  # it was put between the two lines above
                self.untrash(digest)
                return False
            os.utime(trash)
        except FileNotFoundError:  # taken back already, or another collector was first
            return False
        except PermissionError:  # another user's file: without a new time it would be deleted without grace
            self.untrash(digest)
            return False
        return True

    def untrash(self, digest: str) -> bool:
        """Take a file back from the trash, with a new time; return whether it was there."""
        place, trash = self.path_of(digest), self._trash_of(digest)
        if not trash.is_file():
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with suppress(PermissionError):
                os.utime(trash)
            trash.rename(place)
        except FileNotFoundError:
            return False
        return True

    def delete_trashed(self, digest: str, before: float) -> bool:
        """Delete a file that was trashed before `before`; return whether it was deleted."""
        trash = self._trash_of(digest)
        try:
            if trash.stat().st_mtime >= before:
                return False
            trash.unlink()
        except FileNotFoundError:  # taken back at this moment
            return False
        return True

    def sweep(self, before: float, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove what killed writers left unfinished (`.part-…`) before `before`; return how many, and their bytes."""
        count = size_bytes = 0
        for folder in (self.root, *(Path(item.path) for item in _entries(self.root) if _FOLDER.fullmatch(item.name))):
            for item in _entries(folder):
                if not item.name.startswith(PART):
                    continue
                with suppress(FileNotFoundError):
                    files = _plain_files(Path(item.path))
                    if max(file.stat().st_mtime for file in (Path(item.path), *files)) >= before:
                        continue
                    count, size_bytes = count + 1, size_bytes + sum(file.stat().st_size for file in files)
                    if not dry_run:
                        shutil.rmtree(item.path) if item.is_dir(follow_symlinks=False) else Path(item.path).unlink()
        return count, size_bytes


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Stream the entries of a folder; none if there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def _described(item: os.DirEntry[str], digest: str) -> Iterator[StoredFile]:
    """Yield the description of a file, unless it was moved meanwhile."""
    with suppress(FileNotFoundError):
        found = item.stat()
        yield StoredFile(digest, found.st_size, found.st_mtime)


def _plain_files(path: Path) -> list[Path]:
    """Return a file itself, or the files in a folder."""
    return [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]


def stream_hash(stream: IO[bytes] | io.RawIOBase) -> tuple[str, int]:
    """Return the SHA-256 (hexadecimal) and the size in bytes of a stream, which is read to its end."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def sha256_of(file: Path) -> tuple[str, int]:
    """Return the SHA-256 (hexadecimal) and the size in bytes of a file."""
    with file.open("rb") as source:
        return stream_hash(source)
