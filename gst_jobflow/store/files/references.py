"""Who needs which file: every SHA-256 that a document or a manifest holds, in a table on disk.

A million of them do not belong in memory. What counts as a reference is generous on purpose: whatever looks like a
SHA-256, in any field that can hold a file, in whatever place. Too many references keep garbage; one too few loses data.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.store.check import file_fields
from gst_jobflow.store.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

MANIFESTS = "manifests"
_HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_READ_BYTES = 8 << 20
_LAUNCH_FOLDERS = (("attempts", "directory"), ("launches", "launch_dir"))


class References:
    """Hashes, and the kind of document that names each; `with References() as table`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gst-references-")
        self._table = sqlite3.connect(Path(self._folder.name) / "references.sqlite")
        self._table.execute("PRAGMA synchronous=OFF")
        self._table.execute("CREATE TABLE named (sha256 TEXT, kind TEXT, PRIMARY KEY (sha256, kind)) WITHOUT ROWID")

    def __enter__(self) -> References:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        self._folder.cleanup()

    def add(self, hashes: Iterable[str], kind: str) -> None:
        """Record hashes that documents of this kind name."""
        self._table.executemany("INSERT OR IGNORE INTO named VALUES (?, ?)", ((digest, kind) for digest in hashes))

    def hashes(self) -> Iterator[str]:
        """Stream all hashes in order."""
        for (digest,) in self._table.execute("SELECT DISTINCT sha256 FROM named ORDER BY sha256"):
            yield digest

    def kinds(self, digest: str) -> list[str]:
        """Return the kinds of documents that name a hash; empty for garbage."""
        return [kind for (kind,) in self._table.execute("SELECT kind FROM named WHERE sha256 = ?", (digest,))]


def look(project: Project, database: Database, table: References) -> None:
    """Record all current references: those of documents, job outputs, fireworks and manifests.

    Manifests first: an ingest that runs meanwhile may take a reference from there to the database, never back.

    Raises
    ------
    DataError
        A folder or manifest cannot be read, so what it names is not known.
    """
    for file in manifests(project, database):
        table.add(_hashes_in(file), MANIFESTS)
    for name in database.list_collection_names():
        if not name.startswith("system."):
            table.add(_hashes_of(database, name), name)


def _hashes_of(database: Database, name: str) -> Iterator[str]:
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    fields = file_fields(DOCUMENTS[name]) if name in DOCUMENTS else None
    if fields == ():
        return
    raw = database[name].with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    # documents are searched as bytes: reading a million of them as objects takes minutes
    for document in raw.find({}, None if fields is None else {"_id": 0, **dict.fromkeys(fields, 1)}):
        for found in _HASH.findall(document.raw):
            yield found.decode()


def manifests(project: Project, database: Database) -> Iterator[Path]:
    """Yield the manifests below the project and in every existing launch directory of attempts and FireWorks."""
    folders = {project.root, project.runs_dir}
    for name, field in _LAUNCH_FOLDERS:
        folders |= {Path(found[field]) for found in database[name].find({field: {"$type": "string"}}, {field: 1})}
    walked: set[Path] = set()
    inside = (project.root.resolve(), project.runs_dir.resolve())
    for folder in sorted(folder.resolve() for folder in folders if folder.is_dir()):
        if folder not in inside and any(folder.is_relative_to(parent) for parent in inside):
            continue
        for file in _below(folder, {project.artifacts_dir.resolve(), project.private_dir.resolve()}):
            if file not in walked:
                walked.add(file)
                yield file


def _below(folder: Path, skipped: set[Path]) -> Iterator[Path]:
    def stop(err: OSError) -> None:
        if not isinstance(err, FileNotFoundError):  # removed meanwhile
            raise _unreadable(err) from err

    for parent, names, files in os.walk(folder, onerror=stop):
        names[:] = [name for name in names if Path(parent, name) not in skipped]
        if MANIFEST_NAME in files:
            yield Path(parent, MANIFEST_NAME)


def _hashes_in(file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as stream:
            rest = b""
            while chunk := stream.read(_READ_BYTES):
                text = rest + chunk
                yield from (found.decode() for found in _HASH.findall(text))
                rest = text[-130:]  # one that lies across two chunks
    except FileNotFoundError:
        return
    except OSError as err:
        raise _unreadable(err) from err


def _unreadable(err: OSError) -> DataError:
    return DataError(
        f"{err.filename} cannot be read ({err.strerror}), so nobody knows which files it names; nothing was removed",
        "run this as the user whom the folder belongs to",
    )
