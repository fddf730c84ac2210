"""Files, stored once under their SHA-256: in a folder, or in the database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import ArtifactRef
from gst_jobflow.store.files.file_backends import FileBackend, StoredFile, hash_of, sha256_of
from gst_jobflow.store.files.folder_files import FolderFiles

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project


class ArtifactStore:
    """Files by content. Putting the same bytes in again, from however many processes at once, changes nothing.

    Parameters
    ----------
    root
        Folder of the files or, with another backend, of what it keeps on this computer.
    backend
        Where the files are; None: in the folder.
    """

    def __init__(self, root: Path, backend: FileBackend | None = None) -> None:
        self.root = root
        self.backend: FileBackend = FolderFiles(root) if backend is None else backend

    @classmethod
    def of(cls, project: Project, database: Database | None, kind: str | None = None) -> ArtifactStore:
        """The files of a project, where its setting `artifacts.store` (or `kind`) says; the database may be away."""
        if (kind or project.settings.artifacts.store) == "folder":
            return cls(project.artifacts_dir)
        from gst_jobflow.store.files.gridfs_files import GridFsFiles

        return cls(project.artifacts_dir, GridFsFiles(database, project.artifacts_dir))

    def put(self, file: Path, name: str | None = None) -> ArtifactRef:
        """Store a file; it is complete and safe when this returns."""
        digest, size = sha256_of(file)
        self.backend.put(file, digest, size)
        return ArtifactRef(sha256=digest, size_bytes=size, name=name or file.name)

    def put_bytes(self, data: bytes, name: str) -> ArtifactRef:
        """Store bytes as a file."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return self.put(Path(file.name), name)

    def path(self, ref: ArtifactRef) -> Path:
        """A path to read the file from; it is not to be written to.

        Raises
        ------
        DataError
            The file is not there, or is corrupt.
        """
        path = self.backend.local(ref.sha256)
        if path is None:
            where = self.root if self.backend.kind == "folder" else "the database"
            raise DataError(
                f"file '{ref.name}' ({ref.sha256[:12]}…) is missing from {where}",
                "restore it (gst db restore), or compute the document again",
            )
        return path

    def fetch(self, ref: ArtifactRef, folder: Path) -> Path:
        """Link (or copy, across file systems) the file into `folder` under its name; it is not to be written to."""
        target = folder / ref.name
        target.unlink(missing_ok=True)
        path = self.path(ref)
        try:
            # a hard link: programs that resolve symbolic ones would lose the ending, and LAMMPS reads by it
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
        return target

    def path_of(self, digest: str) -> Path:
        """Where on this computer a file of this hash is or would be."""
        return self.backend.place(digest)

    def size_of(self, digest: str) -> int | None:
        """Size in bytes of the file of this hash; None where there is none."""
        return self.backend.size_of(digest)

    def open(self, digest: str) -> IO[bytes]:
        """Open the file of this hash for reading once; raises FileNotFoundError."""
        return self.backend.open(digest)

    def is_sound(self, digest: str) -> bool:
        """Read the file of this hash; whether it is there and its content has that hash."""
        try:
            with self.open(digest) as stream:
                return hash_of(stream)[0] == digest
        except FileNotFoundError:
            return False

    def stored(self) -> Iterator[StoredFile]:
        """Every file, streamed; without those in the trash."""
        return self.backend.stored()

    def discard(self, digest: str) -> None:
        """Remove a corrupt file, so that it can be put again."""
        self.backend.discard(digest)

    def send_waiting(self) -> int:
        """Bring files that wait on this computer for the database to it; how many."""
        from gst_jobflow.store.files.gridfs_files import GridFsFiles

        return self.backend.send_waiting() if isinstance(self.backend, GridFsFiles) else 0


__all__ = ["ArtifactStore", "hash_of", "sha256_of"]
