"""Open files plain or packed (gzip, bzip2, xz, zstd), told by their first bytes and not by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, TextIO, cast

from gst_jobflow.base.errors import MissingProgramError

try:
    from backports import zstd
except ModuleNotFoundError:  # an older installation
    zstd = None  # type: ignore[assignment]

ENDINGS = ("", ".gz", ".bz2", ".xz", ".zst")
"""Endings of names of plain and packed files."""
_OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_BUFFER_BYTES = 1 << 18
"""Python's own few kilobytes would double the time to cut a file into frames."""
_ZSTD = b"\x28\xb5\x2f\xfd"
CANNOT_READ_ON = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError),
    *(() if zstd is None else (zstd.ZstdError,)),
)
"""What the system and the unpackers raise when a file is cut or damaged."""


def is_packed(file: Path) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    with file.open("rb") as stream:
        return stream.read(6).startswith((*_OPENERS, _ZSTD))


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file for reading, and unpack it if it is packed.

    Raises
    ------
    MissingProgramError
        It is packed by zstd, and nothing that unpacks that is installed.
    """
    with file.open("rb") as stream:
        first = stream.read(6)
    for magic, opener in _OPENERS.items():
        if first.startswith(magic):
            return cast("IO[bytes]", opener(file, "rb"))
    if first.startswith(_ZSTD):
        if zstd is None:
            raise MissingProgramError(f"{file} is packed by zstd", "pip install backports.zstd, or unpack it")
        return cast("IO[bytes]", zstd.open(file, "rb"))
    return file.open("rb", _BUFFER_BYTES)


def plain_name(file: Path) -> str:
    """Return the name of a file without the ending of its compression."""
    return file.stem if file.suffix in ENDINGS[1:] else file.name


class Pieces:
    """Read a file piece by piece: a full read of a cut packed file would lose what comes before the cut."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, count: int = 1 << 16) -> bytes:
        return self._stream.read1(count)  # type: ignore[attr-defined]


def open_text(file: Path) -> TextIO:
    """Open a text file for reading, and unpack it if it is packed; bytes that are not UTF-8 become question marks."""
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8", errors="replace")


def first_bytes(file: Path, count: int = 8192) -> bytes:
    """Return the first unpacked bytes; fewer where the file is short, none where it cannot be unpacked."""
    try:
        with open_bytes(file) as stream:
            return stream.read(count)
    except CANNOT_READ_ON:
        return b""
