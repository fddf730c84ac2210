"""Read and verify bundles and backups, which nobody vouches for.

Only names that the archive can have are looked at, nothing is unpacked by name, and links are not followed.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from gst_jobflow.archive.manifests import BUNDLE_NAMES, MANIFEST, MANIFEST_SUM, hash_in_name
from gst_jobflow.base.atomic import PART
from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.documents import SCHEMA_VERSION
from gst_jobflow.store.files.artifacts import CHUNK_BYTES, ArtifactStore, stream_hash

_LARGEST_TEXT = 256 << 20
ManifestT = TypeVar("ManifestT", bound=BaseModel)


class Content(io.RawIOBase):
    """The bytes of a member; damage raises DataError wherever it is met."""

    def __init__(self, stream: IO[bytes], archive: Archive) -> None:
        super().__init__()
        self._stream, self._archive = stream, archive

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; none at the end."""
        with self._archive.explained():
            return self._stream.read(size)


class Archive:
    """A bundle or backup to read.

    Raises
    ------
    InputError
        There is no such file or folder.
    """

    kind: ClassVar[str]
    written_by: ClassVar[str]

    def __init__(self, path: Path) -> None:
        if not (path.is_file() or self.is_folder(path)):
            problem = f"the folder {path} has no {MANIFEST}" if path.is_dir() else f"there is no {self.kind} {path}"
            raise InputError(problem, f"name a {self.kind} that {self.written_by} wrote")
        self.path = path

    def is_folder(self, path: Path) -> bool:
        """Whether a path is an archive of this kind in the form of a folder."""
        return False

    def is_member(self, name: str) -> bool:
        """Whether this kind of archive can have a member of a name; other members are skipped."""
        raise NotImplementedError

    def error(self, problem: str) -> DataError:
        """Return an error about this archive."""
        return DataError(f"{self.path}{problem}; nothing was changed", f"take another copy of this {self.kind}")

    def damaged(self, name: str) -> DataError:
        """Return the error of a member that differs from its checksum."""
        return self.error(f" is damaged: {name} does not match its checksum")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors of reading into a DataError."""
        try:
            yield
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, OSError) as err:
            reason = (str(err).splitlines() or [type(err).__name__])[0].rstrip(":")[:200]
            raise self.error(f" is not a {self.kind}, or is damaged: {reason}") from err

    def members(self) -> Iterator[tuple[str, Content]]:
        """Yield every member with its content, in stored order.

        A link or device, a second member of one name, and what cannot be read are DataErrors.
        """
        with self.explained():
            for name, content in self._opened():
                yield name, Content(content, self)

    def text(self, wanted: str) -> bytes:
        """Return the content of a small member; DataError if it is missing or far too large."""
        for name, content in self.members():
            if name == wanted:
                text = content.read(_LARGEST_TEXT + 1)
                if len(text) > _LARGEST_TEXT:
                    raise self.error(f": {wanted} is larger than {_LARGEST_TEXT >> 20} MB")
                return text
        raise self.error(f" is not a {self.kind}: it has no {wanted}")

    def _opened(self) -> Iterator[tuple[str, IO[bytes]]]:
        seen: set[str] = set()
        with tarfile.open(self.path, "r:*") as tar:
            while (entry := tar.next()) is not None:
                name = self._name_in_tar(entry.name)
                if name is not None and not entry.isdir():
                    content = tar.extractfile(entry) if entry.isreg() and not entry.issparse() else None
                    if content is None:
                        raise self.error(f": {entry.name[:200]} is not a plain file")
                    if name in seen:
                        raise self.error(f": {name} is in it twice")
                    if hash_in_name(name) is None:
                        seen.add(name)
                    yield name, content
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member

    def _name_in_tar(self, name: str) -> str | None:
        """Return the name without the one folder that may be around an archive; None if there is no such member."""
        name = name.removeprefix("./")
        _, _, rest = name.partition("/")
        return next((text for text in (name, rest) if self.is_member(text)), None)

    def manifest(self, model: type[ManifestT], newest_format: int) -> ManifestT:
        """Return the manifest.

        Raises
        ------
        DataError
            It cannot be read, or the archive is of a later format.
        DatabaseError
            Its documents are of a newer schema version.
        """
        unreadable = self.error(f" is not a {self.kind}: its {MANIFEST} cannot be read")
        try:
            values: Any = json.loads(self.text(MANIFEST))
        except (ValueError, RecursionError) as err:
            raise unreadable from err
        if not isinstance(values, dict) or not isinstance(values.get("format"), int):
            raise unreadable
        if values["format"] > newest_format:
            problem = f"{self.path} has {self.kind} format {values['format']}, this program reads {newest_format}"
            raise DataError(problem, "upgrade gst_jobflow")
        if isinstance(values.get("schema_version"), int) and values["schema_version"] > SCHEMA_VERSION:
            raise DatabaseError(
                f"{self.path} has schema version {values['schema_version']}, this program knows {SCHEMA_VERSION}",
                "upgrade gst_jobflow",
            )
        try:
            return model.model_validate(values)
        except ValidationError as err:
            raise unreadable from err

    def verified(self, checksums: dict[str, str]) -> Iterator[tuple[str, str, int]]:
        """Verify every member; yield name, SHA-256 and size in bytes of each; DataError if one is damaged or missing.

        `checksums` holds the SHA-256 by name of the members that must be there. Files have theirs as their name; other
        members, which nothing reads, are skipped.
        """
        waiting = dict(checksums)
        for name, content in self.members():
            expected = hash_in_name(name) or waiting.pop(name, None)
            if expected is None:
                continue
            digest, size_bytes = stream_hash(content)
            if digest != expected:
                raise self.damaged(name)
            yield name, digest, size_bytes
        if waiting:
            raise self.incomplete(next(iter(waiting)))

    def incomplete(self, name: str) -> DataError:
        """Return the error of a missing member."""
        return self.error(f" is incomplete: {name} is missing")

    def put_file(self, artifacts: ArtifactStore, digest: str, content: Content) -> bool:
        """Store a file of this archive, over a corrupt copy if there is one; return whether it was missing.

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
            known_bytes = artifacts.size_of(digest)
            # also put a known file: its new time keeps it from the garbage collector
            ref = artifacts.put(Path(copy.name), digest)
        if ref.sha256 != digest:
            raise DataError(f"{self.path} changed while it was read: file {digest}", "run this again")
        return known_bytes != ref.size_bytes


class Backup(Archive):
    """A backup to read: a tar."""

    kind = "backup"
    written_by = "gst db backup"

    def is_member(self, name: str) -> bool:
        is_collection = name.startswith("collections/") and name.endswith(".bson.gz")
        return name in (MANIFEST, MANIFEST_SUM) or is_collection or hash_in_name(name) is not None


class Bundle(Archive):
    """A bundle to read: a tar or a folder."""

    kind = "bundle"
    written_by = "gst export"

    def is_folder(self, path: Path) -> bool:
        return (path / MANIFEST).is_file()

    def is_member(self, name: str) -> bool:
        return name in BUNDLE_NAMES or (name.startswith("files/") and hash_in_name(name) is not None)

    def _opened(self) -> Iterator[tuple[str, IO[bytes]]]:
        if self.path.is_file():
            yield from super()._opened()
            return
        root = self.path.resolve()
        for name in BUNDLE_NAMES:
            if os.path.lexists(root / name):
                yield from self._opened_file(root, name)
        for first in sorted((root / "files").glob("[0-9a-f][0-9a-f]")):
            for file in sorted(first.iterdir()) if first.is_dir() else ():
                name = f"files/{first.name}/{file.name}"
                if self.is_member(name):
                    yield from self._opened_file(root, name)

    def _opened_file(self, root: Path, name: str) -> Iterator[tuple[str, IO[bytes]]]:
        path = root / name
        if path.parent.resolve() != path.parent:
            raise self.error(f": {path.parent} is a link")
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as err:
            raise self.error(f": {name} cannot be read: {err.strerror}") from err
        with os.fdopen(handle, "rb") as content:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise self.error(f": {name} is not a plain file")
            yield name, content
