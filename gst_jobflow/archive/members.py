"""Members of an archive, for bundles and backups: written to a tar, read from one, and put back into the files."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gst_jobflow.base.atomic import PART
from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.store.files.artifacts import CHUNK_BYTES, ArtifactStore


def add_member(tar: tarfile.TarFile, name: str, content: Any, size_bytes: int, mode: int) -> None:
    """Append a member without times and owners: the same content gives the same bytes.

    Raises
    ------
    DataError
        The content is shorter than `size_bytes`.
    """
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size_bytes, mode
    try:
        tar.addfile(entry, content)
    except OSError as err:
        if "unexpected end of data" not in str(err):
            raise
        raise DataError(f"file {name} is shorter than its documents say; nothing is written", "gst db check") from err
    _forget(tar)


def members_of(path: Path, mode: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Stream the members of a tar; the content of what is no plain file is None."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        while (entry := tar.next()) is not None:
            yield entry, tar.extractfile(entry) if entry.isreg() and not entry.issparse() else None
            _forget(tar)


def _forget(tar: tarfile.TarFile) -> None:
    tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every one, and there may be a million


def put_file(artifacts: ArtifactStore, digest: str, content: Any, archive: Path) -> bool:
    """Store a file out of an archive; a corrupt copy in the store is replaced. Return whether it was missing.

    Raises
    ------
    DataError
        The content does not have this SHA-256.
    DatabaseError
        The folder of the files cannot be created.
    """
    try:
        artifacts.root.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DatabaseError(f"{artifacts.root} cannot be created: {err.strerror}", "grant access there") from err
    with tempfile.NamedTemporaryFile(dir=artifacts.root, prefix=PART) as copy:
        shutil.copyfileobj(content, copy, CHUNK_BYTES)
        copy.flush()
        there = artifacts.size_of(digest)
        # a known file is put, too: a collector of garbage then leaves it alone
        ref = artifacts.put(Path(copy.name), digest)
    if ref.sha256 != digest:
        raise DataError(f"{archive} changed while it was read: file {digest}", "run this again")
    return there != ref.size_bytes
