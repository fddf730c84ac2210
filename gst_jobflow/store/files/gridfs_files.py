"""Stored files in MongoDB's GridFS, for compute nodes that share no file system.

A file is visible once its entry in `artifacts.files` is there, which is written last; the name in it is the SHA-256 and
is unique, so of two writers at once one finds the other's. Programs need paths, so what is read is copied to
`root/.cache`, and its SHA-256 is verified then. While the database is away, files go to `root/.outbox` on this
computer, and `gst ingest` there takes them along.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gst_jobflow.base.errors import DataError
from gst_jobflow.store.files.file_backends import CHUNK_BYTES, StoredFile, Swept, hash_of, sha256_of
from gst_jobflow.store.files.folder_files import PART, FolderFiles

if TYPE_CHECKING:
    from gridfs import GridFSBucket
    from pymongo.collection import Collection
    from pymongo.database import Database

BUCKET = "artifacts"
COLLECTIONS = (f"{BUCKET}.files", f"{BUCKET}.chunks")
"""Collections that hold files, not documents."""
_UNAUTHORIZED = 13


class GridFsFiles:
    """Files in a database.

    Parameters
    ----------
    database
        The database; None while it cannot be reached: files then wait in the outbox.
    root
        Folder of this computer for copies and for what waits.
    """

    kind = "gridfs"

    def __init__(self, database: Database | None, root: Path) -> None:
        self.database = database
        self.cache = FolderFiles(root / ".cache")
        self.outbox = FolderFiles(root / ".outbox")
        self._root = FolderFiles(root)
        self._prepared = False

    def put(self, file: Path, digest: str, size_bytes: int) -> None:
        """Upload it, or note that it was put again; without a database it waits in the outbox."""
        from pymongo.errors import ConnectionFailure

        if self.database is not None:
            try:
                self._upload(file, digest, size_bytes)
                return
            except ConnectionFailure:
                self.database = None
        self.outbox.put(file, digest, size_bytes)

    def _upload(self, file: Path, digest: str, size_bytes: int) -> None:
        from gridfs.errors import FileExists

        self.prepare()
        known = self._renew(digest)
        if known is not None and known["length"] == size_bytes:
            return
        if known is not None:
            self._remove(digest)
        upload = self._bucket.open_upload_stream(digest, CHUNK_BYTES, {"put_at": _now()})
        try:
            with file.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    upload.write(chunk)
            upload.close()
        except FileExists:  # another writer was first
            self._remove_chunks(upload._id)
            self._renew(digest)
        except BaseException:
            with suppress(Exception):  # swept later, where this cannot be done now
                upload.abort()
            raise

    def _renew(self, digest: str) -> dict[str, Any] | None:
        """Say that a file was put just now and is no garbage; None where there is none."""
        change = {"$set": {"metadata.put_at": _now()}, "$unset": {"metadata.trashed_at": ""}}
        return self._files.find_one_and_update({"filename": digest}, change)

    def prepare(self) -> None:
        """Make the indexes; the one on the name lets each in once.

        Raises
        ------
        DatabaseError
            They are missing and this account may make none.
        """
        from pymongo.errors import OperationFailure

        from gst_jobflow.base.errors import DatabaseError

        if self._prepared:
            return
        try:
            self._files.create_index("filename", unique=True)
            self._files.create_index([("filename", 1), ("uploadDate", 1)])
            self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
        except OperationFailure as err:
            if err.code != _UNAUTHORIZED:
                raise
            # workers make none: the owner did when the files were moved here
            if not any(index.get("unique") for index in self._files.index_information().values()):
                problem = "the database is not prepared for files, and this account may not do that"
                raise DatabaseError(problem, "the owner of the project: gst artifacts move --to gridfs") from None
        self._prepared = True

    def _remove_chunks(self, owner: Any) -> None:
        """Remove content that has no entry; what may not be removed by us the collector of garbage sweeps."""
        from pymongo.errors import OperationFailure

        try:
            self._chunks.delete_many({"files_id": owner})
        except OperationFailure as err:
            if err.code != _UNAUTHORIZED:
                raise

    def size_of(self, digest: str) -> int | None:
        """Length of the entry."""
        found = self._entry(digest)
        return self.outbox.size_of(digest) if found is None else int(found["length"])

    def local(self, digest: str) -> Path | None:
        """The copy in the cache, made and verified if there is none yet."""
        from pymongo.errors import OperationFailure

        path = self.cache.place(digest)
        if path.is_file():
            with suppress(OSError):
                os.utime(path)  # in use: not to be forgotten
            return path
        if self._entry(digest) is None:
            return self.outbox.local(digest)
        with suppress(OperationFailure):  # readers may not, and read it all the same
            self._take_back(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=PART, delete=False) as copy:
            try:
                with self.open(digest) as source:
                    while chunk := source.read(CHUNK_BYTES):
                        copy.write(chunk)
                copy.close()
                if sha256_of(Path(copy.name))[0] != digest:
                    problem = f"file {digest[:12]}… in the database is corrupt: its content does not have this SHA-256"
                    raise DataError(problem, "gst db check --deep names who needs it; restore it from a backup")
                Path(copy.name).chmod(0o444)
                Path(copy.name).rename(path)
            finally:
                Path(copy.name).unlink(missing_ok=True)
        return path

    def place(self, digest: str) -> Path:
        """Where its copy is or would be."""
        return self.cache.place(digest)

    def open(self, digest: str) -> IO[bytes]:
        """Open it in the database."""
        from gridfs.errors import CorruptGridFile, NoFile

        try:
            return _Checked(self._bucket.open_download_stream_by_name(digest), CorruptGridFile)  # type: ignore[return-value]
        except NoFile:
            return self.outbox.open(digest)

    def stored(self) -> Iterator[StoredFile]:
        """Every entry, and what waits in the outbox."""
        for found in self._files.find({"metadata.trashed_at": None}):
            time = (found.get("metadata") or {}).get("put_at") or found["uploadDate"]
            yield StoredFile(found["filename"], int(found["length"]), _seconds(time))
        yield from self.outbox.stored()

    def discard(self, digest: str) -> None:
        """Remove the entry, then the content; copies and what waits as well."""
        self._remove(digest)
        self.cache.discard(digest)
        self.outbox.discard(digest)

    def _remove(self, digest: str) -> None:
        while (found := self._files.find_one_and_delete({"filename": digest})) is not None:
            self._chunks.delete_many({"files_id": found["_id"]})

    def trash(self, digest: str, before: float) -> bool:
        """Mark the entry, in one step with the look at its time."""
        aged = {"$or": [{"metadata.put_at": {"$lt": _time(before)}}, {"metadata.put_at": None}]}
        where = {"filename": digest, "metadata.trashed_at": None, **aged}
        return self._files.update_one(where, {"$set": {"metadata.trashed_at": _now()}}).modified_count > 0

    def untrash(self, digest: str) -> bool:
        """Take the mark away."""
        return self._take_back(digest)

    def _take_back(self, digest: str) -> bool:
        where = {"filename": digest, "metadata.trashed_at": {"$ne": None}}
        change = {"$set": {"metadata.put_at": _now()}, "$unset": {"metadata.trashed_at": ""}}
        return self._files.update_one(where, change).modified_count > 0

    def trashed(self) -> Iterator[StoredFile]:
        """Every marked entry."""
        for found in self._files.find({"metadata.trashed_at": {"$ne": None}}):
            yield StoredFile(found["filename"], int(found["length"]), _seconds(found["metadata"]["trashed_at"]))

    def delete_trashed(self, digest: str, before: float) -> bool:
        """Remove the entry if it is still marked, in one step; then the content."""
        where = {"filename": digest, "metadata.trashed_at": {"$lt": _time(before)}}
        found = self._files.find_one_and_delete(where)
        if found is None:
            return False
        self._chunks.delete_many({"files_id": found["_id"]})
        self.cache.discard(digest)
        return True

    def sweep(self, before: float, *, dry_run: bool = False) -> Swept:
        """Remove content without an entry, what killed writers left here, and copies not used since `before`."""
        found = [place.sweep(before, dry_run=dry_run) for place in (self._root, self.cache, self.outbox)]
        found.append(self.cache.forget(before, dry_run=dry_run))
        count = size_bytes = 0
        owners = (group["_id"] for group in self._chunks.aggregate([{"$group": {"_id": "$files_id"}}]))
        while batch := list(islice(owners, 1000)):
            known = {entry["_id"] for entry in self._files.find({"_id": {"$in": batch}}, {"_id": 1})}
            for owner in batch:
                if owner in known or owner.generation_time.timestamp() >= before:
                    continue  # an upload that goes on has no entry yet
                count += 1
                size_bytes += sum(len(chunk["data"]) for chunk in self._chunks.find({"files_id": owner}, {"data": 1}))
                if not dry_run:
                    self._chunks.delete_many({"files_id": owner})
        found.append(Swept(count, size_bytes))
        return Swept(sum(part.count for part in found), sum(part.size_bytes for part in found))

    def send_waiting(self) -> int:
        """Upload what waits in the outbox; how many files that were.

        Raises
        ------
        DatabaseError
            The database went away.
        """
        from pymongo.errors import ConnectionFailure

        from gst_jobflow.base.errors import DatabaseError

        count = 0
        for file in self.outbox.stored():
            path = self.outbox.place(file.digest)
            try:
                self._upload(path, file.digest, file.size_bytes)
                if not (sound := self._is_sound(file.digest)):
                    # one that was there before is corrupt; what waits here is the only whole one
                    self._remove(file.digest)
                    self._upload(path, file.digest, file.size_bytes)
                    sound = self._is_sound(file.digest)
            except ConnectionFailure as err:
                raise DatabaseError("the database went away", "gst db up; then run this again") from err
            if sound:
                self.outbox.discard(file.digest)
                count += 1
        return count

    def _is_sound(self, digest: str) -> bool:
        with self.open(digest) as stream:
            return hash_of(stream)[0] == digest

    def _entry(self, digest: str) -> dict[str, Any] | None:
        return None if self.database is None else self._files.find_one({"filename": digest})

    @property
    def _bucket(self) -> GridFSBucket:
        from gridfs import GridFSBucket

        return GridFSBucket(self._reachable, BUCKET)

    @property
    def _files(self) -> Collection:
        return self._reachable[COLLECTIONS[0]]

    @property
    def _chunks(self) -> Collection:
        return self._reachable[COLLECTIONS[1]]

    @property
    def _reachable(self) -> Database:
        from gst_jobflow.base.errors import DatabaseError

        if self.database is None:
            raise DatabaseError("the files are in the database, which cannot be reached", "gst db status")
        return self.database


class _Checked:
    """A stream out of GridFS: missing or cut chunks end it early, so that its hash is not that of the file."""

    def __init__(self, stream: Any, corrupt: type[Exception]) -> None:
        self._stream, self._corrupt = stream, corrupt

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except self._corrupt:
            return b""

    def __enter__(self) -> _Checked:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()


def _now() -> datetime:
    return datetime.now(UTC)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


__all__ = ["BUCKET", "COLLECTIONS", "GridFsFiles"]
