"""A bundle as a stream of named members, from a folder or a tar that nobody vouches for.

Only names that a bundle can have are looked at, nothing is unpacked by name, and links are not followed.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gst_jobflow.archive.bundle_format import CHECKSUMS, CITATION, DOCUMENTS_NAMES, FILE_NAME, MANIFEST, README
from gst_jobflow.archive.members import members_of
from gst_jobflow.base.errors import DataError, InputError

_WORDS = (MANIFEST, CHECKSUMS, README, CITATION)
FIX = "take another copy of this bundle"


def is_member(name: str) -> bool:
    """Whether a bundle can have a member of this name."""
    return name in _WORDS or name in DOCUMENTS_NAMES or FILE_NAME.fullmatch(name) is not None


class Content(io.RawIOBase):
    """The bytes of a member; damage is a DataError wherever it is met."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__()
        self._stream, self._path = stream, path

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        with _explained(self._path):
            return self._stream.read(size)


class Bundle:
    """A bundle to read.

    Parameters
    ----------
    path
        Its folder or tar.

    Raises
    ------
    InputError
        There is no such folder or file.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(f"there is no bundle {path}", "name a folder or tar that gst export wrote")
        if not (path.is_dir() or path.is_file()):
            raise InputError(f"{path} is neither a folder nor a file", "name a folder or tar that gst export wrote")
        if path.is_dir() and not (path / MANIFEST).is_file():
            raise InputError(f"the folder {path} is no bundle: it has no {MANIFEST}", "name one that gst export wrote")
        self.path = path

    def members(self) -> Iterator[tuple[str, Content]]:
        """Yield every member with its content in stored order; other members are skipped.

        Raises
        ------
        DataError
            A member is a link or device, is there twice, or cannot be read.
        """
        with _explained(self.path):
            for name, content in self._of_folder() if self.path.is_dir() else self._of_tar():
                yield name, Content(content, self.path)

    def _of_folder(self) -> Iterator[tuple[str, IO[bytes]]]:
        root = self.path.resolve()
        for name in _WORDS:
            if os.path.lexists(root / name):
                yield from _opened(root, name)
        for first in sorted((root / "files").glob("[0-9a-f][0-9a-f]")):
            for file in sorted(first.iterdir()) if first.is_dir() else ():
                name = f"files/{first.name}/{file.name}"
                if is_member(name):
                    yield from _opened(root, name)
        for name in DOCUMENTS_NAMES:
            if os.path.lexists(root / name):
                yield from _opened(root, name)

    def _of_tar(self) -> Iterator[tuple[str, IO[bytes]]]:
        seen: set[str] = set()
        for entry, content in members_of(self.path, "r:*"):
            name = _name_in_tar(entry.name)
            if name is None or entry.isdir():
                continue
            if content is None:
                raise DataError(f"{self.path}: {entry.name[:200]} is not a plain file; nothing was read", FIX)
            if name in seen:
                raise DataError(f"{self.path}: {name} is in it twice; nothing was read", FIX)
            if not name.startswith("files/"):
                seen.add(name)
            yield name, content


def _name_in_tar(name: str) -> str | None:
    """Return the name without the one folder around a bundle; None if no bundle has such a member."""
    name = name.removeprefix("./")
    if is_member(name):
        return name
    _, _, rest = name.partition("/")
    return rest if is_member(rest) else None


def _opened(root: Path, name: str) -> Iterator[tuple[str, IO[bytes]]]:
    path = root / name
    if path.parent.resolve() != path.parent:
        raise DataError(f"{path.parent} is a link; nothing was read", FIX)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror}", FIX) from err
    with os.fdopen(handle, "rb") as content:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DataError(f"{path} is not a plain file; nothing was read", FIX)
        yield name, content


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, OSError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0].rstrip(":")[:200]
        raise DataError(f"{path} is not a bundle, or is damaged: {reason}", FIX) from err
