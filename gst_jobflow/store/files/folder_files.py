"""Stored files in a folder: `root/ab/cdef…` is the file whose SHA-256 is `abcdef…`, `root/.trash/abcdef…` garbage."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from gst_jobflow.store.files.file_backends import CHUNK_BYTES, StoredFile, Swept, sha256_of

PART = ".part-"
_TRASH = ".trash"
_FOLDER, _NAME = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{62}")


class FolderFiles:
    """Files in a folder that everybody who works on the project sees.

    The time of its last change is when a file was last put.
    """

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, file: Path, digest: str, size_bytes: int) -> None:
        """Copy under another name, bring to disk, rename; one that is there already gets a new time."""
        target = self.place(digest)
        if self._renewed(target, digest, size_bytes):
            return
        if self.untrash(digest) and self._renewed(target, digest, size_bytes):
            return
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(self.root)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=PART)
        try:
            with os.fdopen(handle, "wb") as out, file.open("rb") as source:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
                out.flush()
                os.fsync(out.fileno())
            Path(temporary).chmod(0o444)
            Path(temporary).rename(target)
            _sync_folder(target.parent)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _renewed(self, target: Path, digest: str, size_bytes: int) -> bool:
        """Whether the file is there and sound, and now has the time of this put."""
        try:
            # the time first: from here on nobody takes it for garbage
            os.utime(target)
            # a corrupt copy must not stand for the whole one that is being put
            return target.stat().st_size == size_bytes and sha256_of(target)[0] == digest
        except (FileNotFoundError, PermissionError):  # not there; or of another user: it is replaced by the same
            return False

    def size_of(self, digest: str) -> int | None:
        """Size of the file, wherever it is."""
        for path in (self.place(digest), self._trash_place(digest), self.place(digest)):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return None

    def local(self, digest: str) -> Path | None:
        """The file itself."""
        path = self.place(digest)
        if path.is_file():
            return path
        self.untrash(digest)
        return path if path.is_file() else None

    def place(self, digest: str) -> Path:
        """`root/ab/cdef…`."""
        return self.root / digest[:2] / digest[2:]

    def _trash_place(self, digest: str) -> Path:
        return self.root / _TRASH / digest

    def open(self, digest: str) -> IO[bytes]:
        """Open the file."""
        with suppress(FileNotFoundError):
            return self.place(digest).open("rb")
        return self._trash_place(digest).open("rb")

    def stored(self) -> Iterator[StoredFile]:
        """Walk the folder."""
        for folder in _entries(self.root):
            if not (_FOLDER.fullmatch(folder.name) and folder.is_dir()):
                continue
            for item in _entries(Path(folder.path)):
                if _NAME.fullmatch(item.name):
                    with suppress(FileNotFoundError):  # trashed meanwhile
                        found = item.stat()
                        yield StoredFile(folder.name + item.name, found.st_size, found.st_mtime)

    def discard(self, digest: str) -> None:
        """Unlink it."""
        self.place(digest).unlink(missing_ok=True)
        self._trash_place(digest).unlink(missing_ok=True)

    def trash(self, digest: str, before: float) -> bool:
        """Rename it into the trash, then look once more when it was put."""
        place, trash = self.place(digest), self._trash_place(digest)
        trash.parent.mkdir(parents=True, exist_ok=True)
        try:
            if place.stat().st_mtime >= before:
                return False
            place.rename(trash)
            if trash.stat().st_mtime >= before:  # it was put between the two lines above
                self.untrash(digest)
                return False
            os.utime(trash)  # from now on: when it was put into the trash
        except FileNotFoundError:  # taken back already, or another collector was first
            return False
        except PermissionError:  # of another user: without a new time it would go without its grace
            self.untrash(digest)
            return False
        return True

    def untrash(self, digest: str) -> bool:
        """Rename it back; its time becomes now."""
        place, trash = self.place(digest), self._trash_place(digest)
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

    def trashed(self) -> Iterator[StoredFile]:
        """Walk the trash."""
        for item in _entries(self.root / _TRASH):
            with suppress(FileNotFoundError):
                found = item.stat()
                yield StoredFile(item.name, found.st_size, found.st_mtime)

    def delete_trashed(self, digest: str, before: float) -> bool:
        """Unlink it in the trash: one that is taken back at this moment is not there any more."""
        trash = self._trash_place(digest)
        try:
            if trash.stat().st_mtime >= before:
                return False
            trash.unlink()
        except FileNotFoundError:
            return False
        return True

    def sweep(self, before: float, *, dry_run: bool = False) -> Swept:
        """Remove `.part-…` files, and folders with such files, that a kill left behind."""
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
        return Swept(count, size_bytes)

    def forget(self, before: float, *, dry_run: bool = False) -> Swept:
        """Delete files not put since `before`, at once: for copies of what is kept elsewhere."""
        count = size_bytes = 0
        for file in self.stored():
            if file.time < before:
                count, size_bytes = count + 1, size_bytes + file.size_bytes
                if not dry_run:
                    self.discard(file.digest)
        return Swept(count, size_bytes)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, streamed; nothing where there is none."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def _plain_files(path: Path) -> list[Path]:
    """A file itself, or the files in a folder."""
    return [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
