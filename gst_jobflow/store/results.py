"""Read and write the results database as jobs and commands do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.errors import ConnectionFailure

from gst_jobflow.base.batches import batches
from gst_jobflow.base.disk import is_full
from gst_jobflow.base.errors import DatabaseError, DataError, check_known
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import DOCUMENTS, Document, Label
from gst_jobflow.store import manifest
from gst_jobflow.store.connect import connect
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.write import apply_entry, insert_all, write_labels

logger = logging.getLogger(__name__)
DocumentT = TypeVar("DocumentT", bound=Document)

_BATCH = 500


class Results:
    """Documents and files of a project.

    Parameters
    ----------
    database
        The MongoDB database; None while it cannot be reached: then writing only spools, and reading raises.
    spool_dir
        Where manifests are written: the launch directory of the job. None: write to the database only, as commands do,
        whose input is on disk already.
    """

    def __init__(self, database: Database | None, artifacts: ArtifactStore, spool_dir: Path | None = None) -> None:
        self._database = database
        self.artifacts = artifacts
        self.spool_dir = spool_dir

    @classmethod
    def open(cls, project: Project, spool_dir: Path | None = None) -> Results:
        """Open the results of a project; with `spool_dir`, an unreachable database is tolerated for writing."""
        try:
            database = connect(project)
        except DatabaseError as err:
            if spool_dir is None:
                raise
            logger.warning("%s; results are spooled in %s", err.message, spool_dir)
            database = None
        return cls(database, ArtifactStore(project.artifacts_dir), spool_dir)

    @property
    def database(self) -> Database:
        """The MongoDB database; DatabaseError if it could not be reached when this was opened."""
        if self._database is None:
            raise DatabaseError("the results database cannot be reached", "gst db status")
        return self._database

    def add(self, document: Document, *, durable: bool = True) -> bool:
        """Write a document, to disk first; True if it was new to the database.

        Unless `durable`, nobody waits for a disk: the document is in the memory of this machine and of the server,
        which survive the end of this process, and on the server's disk with the next durable write or after a tenth of
        a second. A surviving write implies that all earlier ones survived.
        """
        return self._write(manifest.Insert(document), durable)

    def update(
        self,
        collection: str,
        id: str,
        values: dict[str, Any],
        unless: dict[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """Set values of a mutable document, to disk first; see `manifest.Update` for `unless`, `add` for `durable`."""
        self._write(manifest.Update(collection, id, values, unless), durable)

    def _write(self, entry: manifest.Insert | manifest.Update, durable: bool) -> bool:
        spooled = self._spool([entry], durable or self._database is None)
        if self._database is None:
            return False
        try:
            database = self._database
            if spooled and not durable:
                # acknowledged from memory; without a manifest entry the write must be journaled
                database = database.with_options(write_concern=WriteConcern(w=1))
            return apply_entry(database, entry)
        except ConnectionFailure as err:
            self._spool_only(err, spooled)
            return False

    def _spool(self, entries: Iterable[manifest.Insert | manifest.Update], durable: bool = True) -> bool:
        """Spool entries if results are spooled; return False if only the database can have them (the disk is full)."""
        if self.spool_dir is None:
            return False
        try:
            manifest.append(self.spool_dir, *entries, durable=durable)
        except OSError as err:
            if self._database is None or not is_full(err):
                raise
            logger.warning("no room for the manifest in %s: written to the database only", self.spool_dir)
            return False
        return True

    def _spool_only(self, err: Exception, spooled: bool = True) -> None:
        """Continue without the database; raises DatabaseError if nothing is spooled."""
        if self.spool_dir is None or not spooled:
            raise DatabaseError("the results database went away", "gst db up; then run this again") from err
        manifest.flush_manifest(self.spool_dir)
        logger.warning("database went away; results are spooled in %s: gst ingest puts them in", self.spool_dir)
        self._database = None

    def add_many(
        self, documents: Iterable[Document | EncodedStructure], *, expect_new: bool = False
    ) -> tuple[int, int]:
        """Insert immutable documents in batches, to disk first; return how many were new and how many existed.

        Documents that only reached the disk are not counted. It is faster to expect new documents where most are new. A
        document that the server refuses is a DatabaseError, and so is a server that went away while nothing is spooled.
        """
        new = known = 0
        for _, group in groupby(documents, key=lambda document: document.collection):
            for batch in batches(group, _BATCH):
                if self.spool_dir is not None:
                    manifest.append(self.spool_dir, *(manifest.Insert(_spoolable(document)) for document in batch))
                    if self._database is None:
                        continue
                try:
                    inserted = insert_all(self.database, batch, expect_new=expect_new)
                    new, known = new + inserted, known + len(batch) - inserted
                except ConnectionFailure as err:
                    self._spool_only(err)
        return new, known

    def put_labels(
        self, labels: Sequence[Label | EncodedLabel], *, expect_new: bool = False
    ) -> tuple[int, dict[int, DataError]]:
        """Write labels as one batch, to disk first: by the rules of `write.write_labels`; raises as `add_many`.

        The result is that of `write.write_labels`; labels that only reached the disk are not counted.
        """
        spooled = self._spool(manifest.Insert(_spoolable(label)) for label in labels)
        if spooled and self._database is None:
            return 0, {}
        try:
            return write_labels(self.database, labels, expect_new=expect_new)
        except ConnectionFailure as err:
            self._spool_only(err, spooled)
            return 0, {}

    def get(self, model: type[DocumentT], id: str) -> DocumentT:
        """Read one document; DataError if it does not exist."""
        found = self.database[model.collection].find_one({"_id": id})
        if found is None:
            raise DataError(f"no document '{id}' in {model.collection}", f"gst query {model.collection} lists them")
        return model.model_validate(found)

    def get_many(self, model: type[DocumentT], ids: Sequence[str]) -> Iterator[DocumentT]:
        """Read documents in the order of `ids`; raises as `get`."""
        for batch in batches(ids, _BATCH):
            found = {doc["_id"]: doc for doc in self.database[model.collection].find({"_id": {"$in": batch}})}
            for id in batch:
                if id not in found:
                    raise DataError(f"no document '{id}' in {model.collection}")
                yield model.model_validate(found[id])

    def find(
        self, model: type[DocumentT], where: dict[str, Any], sort: list[tuple[str, int]] | None = None
    ) -> Iterator[DocumentT]:
        """Stream the documents that match a MongoDB filter of our own code (never of a user's text)."""
        cursor = self.database[model.collection].find(where)
        for found in cursor.sort(sort) if sort else cursor:
            yield model.model_validate(found)


def _spoolable(document: Document | EncodedStructure | EncodedLabel) -> Document:
    if not isinstance(document, Document):
        raise ValueError("an encoded document goes to the database only; spool the document itself")
    return document


def public(document: dict[str, Any]) -> dict[str, Any]:
    """Return a stored document for output: with `id` instead of `_id`, without packed arrays."""
    fields = {key: value for key, value in document.items() if key != "_id" and not isinstance(value, bytes)}
    return {"id": document["_id"], **fields}


def model_of(name: str) -> type[Document]:
    """Return the document model of a collection; InputError if there is none."""
    check_known("no collection", name, DOCUMENTS)
    return DOCUMENTS[name]
