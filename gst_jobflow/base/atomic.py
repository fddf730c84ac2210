"""Replace files in one step: a reader finds the old content or all of the new, also after a crash."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part-"
"""Start of the names of unfinished files."""


@contextmanager
def replacing(path: Path, *, mode: int | None = None, durable: bool = True) -> Iterator[Path]:
    """Write to a temporary file that takes the place of `path` when the block ends without an error.

    Yields an empty file in the same folder, whose name ends in that of `path`.

    Parameters
    ----------
    mode
        Permissions of the file, which it has from its first byte on; None: those that the umask leaves.
    durable
        Whether content and name are on disk (fsync) at the end of the block.
    """
    part = path.with_name(f"{PART}{secrets.token_hex(4)}-{path.name}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode | 0o600))
    try:
        yield part
        if mode is not None:
            part.chmod(mode)
        if durable:
            sync(part)
        part.replace(path)
        if durable:
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, mode: int | None = None, durable: bool = True) -> None:
    """Write a text file (UTF-8) in one step; see `replacing`."""
    with replacing(path, mode=mode, durable=durable) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
