"""Back up and restore a database and its files as one tar, without other programs and without any password in it.

Every byte is verified before a restore changes anything.
"""

from __future__ import annotations

import gzip
import hashlib
import platform
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database

from gst_jobflow import __version__
from gst_jobflow.archive.manifests import (
    BACKUP_FORMAT,
    MANIFEST,
    MANIFEST_SUM,
    BackupFiles,
    BackupManifest,
    CollectionDump,
    IndexDump,
    hash_in_name,
)
from gst_jobflow.archive.reading import Backup, Content
from gst_jobflow.archive.selection import ORDER
from gst_jobflow.archive.writing import ArchiveMember, write_tar
from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.batches import batches_by_weight
from gst_jobflow.base.errors import DatabaseError, InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import SCHEMA_VERSION, now
from gst_jobflow.store.connect import connect
from gst_jobflow.store.files.artifacts import ArtifactStore, sha256_of
from gst_jobflow.store.files.references import all_files, as_bytes
from gst_jobflow.store.id_table import IdTable
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.schema.preparation import INDEX_OPTIONS
from gst_jobflow.store.schema.versions import META_COLLECTION, RESTORE_MARK

_BATCH = 10_000
_BATCH_BYTES = 8 << 20


def backup(project: Project, target: Path, *, files: bool = True, while_running: bool = False) -> BackupManifest:
    """Write the database and its files to one tar, which is complete on disk when this returns.

    Parameters
    ----------
    target
        The tar; it must not exist yet.
    files
        Whether to include the files that documents name.
    while_running
        Write it although fireworks are running, whose state in the backup is then inconsistent.

    Raises
    ------
    InputError
        `target` exists, or its folder does not.
    DatabaseError
        The database cannot be reached, is half restored, or fireworks are running.
    """
    if target.exists():
        raise InputError(f"{target} exists already", "name another file, or remove it")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} is missing", f"mkdir -p {target.parent}")
    database = connect(project, any_version=True)  # back up before a migration
    with database.client:
        if database[META_COLLECTION].find_one({"_id": RESTORE_MARK}) is not None:
            raise DatabaseError("a restore of this database was cut off", "gst db restore FILE.tar --force")
        _refuse_running(database, while_running)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".gst-backup-") as scratch, IdTable() as named:
            manifest = _dump_collections(database, Path(scratch), while_running)
            artifacts = ArtifactStore(project.artifacts_dir)
            if files:
                manifest.files = _survey(database, artifacts, named)
            _refuse_running(database, while_running)
            with replacing(target, mode=0o600) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
                write_tar(tar, _members(manifest, Path(scratch), artifacts, named), mode=0o600)
    return manifest


def _refuse_running(database: Database, while_running: bool) -> None:
    found = None if while_running else database["fireworks"].find_one({"state": "RUNNING"}, {"fw_id": 1})
    if found is not None:
        raise DatabaseError(
            f"firework {found['fw_id']} is running: the backup would hold only a part of what it writes",
            "wait for it (gst status; gst recover if it was killed), or accept that: --while-running",
        )


def _dump_collections(database: Database, scratch: Path, while_running: bool) -> BackupManifest:
    names = [info["name"] for info in database.list_collections(filter={"type": "collection"})]
    # documents are stored after those they name: when read in the other order, beside writers, no document in the
    # backup names one that is not in it
    last = [*reversed(ORDER)]
    names = sorted(
        (name for name in names if not name.startswith("system.")),
        key=lambda name: (last.index(name) if name in last else -1, name),
    )
    version = (database[META_COLLECTION].find_one({"_id": "schema"}) or {}).get("version", SCHEMA_VERSION)
    return BackupManifest(
        schema_version=version,
        created_at=now(),
        while_running=while_running,
        versions={
            "gst_jobflow": __version__,
            "mongod": str(database.client.server_info()["version"]),
            "pymongo": pymongo.version,
            "python": platform.python_version(),
        },
        collections=[_dump(database[name], scratch / str(number)) for number, name in enumerate(names)],
        files=BackupFiles(included=False),
    )


def _dump(collection: Collection, file: Path) -> CollectionDump:
    n_documents = 0
    with file.open("xb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=3, mtime=0) as packed:
        for document in as_bytes(collection).find():
            packed.write(document.raw)
            n_documents += 1
    digest, size = sha256_of(file)
    indexes = [
        IndexDump(keys=index["key"], options={key: index[key] for key in INDEX_OPTIONS if key in index})
        for name, index in collection.index_information().items()
        if name != "_id_"
    ]
    return CollectionDump(name=collection.name, documents=n_documents, size_bytes=size, sha256=digest, indexes=indexes)


def _survey(database: Database, artifacts: ArtifactStore, named: IdTable) -> BackupFiles:
    """Note and hash every file that documents name; list missing and corrupt ones, which are left out."""
    named.add("named", (ref["sha256"] for _, _, ref in all_files(database)))
    found, combined = BackupFiles(included=True), hashlib.sha256()
    for digest in named.ids("named"):
        size_bytes = artifacts.size_of(digest)
        if size_bytes is None or not artifacts.is_sound(digest):
            found.missing.append(digest)
            continue
        named.add_files("sound", [(digest, size_bytes, "")])
        combined.update(f"{digest}\n".encode())
        found.count += 1
        found.size_bytes += size_bytes
    found.sha256 = combined.hexdigest()
    return found


def _members(
    manifest: BackupManifest, scratch: Path, artifacts: ArtifactStore, named: IdTable
) -> Iterator[ArchiveMember]:
    text = manifest.model_dump_json(indent=2).encode()
    yield ArchiveMember.of_bytes(MANIFEST, text)
    yield ArchiveMember.of_bytes(MANIFEST_SUM, hashlib.sha256(text).hexdigest().encode())
    for number, dump in enumerate(manifest.collections):
        yield ArchiveMember.of_path(dump.member, scratch / str(number))
    for digest, size_bytes, _ in named.files("sound"):
        yield ArchiveMember.of_artifact("artifacts", artifacts, digest, size_bytes)


def verify_backup(file: Path) -> BackupManifest:
    """Verify every byte of a backup; return its manifest.

    Raises
    ------
    InputError
        There is no such file.
    DataError
        It is not a backup, is damaged, or is of a later format.
    DatabaseError
        It is of a newer schema version.
    """
    archive = Backup(file)
    manifest = archive.manifest(BackupManifest, BACKUP_FORMAT)
    checksum = hashlib.sha256(archive.text(MANIFEST)).hexdigest()
    checksums = {dump.member: dump.sha256 for dump in manifest.collections}
    checksums |= {MANIFEST: checksum, MANIFEST_SUM: hashlib.sha256(checksum.encode()).hexdigest()}
    files, combined = BackupFiles(included=manifest.files.included, missing=manifest.files.missing), hashlib.sha256()
    for name, digest, size_bytes in archive.verified(checksums):
        if hash_in_name(name):
            files.count, files.size_bytes = files.count + 1, files.size_bytes + size_bytes
            combined.update(f"{digest}\n".encode())
    files.sha256 = combined.hexdigest() if files.included else ""
    if files != manifest.files:
        raise archive.error(" is damaged: its files are not those that its manifest counts")
    return manifest


def restore(
    project: Project, file: Path, *, force: bool = False, confirm: Callable[[int], None] | None = None
) -> BackupManifest:
    """Restore a backup into the project's database and files, then migrate it to this version.

    With `force`, documents that the database holds are dropped; `confirm` is called with their number before, and
    raises to stop. Errors are those of `verify_backup`, before anything is changed.

    Raises
    ------
    DatabaseError
        The database holds documents (nothing was changed), or counts disagree afterwards.
    """
    manifest = verify_backup(file)
    database = connect(project, any_version=True)
    with database.client:
        held = documents_held(database)
        if held and not force:
            raise DatabaseError(
                f"database '{database.name}' holds {held} documents; nothing was changed",
                "restore into an empty project, or drop these documents: --force",
            )
        if held and confirm is not None:
            confirm(held)
        _restore(database, ArtifactStore(project.artifacts_dir), Backup(file), manifest)
        migrate(project)
        database[META_COLLECTION].delete_one({"_id": RESTORE_MARK})
    return manifest


def documents_held(database: Database) -> int:
    """Count the documents in the database; an empty prepared one has none."""
    names = {*_plain_collections(database)} - {META_COLLECTION, "fw_id_assigner"}
    return sum(database[name].count_documents({}) for name in names)


def _plain_collections(database: Database) -> list[str]:
    return [name for name in database.list_collection_names() if not name.startswith("system.")]


def _restore(database: Database, artifacts: ArtifactStore, archive: Backup, manifest: BackupManifest) -> None:
    database[META_COLLECTION].replace_one({"_id": RESTORE_MARK}, {"started_at": now()}, upsert=True)
    for name in _plain_collections(database):
        if name != META_COLLECTION:
            database.drop_collection(name)
    database[META_COLLECTION].delete_many({"_id": {"$ne": RESTORE_MARK}})
    dumps = {dump.member: dump for dump in manifest.collections}
    for name, content in archive.members():
        if name in dumps:
            _load(database, dumps[name], content)
        elif digest := hash_in_name(name):
            archive.put_file(artifacts, digest, content)


def _load(database: Database, dump: CollectionDump, content: Content) -> None:
    """Insert the documents of a dump unchanged and create its indexes."""
    collection = database[dump.name]
    if dump.name != META_COLLECTION:
        database.create_collection(dump.name)
    for batch in batches_by_weight(_documents(content), _BATCH, lambda document: len(document.raw), _BATCH_BYTES):
        collection.insert_many(batch, ordered=True)
    for index in dump.indexes:
        collection.create_index(index.keys, **index.options)
    found = collection.count_documents({"_id": {"$ne": RESTORE_MARK}})
    if found != dump.documents:
        raise DatabaseError(
            f"{dump.name} has {found} documents after the restore, the backup has {dump.documents}: is a program "
            "writing to this database?",
            "stop what writes to it, then restore again with --force",
        )


def _documents(content: Content) -> Iterator[Any]:
    with gzip.GzipFile(fileobj=content, mode="rb") as stream:
        while head := stream.read(4):
            yield RawBSONDocument(head + stream.read(int.from_bytes(head, "little") - 4))
