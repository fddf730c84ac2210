"""Files as they are: plain or gzipped, told by their first bytes and not by their names."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, TextIO

GZIP_MAGIC = b"\x1f\x8b"
CANNOT_READ_ON = (OSError, EOFError, zlib.error, UnicodeDecodeError)
"""What the system and gzip raise when a file is cut or damaged."""


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file for reading, unpacked where it is gzipped."""
    with file.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    return gzip.open(file, "rb") if packed else file.open("rb")  # type: ignore[return-value]


class Pieces:
    """A file that gives what it has: a full read of a cut gzip file raises and loses what came before the cut."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, count: int = 1 << 16) -> bytes:
        return self._stream.read1(count)  # type: ignore[attr-defined]


def open_text(file: Path) -> TextIO:
    """Open a text file for reading, unpacked where it is gzipped; other bytes than UTF-8 become a question mark."""
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8", errors="replace")


def first_bytes(file: Path, count: int = 8192) -> bytes:
    """The first unpacked bytes; fewer where the file is short, none where it cannot be unpacked."""
    try:
        with open_bytes(file) as stream:
            return stream.read(count)
    except CANNOT_READ_ON:
        return b""
