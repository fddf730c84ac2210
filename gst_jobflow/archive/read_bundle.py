"""Put a bundle into a database by the rules of the store: files first, then documents; again changes nothing."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gst_jobflow.archive.bundle_format import DOCUMENTS_NAMES, FILE_NAME, BundleManifest
from gst_jobflow.archive.members import put_file
from gst_jobflow.archive.newer import put_mutable
from gst_jobflow.archive.open_bundle import FIX, Bundle, Content
from gst_jobflow.archive.verify import verify
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import DOCUMENTS, Document
from gst_jobflow.exporting.documents import LONGEST_LINE, from_line
from gst_jobflow.store.check import file_fields, references_to_files
from gst_jobflow.store.schema.migrations import upgrade_document

if TYPE_CHECKING:
    from gst_jobflow.store import Results

_BATCH = 500
_BATCH_BYTES = 32 << 20
_LISTED = 1000

Progress = Callable[[str, int, int], None]


@dataclass
class Taken:
    """What became of the documents of a collection."""

    new: int = 0
    known: int = 0
    replaced: int = 0
    refused: int = 0


@dataclass
class BundleReport:
    """What an import of a bundle did.

    Attributes
    ----------
    collections
        By collection: new, known before (unchanged), replaced by a newer state, refused.
    files
        New and known before.
    n_problems, problems
        How many documents were refused, and why for the first thousand.
    notes
        Mutable documents that differ although neither is newer: those of the database stay.
    """

    dry_run: bool = False
    what: dict[str, str] = field(default_factory=dict)
    collections: dict[str, Taken] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    left_out: int = 0
    n_problems: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Count the documents and files that the import added or replaced."""
        return self.files["new"] + sum(taken.new + taken.replaced for taken in self.collections.values())

    def refuse(self, collection: str, reason: str) -> None:
        """Record a refused document."""
        self.collections[collection].refused += 1
        self.n_problems += 1
        if len(self.problems) < _LISTED:
            self.problems.append(reason)


def import_bundle(
    results: Results | None, path: Path, *, dry_run: bool = False, progress: Progress | None = None
) -> BundleReport:
    """Verify a bundle, then import its files and its documents, each after those it names.

    Nothing that is there is lost: immutable documents stay, structures gain tags, a converged label takes the place of
    a failed one, and a study, cycle or attempt is replaced by a state that is further on. An import that was cut off
    is completed by doing it again.

    Parameters
    ----------
    results
        Where to; None only with `dry_run`.
    path
        Folder or tar.
    dry_run
        Check the bundle and all its documents, write nothing.
    progress
        Called with what is being done, how many are done, and how many there are.

    Raises
    ------
    InputError
        There is no such bundle.
    DataError
        It is damaged, or holds what is no document; of a later format.
    DatabaseError
        It is of a newer schema version; or the server went away.
    """
    if results is None and not dry_run:
        raise ValueError("only a dry run needs no results")
    bundle = Bundle(path)
    manifest = verify(bundle, progress)
    # all documents are looked at before the first is written: a bundle goes in whole or not at all
    check = _Import(None, manifest, bundle, progress)
    check.documents()
    if results is None or dry_run:
        return check.report
    run = _Import(results, manifest, bundle, progress)
    run.files()
    run.documents()
    return run.report


class _Import:
    def __init__(
        self, results: Results | None, manifest: BundleManifest, bundle: Bundle, progress: Progress | None
    ) -> None:
        self.results, self.manifest, self.bundle, self.progress = results, manifest, bundle, progress
        self.dry_run = results is None
        self.report = BundleReport(self.dry_run, manifest.what, left_out=len(manifest.files.left_out))
        self._left_out = {ref.sha256 for ref in manifest.files.left_out}

    def files(self) -> None:
        """Put all files into the artifact store."""
        assert self.results is not None  # a dry run puts no files in
        done = 0
        for name, content in self.bundle.members():
            if FILE_NAME.fullmatch(name):
                digest = name.removeprefix("files/").replace("/", "")
                new = put_file(self.results.artifacts, digest, content, self.bundle.path)
                self.report.files["new" if new else "known"] += 1
                done += 1
                if self.progress:
                    self.progress("files", done, self.manifest.files.count)

    def documents(self) -> None:
        """Import the documents collection by collection, whatever the order in the archive."""
        waiting = [name for name, collection in DOCUMENTS_NAMES.items() if collection in self.manifest.collections]
        while waiting:
            before = len(waiting)
            for name, content in self.bundle.members():
                if waiting and name == waiting[0]:
                    self._collection(DOCUMENTS[DOCUMENTS_NAMES[name]], name, content)
                    waiting.pop(0)
            if len(waiting) == before:
                raise DataError(f"{self.bundle.path} changed while it was read: no {waiting[0]}", "import it again")

    def _collection(self, model: type[Document], name: str, content: Content) -> None:
        total = self.manifest.collections[model.collection].documents
        self.report.collections[model.collection] = Taken()
        done = 0
        try:
            for batch in self._batches(model, name, content):
                if not self.dry_run:
                    self._put(model, batch)
                done += len(batch)
                if self.progress:
                    self.progress(f"checked {model.collection}" if self.dry_run else model.collection, done, total)
        except (OSError, EOFError, zlib.error) as err:
            raise DataError(f"{self.bundle.path}: {name} cannot be read on: {err}", FIX) from err
        if self.dry_run:
            self.report.collections[model.collection].new = done
        if done != total:
            raise DataError(f"{self.bundle.path}: {name} has {done} documents, its manifest says {total}", FIX)

    def _batches(self, model: type[Document], name: str, content: Content) -> Iterator[list[Document]]:
        batch: list[Document] = []
        size = 0
        with gzip.GzipFile(fileobj=content, mode="rb") as lines:
            number = 0
            while line := lines.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{self.bundle.path}: {name} line {number}"
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where} is longer than any document", FIX)
                batch.append(self._document(model, line, where))
                size += len(line)
                if len(batch) >= _BATCH or size > _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _document(self, model: type[Document], line: bytes, where: str) -> Document:
        """Upgrade the document of a line to this version and validate it."""
        values = upgrade_document(model.collection, from_line(line, where))
        try:
            document = model.model_validate(values)
        except ValidationError as err:
            first = err.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            problem = f"{where} is no document of {model.collection}: {place}: {first['msg']}"
            raise DataError(problem[:300], "another program made this bundle; nothing was changed") from err
        self._check_files(document, values, where)
        return document

    def _check_files(self, document: Document, values: dict[str, Any], where: str) -> None:
        """Raise DataError if a file of the document is neither stored nor left out by the bundle."""
        if self.results is None:
            return
        for key in file_fields(type(document)):
            for ref in references_to_files(values.get(key)):
                digest = ref["sha256"]
                if digest not in self._left_out and self.results.artifacts.size_of(digest) is None:
                    raise DataError(f"{where} names file '{ref['name']}' ({digest}), which is nowhere", FIX)

    def _put(self, model: type[Document], batch: list[Document]) -> None:
        assert self.results is not None  # only a dry run has none
        taken = self.report.collections[model.collection]
        if model.mutable:
            for document in batch:
                became = put_mutable(self.results.database, document)
                if became == "differs":
                    taken.known += 1
                    if len(self.report.notes) < _LISTED:
                        name = f"{model.collection} '{document.id}'"
                        self.report.notes.append(f"{name} differs and is no further on: that of the database stays")
                else:
                    setattr(taken, became, getattr(taken, became) + 1)
        elif model.collection == "labels":
            self._put_labels(batch, taken)
        else:
            new, known = self.results.add_many(batch)
            taken.new, taken.known = taken.new + new, taken.known + known

    def _put_labels(self, batch: list[Any], taken: Taken) -> None:
        assert self.results is not None  # only a dry run has none
        ids = [label.id for label in batch]
        there = {found["_id"] for found in self.results.database["labels"].find({"_id": {"$in": ids}}, {"_id": 1})}
        changed, refused = self.results.put_labels(batch)
        fresh = min(changed, len({*ids}) - len(there))
        taken.new += fresh
        taken.replaced += changed - fresh
        taken.known += len(batch) - changed - len(refused)
        for error in refused.values():
            self.report.refuse("labels", error.message)
