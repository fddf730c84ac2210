"""Files, stored once under their SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from gst_jobflow.documents import ArtifactRef
from gst_jobflow.errors import DataError

_CHUNK_BYTES = 1 << 20


class ArtifactStore:
    """A content-addressed folder: `root/ab/cdef…` holds the file whose SHA-256 is `abcdef…`.

    Putting the same bytes in again, from however many processes at once, changes nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, file: Path, name: str | None = None) -> ArtifactRef:
        """Store a file; it is complete on disk (fsync, rename) when this returns."""
        digest, size = sha256_of(file)
        target = self.path_of(digest)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            try:
                with os.fdopen(handle, "wb") as out, file.open("rb") as source:
                    shutil.copyfileobj(source, out, _CHUNK_BYTES)
                    out.flush()
                    os.fsync(out.fileno())
                Path(temporary).chmod(0o444)
                Path(temporary).rename(target)
            finally:
                Path(temporary).unlink(missing_ok=True)
        return ArtifactRef(sha256=digest, size_bytes=size, name=name or file.name)

    def put_bytes(self, data: bytes, name: str) -> ArtifactRef:
        """Store bytes as a file."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return self.put(Path(file.name), name)

    def path(self, ref: ArtifactRef) -> Path:
        """Where the file is.

        Raises
        ------
        DataError
            The file is not there.
        """
        path = self.path_of(ref.sha256)
        if not path.is_file():
            raise DataError(
                f"file '{ref.name}' ({ref.sha256[:12]}…) is missing from {self.root}",
                "restore the artifact folder, or compute the document again",
            )
        return path

    def fetch(self, ref: ArtifactRef, folder: Path) -> Path:
        """Link (or copy, across file systems) the file into `folder` under its name; it is not to be written to."""
        target = folder / ref.name
        target.unlink(missing_ok=True)
        try:
            # a hard link: programs that resolve symbolic ones would lose the ending, and LAMMPS reads by it
            target.hardlink_to(self.path(ref))
        except OSError:
            shutil.copyfile(self.path(ref), target)
        return target

    def path_of(self, digest: str) -> Path:
        """Where a file of this hash is or would be."""
        return self.root / digest[:2] / digest[2:]


def sha256_of(file: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size of a file in bytes."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
