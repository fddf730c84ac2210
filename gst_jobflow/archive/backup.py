"""Backup and restore without extra binaries: one tar with every collection as BSON and the files that documents name.

Members of the tar, in this order: `manifest.json`, `manifest.sha256`, `collections/NAME.bson.gz` (the documents one
after another, byte for byte as the server holds them), `artifacts/ab/cdef…` (named by their SHA-256). Everything in it
is checked against a SHA-256 before a restore touches anything. It holds no password and no URI.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from gst_jobflow import __version__
from gst_jobflow.archive.members import add_member, members_of, put_file
from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, now
from gst_jobflow.store.check import all_files
from gst_jobflow.store.connect import connect
from gst_jobflow.store.files.artifacts import ArtifactStore, hash_of, sha256_of
from gst_jobflow.store.files.references import References
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.schema.preparation import INDEX_OPTIONS
from gst_jobflow.store.schema.versions import META_COLLECTION, RESTORE_MARK

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

FORMAT = 1
_MANIFEST = "manifest.json"
_MANIFEST_SUM = "manifest.sha256"
_ARTIFACT = re.compile(r"artifacts/([0-9a-f]{2})/([0-9a-f]{62})")
_BATCH_BYTES = 8 << 20
# documents are written after those they name: read the other way round, a backup beside writers holds no id of a
# document that it does not hold itself
_LAST = ("studies", "cycles", "trajectories", "potentials", "datasets", "labels", "structures")


class IndexDump(StrictModel):
    """An index beside `_id`."""

    keys: list[tuple[str, int | str]]
    options: dict[str, Any] = Field(default_factory=dict)


class CollectionDump(StrictModel):
    """A collection in the tar."""

    name: str
    documents: int = Field(ge=0)
    size_bytes: int = Field(ge=0, description="Of the compressed member")
    sha256: str = Field(description="Of the compressed member")
    indexes: list[IndexDump]

    @property
    def member(self) -> str:
        """Name in the tar."""
        return f"collections/{self.name}.bson.gz"


class FilesDump(StrictModel):
    """The files in the tar."""

    included: bool
    count: int = 0
    size_bytes: int = 0
    sha256: str = Field("", description="Of their hashes, sorted, a line each")
    missing: list[str] = Field(default_factory=list, description="Hashes that documents name: not there, or corrupt")


class BackupManifest(StrictModel):
    """What a backup holds."""

    format: int = FORMAT
    schema_version: int
    created_at: datetime
    while_running: bool
    versions: dict[str, str]
    collections: list[CollectionDump]
    files: FilesDump

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(collection.documents for collection in self.collections)


def backup(project: Project, target: Path, *, files: bool = True, while_running: bool = False) -> BackupManifest:
    """Write the database and its files to one tar; it is complete on disk (fsync, rename) when this returns.

    Parameters
    ----------
    project
        The project.
    target
        The tar; it must not be there yet.
    files
        Whether files that documents name go in, too.
    while_running
        Make it although fireworks are running; their state in the backup is of different moments then.

    Raises
    ------
    InputError
        `target` is there, or its folder is not.
    DatabaseError
        The database cannot be reached, is half restored, or fireworks are running.
    """
    if target.exists():
        raise InputError(f"{target} exists already", "name another file, or remove it")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} is missing", f"mkdir -p {target.parent}")
    database = connect(project, any_version=True)  # before a migration is the best time for a backup
    try:
        if database[META_COLLECTION].find_one({"_id": RESTORE_MARK}) is not None:
            raise DatabaseError("a restore of this database was cut off", "gst db restore FILE.tar --force")
        _refuse_running(database, while_running)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".gst-backup-") as scratch:
            manifest = _collect(database, Path(scratch), while_running)
            with References() as named:
                artifacts = ArtifactStore(project.artifacts_dir)
                manifest.files = _survey(database, artifacts, named) if files else FilesDump(included=False)
                _refuse_running(database, while_running)
                _write(target, Path(scratch), manifest, artifacts, named)
    finally:
        database.client.close()
    return manifest


def _refuse_running(database: Database, while_running: bool) -> None:
    found = None if while_running else database["fireworks"].find_one({"state": "RUNNING"}, {"fw_id": 1})
    if found is not None:
        raise DatabaseError(
            f"firework {found['fw_id']} is running: what it writes would be in the backup in part",
            "wait for it (gst status; gst recover if it was killed), or accept that: --while-running",
        )


# -- reading the database


def _collect(database: Database, scratch: Path, while_running: bool) -> BackupManifest:
    """Dump every collection into `scratch`."""
    names = [info["name"] for info in database.list_collections() if info.get("type", "collection") == "collection"]
    names = sorted((n for n in names if not n.startswith("system.")), key=lambda n: (n in DOCUMENTS, _place(n), n))
    version = (database[META_COLLECTION].find_one({"_id": "schema"}) or {}).get("version", SCHEMA_VERSION)
    return BackupManifest(
        schema_version=version,
        created_at=now(),
        while_running=while_running,
        versions=_versions(database),
        collections=[_dump(database[name], scratch / f"{number}.bson.gz") for number, name in enumerate(names)],
        files=FilesDump(included=False),
    )


def _place(name: str) -> int:
    return _LAST.index(name) if name in _LAST else -1


def _versions(database: Database) -> dict[str, str]:
    import pymongo

    return {
        "gst_jobflow": __version__,
        "mongod": str(database.client.server_info()["version"]),
        "pymongo": pymongo.version,
        "python": platform.python_version(),
    }


def _dump(collection: Collection, file: Path) -> CollectionDump:
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    raw = collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    n_documents = 0
    with file.open("xb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=3, mtime=0) as packed:
        for document in raw.find():
            packed.write(document.raw)
            n_documents += 1
    digest, size = sha256_of(file)
    indexes = [
        IndexDump(keys=index["key"], options={key: index[key] for key in INDEX_OPTIONS if key in index})
        for name, index in collection.index_information().items()
        if name != "_id_"
    ]
    return CollectionDump(name=collection.name, documents=n_documents, size_bytes=size, sha256=digest, indexes=indexes)


# -- files


def _survey(database: Database, artifacts: ArtifactStore, named: References) -> FilesDump:
    """Note and hash every file that documents name; missing and corrupt ones are left out and listed."""
    named.add((ref["sha256"] for _, _, ref in all_files(database)), "documents")
    found, combined = FilesDump(included=True), hashlib.sha256()
    for digest in named.hashes():
        size_bytes = artifacts.size_of(digest)
        if size_bytes is None or not artifacts.is_sound(digest):
            found.missing.append(digest)
            continue
        combined.update(f"{digest}\n".encode())
        found.count += 1
        found.size_bytes += size_bytes
    found.sha256 = combined.hexdigest()
    return found


# -- writing the tar


def _write(target: Path, scratch: Path, manifest: BackupManifest, artifacts: ArtifactStore, named: References) -> None:
    missing = {*manifest.files.missing}
    with replacing(target, mode=0o600) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        text = manifest.model_dump_json(indent=2).encode()
        checksum = hashlib.sha256(text).hexdigest().encode()
        for name, content in ((_MANIFEST, text), (_MANIFEST_SUM, checksum)):
            add_member(tar, name, BytesIO(content), len(content), 0o600)
        for number, dump in enumerate(manifest.collections):
            with (scratch / f"{number}.bson.gz").open("rb") as packed:
                add_member(tar, dump.member, packed, dump.size_bytes, 0o600)
        for digest in named.hashes():
            if digest not in missing:
                with artifacts.open(digest) as file:
                    size_bytes = artifacts.size_of(digest) or 0
                    add_member(tar, f"artifacts/{digest[:2]}/{digest[2:]}", file, size_bytes, 0o600)


# -- reading the tar


def verify(file: Path) -> BackupManifest:
    """Verify every byte of a backup; return its manifest.

    Raises
    ------
    InputError
        There is no such file.
    DataError
        It is not a backup, is damaged, or is of a later format.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}", "name a file that gst db backup wrote")
    damaged = DataError(f"{file} is damaged; nothing was changed", "take another copy of this backup")
    try:
        return _verified(file, damaged)
    except (tarfile.TarError, EOFError, ValidationError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise DataError(f"{file} is not a backup, or is damaged ({type(err).__name__})", damaged.fix) from err


def _verified(file: Path, damaged: DataError) -> BackupManifest:
    manifest: BackupManifest | None = None
    waiting: dict[str, str] = {}
    n_files, size_bytes, combined = 0, 0, hashlib.sha256()
    for name, content in _members(file):
        if manifest is None:
            manifest, checksum = _read_manifest(file, name, content, damaged)
            waiting = {dump.member: dump.sha256 for dump in manifest.collections}
            waiting[_MANIFEST_SUM] = hashlib.sha256(checksum.encode()).hexdigest()
            continue
        digest, size = hash_of(content)
        match = _ARTIFACT.fullmatch(name)
        if digest != (match[1] + match[2] if match else waiting.pop(name, None)):
            raise damaged
        if match is None:
            continue
        n_files, size_bytes = n_files + 1, size_bytes + size
        combined.update(f"{digest}\n".encode())
    if manifest is None or waiting:
        raise damaged
    files = manifest.files
    if files.included and (n_files, size_bytes, combined.hexdigest()) != (files.count, files.size_bytes, files.sha256):
        raise damaged
    return manifest


def _read_manifest(file: Path, name: str, content: IO[bytes], damaged: DataError) -> tuple[BackupManifest, str]:
    if name != _MANIFEST:
        raise damaged
    text = content.read()
    values = json.loads(text)
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise damaged
    if values["format"] > FORMAT:
        problem = f"{file} has backup format {values['format']}, this program reads {FORMAT}"
        raise DataError(problem, "upgrade gst_jobflow")
    return BackupManifest.model_validate_json(text), hashlib.sha256(text).hexdigest()


def _members(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for entry, content in members_of(file, "r:"):
        if content is None:
            raise tarfile.ReadError(f"{entry.name} is not a plain file")
        yield entry.name, content


# -- restoring


def restore(
    project: Project, file: Path, *, force: bool = False, confirm: Callable[[int], None] | None = None
) -> BackupManifest:
    """Restore a backup into the project's database and files, then migrate it to this version.

    Parameters
    ----------
    project
        The project.
    file
        The tar.
    force
        Whether a database that holds documents may be emptied for it.
    confirm
        Called with the number of documents that would be dropped, before anything is; it raises to stop.

    Raises
    ------
    InputError
        There is no such file.
    DataError
        The backup is damaged; nothing was changed.
    DatabaseError
        The database holds documents, or the backup is of a newer schema version (nothing was changed); or counts
        disagree afterwards.
    """
    manifest = verify(file)
    if manifest.schema_version > SCHEMA_VERSION:
        raise DatabaseError(
            f"{file} has schema version {manifest.schema_version}, this program knows {SCHEMA_VERSION}",
            "upgrade gst_jobflow",
        )
    database = connect(project, any_version=True)
    try:
        held = documents_held(database)
        if held and not force:
            raise DatabaseError(
                f"database '{database.name}' holds {held} documents; nothing was changed",
                "restore into an empty project, or drop what is there: --force",
            )
        if held and confirm is not None:
            confirm(held)
        _restore(database, ArtifactStore(project.artifacts_dir), file, manifest)
        migrate(project)
        database[META_COLLECTION].delete_one({"_id": RESTORE_MARK})
    finally:
        database.client.close()
    return manifest


def documents_held(database: Database) -> int:
    """Count the documents in the database, except those of an empty prepared one."""
    names = [name for name in _plain_collections(database) if name not in (META_COLLECTION, "fw_id_assigner")]
    return sum(database[name].count_documents({}) for name in names)


def _plain_collections(database: Database) -> list[str]:
    return [name for name in database.list_collection_names() if not name.startswith("system.")]


def _restore(database: Database, artifacts: ArtifactStore, file: Path, manifest: BackupManifest) -> None:
    database[META_COLLECTION].replace_one({"_id": RESTORE_MARK}, {"started_at": now()}, upsert=True)
    for name in _plain_collections(database):
        if name != META_COLLECTION:
            database.drop_collection(name)
    database[META_COLLECTION].delete_many({"_id": {"$ne": RESTORE_MARK}})
    dumps = {dump.member: dump for dump in manifest.collections}
    for name, content in _members(file):
        if name in dumps:
            _load(database, dumps[name], content)
        elif _ARTIFACT.fullmatch(name):
            put_file(artifacts, name.removeprefix("artifacts/").replace("/", ""), content, file)


def _load(database: Database, dump: CollectionDump, content: IO[bytes]) -> None:
    """Insert the documents of a dump unchanged and create its indexes."""
    collection = database[dump.name]
    if dump.name != META_COLLECTION:
        database.create_collection(dump.name)
    for batch in _document_batches(content):
        collection.insert_many(batch, ordered=True)
    for index in dump.indexes:
        collection.create_index(index.keys, **index.options)
    found = collection.count_documents({"_id": {"$ne": RESTORE_MARK}})
    if found != dump.documents:
        raise DatabaseError(
            f"{dump.name} has {found} documents after the restore, the backup {dump.documents}: does somebody write?",
            "stop what writes to this database, then restore again with --force",
        )


def _document_batches(content: IO[bytes]) -> Iterator[list[Any]]:
    from bson.raw_bson import RawBSONDocument

    batch: list[Any] = []
    size = 0
    with gzip.GzipFile(fileobj=content, mode="rb") as stream:
        while head := stream.read(4):
            document = head + stream.read(int.from_bytes(head, "little") - 4)
            batch.append(RawBSONDocument(document))
            size += len(document)
            if size > _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
