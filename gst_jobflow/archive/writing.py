"""Write the members of bundles and backups; the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from gst_jobflow.base.errors import DataError
from gst_jobflow.store.files.artifacts import CHUNK_BYTES, ArtifactStore

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""


@dataclass(frozen=True)
class ArchiveMember:
    """A member of an archive: its name, its content, and its SHA-256 where that is checked while it is read."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]
    sha256: str = ""

    @classmethod
    def of_bytes(cls, name: str, content: bytes) -> ArchiveMember:
        """Return a member with this content."""
        return cls(name, len(content), lambda: BytesIO(content))

    @classmethod
    def of_path(cls, name: str, path: Path) -> ArchiveMember:
        """Return a member with the content of a file."""
        return cls(name, path.stat().st_size, lambda: path.open("rb"))

    @classmethod
    def of_artifact(cls, folder: str, artifacts: ArtifactStore, digest: str, size_bytes: int) -> ArchiveMember:
        """Return the member of a stored file, `folder/ab/cdef…`."""
        return cls(f"{folder}/{digest[:2]}/{digest[2:]}", size_bytes, lambda: artifacts.open(digest), digest)


class _Checked:
    """The content of a member, whose hash is checked when it was read."""

    def __init__(self, member: ArchiveMember, stream: IO[bytes]) -> None:
        self._member, self._stream, self._seen = member, stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._seen.update(data)
        return data

    def check(self) -> None:
        if self._member.sha256 not in ("", self._seen.hexdigest()):
            raise DataError(
                f"file {self._member.sha256} is corrupt; nothing is written",
                "gst db check --deep; put it back from a backup, or move it away and export with --allow-missing",
            )


def write_tar(tar: tarfile.TarFile, members: Iterable[ArchiveMember], folder: str = "", mode: int = 0o644) -> None:
    """Append members without times and owners.

    Raises
    ------
    DataError
        A file is corrupt, or shorter than its documents say.
    """
    for member in members:
        entry = tarfile.TarInfo(folder + member.name)
        entry.size, entry.mode = member.size_bytes, mode
        with member.open() as stream:
            content = _Checked(member, stream)
            try:
                tar.addfile(entry, content)  # type: ignore[arg-type]
            except OSError as err:
                if "unexpected end of data" not in str(err):
                    raise
                problem = f"file {member.name} is shorter than its documents say; nothing is written"
                raise DataError(problem, "gst db check") from err
            content.check()
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member, and there may be a million


def write_folder(folder: Path, members: Iterable[ArchiveMember]) -> None:
    """Write members as files below a folder; raises as `write_tar`."""
    for member in members:
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as stream, target.open("wb") as out:
            content = _Checked(member, stream)
            while chunk := content.read(CHUNK_BYTES):
                out.write(chunk)
            content.check()
