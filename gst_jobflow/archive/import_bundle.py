"""Import a bundle by the rules of the store: first its files, then its documents; repeating it changes nothing."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gst_jobflow.archive.manifests import (
    BUNDLE_FORMAT,
    CHECKSUMS,
    DOCUMENTS_NAMES,
    MANIFEST,
    BundleManifest,
    hash_in_name,
)
from gst_jobflow.archive.newer import put_mutable
from gst_jobflow.archive.reading import Bundle, Content
from gst_jobflow.archive.writing import Progress
from gst_jobflow.base.batches import batches_by_weight
from gst_jobflow.base.errors import DataError
from gst_jobflow.base.strict import first_complaint
from gst_jobflow.documents import DOCUMENTS, Document
from gst_jobflow.exporting.documents import LONGEST_LINE, from_line
from gst_jobflow.store import Results
from gst_jobflow.store.files.references import files_of
from gst_jobflow.store.schema.migrations import upgrade_document

_BATCH = 500
_BATCH_BYTES = 32 << 20
_LISTED = 1000
_CHECKSUM = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(\S+)")


@dataclass
class CollectionReport:
    """How many documents of a collection were new, known before, replaced by a newer state, or refused."""

    new: int = 0
    known: int = 0
    replaced: int = 0
    refused: int = 0


@dataclass
class BundleReport:
    """What an import of a bundle did, with the reasons why documents were refused, up to a thousand.

    `notes` name mutable documents that differ although neither is newer: those of the database stay.
    """

    dry_run: bool = False
    what: dict[str, str] = field(default_factory=dict)
    collections: dict[str, CollectionReport] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    left_out: int = 0
    n_problems: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Count the documents and files that the import added or replaced."""
        return self.files["new"] + sum(report.new + report.replaced for report in self.collections.values())

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

    Nothing in the database is lost: immutable documents stay, structures gain tags, a converged label replaces a failed
    one, and a study, cycle or attempt is replaced by a later state. Repeating an interrupted import completes it. With
    `dry_run`, for which `results` may be None, verify the bundle and all its documents and write nothing.

    Raises
    ------
    InputError
        There is no such bundle.
    DataError, DatabaseError
        As `verify_bundle`, before anything is written; or the server went away.
    """
    if results is None and not dry_run:
        raise ValueError("only a dry run needs no results")
    bundle = Bundle(path)
    manifest = verify_bundle(bundle, progress)
    # validate all documents before writing the first: a bundle goes in as a whole or not at all
    check = _Import(None, manifest, bundle, progress)
    check.documents()
    if results is None or dry_run:
        return check.report
    run = _Import(results, manifest, bundle, progress)
    run.files(results)
    run.documents()
    return run.report


def verify_bundle(bundle: Bundle, progress: Progress | None = None) -> BundleManifest:
    """Verify every byte of a bundle; return its manifest.

    Raises
    ------
    DataError
        It is no bundle, is damaged or incomplete, or of a later format.
    DatabaseError
        Its documents are of a newer schema version.
    """
    manifest = bundle.manifest(BundleManifest, BUNDLE_FORMAT)
    named, files = _checksums(bundle)
    documents = {DOCUMENTS_NAMES[name]: digest for name, digest in named.items() if name in DOCUMENTS_NAMES}
    if documents != {name: part.sha256 for name, part in manifest.collections.items()}:
        raise bundle.damaged(MANIFEST)
    n_files, total_bytes = 0, 0
    for name, digest, size_bytes in bundle.verified(named):
        if name in DOCUMENTS_NAMES and size_bytes != manifest.collections[DOCUMENTS_NAMES[name]].size_bytes:
            raise bundle.damaged(MANIFEST)
        if hash_in_name(name) and bytes.fromhex(digest) in files:
            files.remove(bytes.fromhex(digest))
            n_files, total_bytes = n_files + 1, total_bytes + size_bytes
            if progress:
                progress("checked", n_files, manifest.files.count)
    if files:
        raise bundle.incomplete(f"file {min(files).hex()}")
    if (n_files, total_bytes) != (manifest.files.count, manifest.files.size_bytes):
        raise bundle.damaged(MANIFEST)
    return manifest


def _checksums(bundle: Bundle) -> tuple[dict[str, str], set[bytes]]:
    """Return the checksums of members by name, and the hashes of files, which are their names."""
    named: dict[str, str] = {}
    files: set[bytes] = set()
    for line in bundle.text(CHECKSUMS).decode("ascii", "replace").splitlines():
        match = _CHECKSUM.fullmatch(line)
        if match is None or not bundle.is_member(match[2]) or match[2] == CHECKSUMS:
            raise bundle.damaged(CHECKSUMS)
        digest = hash_in_name(match[2])
        if digest is None:
            named[match[2]] = match[1]
        elif digest == match[1]:
            files.add(bytes.fromhex(digest))
        else:
            raise bundle.damaged(CHECKSUMS)
    if MANIFEST not in named:
        raise bundle.damaged(CHECKSUMS)
    return named, files


class _Import:
    """An import of a verified bundle; without results, only its documents are validated."""

    def __init__(
        self, results: Results | None, manifest: BundleManifest, bundle: Bundle, progress: Progress | None
    ) -> None:
        self.results, self.manifest, self.bundle, self.progress = results, manifest, bundle, progress
        self.report = BundleReport(results is None, manifest.what, left_out=len(manifest.files.left_out))
        self._left_out = {ref.sha256 for ref in manifest.files.left_out}

    def files(self, results: Results) -> None:
        """Put all files into the artifact store."""
        found = self.report.files
        for name, content in self.bundle.members():
            if digest := hash_in_name(name):
                found["new" if self.bundle.put_file(results.artifacts, digest, content) else "known"] += 1
                if self.progress:
                    self.progress("files", sum(found.values()), self.manifest.files.count)

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
        collection = model.collection
        total = self.manifest.collections[collection].documents
        report = self.report.collections[collection] = CollectionReport()
        done = 0
        try:
            for batch in self._batches(model, name, content):
                if self.results is not None:
                    self._put(self.results, model, batch, report)
                done += len(batch)
                if self.progress:
                    self.progress(f"checked {collection}" if self.results is None else collection, done, total)
        except (OSError, EOFError, zlib.error) as err:
            raise self.bundle.error(f": {name} cannot be read on: {err}") from err
        if self.results is None:
            report.new = done
        if done != total:
            raise self.bundle.error(f": {name} has {done} documents, its manifest says {total}")

    def _batches(self, model: type[Document], name: str, content: Content) -> Iterator[list[Document]]:
        with gzip.GzipFile(fileobj=content, mode="rb") as stream:
            lines = enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1)
            for batch in batches_by_weight(lines, _BATCH, lambda line: len(line[1]), _BATCH_BYTES):
                yield [self._document(model, line, f"{self.bundle.path}: {name} line {n}") for n, line in batch]

    def _document(self, model: type[Document], line: bytes, where: str) -> Document:
        """Upgrade the document of a line to this version and validate it, and check that its files exist."""
        if len(line) > LONGEST_LINE:
            raise DataError(f"{where} is longer than any document", "take another copy of this bundle")
        values = upgrade_document(model.collection, from_line(line, where))
        try:
            document = model.model_validate(values)
        except ValidationError as err:
            problem = f"{where} is no document of {model.collection}: {first_complaint(err)}"
            raise DataError(problem, "another program made this bundle; nothing was changed") from err
        if self.results is not None:
            for ref in files_of(values, model):
                digest = ref["sha256"]
                if digest not in self._left_out and self.results.artifacts.size_of(digest) is None:
                    problem = f"{where} names file '{ref['name']}' ({digest}), which is neither in it nor stored"
                    raise DataError(problem, "take another copy of this bundle")
        return document

    def _put(self, results: Results, model: type[Document], batch: list[Any], report: CollectionReport) -> None:
        if model.mutable:
            for document in batch:
                outcome = put_mutable(results.database, document)
                if outcome == "differs":
                    outcome = "known"
                    if len(self.report.notes) < _LISTED:
                        what = f"{model.collection} '{document.id}'"
                        self.report.notes.append(f"{what} differs and is no later state: that of the database stays")
                setattr(report, outcome, getattr(report, outcome) + 1)
        elif model.collection == "labels":
            self._put_labels(results, batch, report)
        else:
            new, known = results.add_many(batch)
            report.new, report.known = report.new + new, report.known + known

    def _put_labels(self, results: Results, batch: list[Any], report: CollectionReport) -> None:
        ids = {label.id for label in batch}
        known = results.database["labels"].count_documents({"_id": {"$in": list(ids)}})
        changed, refused = results.put_labels(batch)
        new = min(changed, len(ids) - known)
        report.new += new
        report.replaced += changed - new
        report.known += len(batch) - changed - len(refused)
        for error in refused.values():
            self.report.refuse("labels", error.message)
