"""Ingest manifests, which jobs left on disk, into the database; repeatedly or by several processes without harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from pymongo.database import Database
from pymongo.errors import ConnectionFailure

from gst_jobflow.base.batches import batches_by_weight
from gst_jobflow.base.errors import DatabaseError, DataError, NoDocumentError
from gst_jobflow.documents import Label
from gst_jobflow.store import manifest
from gst_jobflow.store.results import Results
from gst_jobflow.store.write import apply_entry, insert_each, write_labels

_BATCH = 500
_BATCH_BYTES = 16 << 20
_MOST_EARLY = 100_000
"""Updates that wait for the end, since a later manifest may hold the document that they change."""


class Ingested(TypedDict):
    """What an ingest did; `problems` has a line for each entry that was not ingested."""

    manifests: int
    entries: int
    new: int
    problems: list[str]


@dataclass(frozen=True)
class IngestProgress:
    """How far an ingest is."""

    file: Path
    manifests: int
    entries: int
    done_bytes: int
    total_bytes: int


def ingest(
    results: Results,
    directories: Iterable[Path],
    progress: Callable[[IngestProgress], None] | None = None,
) -> Ingested:
    """Ingest the manifests below `directories`; repeating it changes nothing.

    Entries that are refused, contradictory or damaged are reported with file and line, and the others are ingested.
    Consecutive inserts into one collection form a batch. Updates keep their order; one whose document a later manifest
    holds is applied at the end.

    Raises
    ------
    DatabaseError
        The database cannot be reached, or went away; repeating the command continues.
    """
    files, problems = _find_manifests(directories)
    run = _Ingest(results.database, sum(size for _, size in files), progress)
    run.found["problems"] += problems
    try:
        for file, _ in files:
            try:
                run.take(file)
            except OSError as err:
                run.found["problems"].append(_unreadable(err, file))
        run.finish()
    except ConnectionFailure as err:
        raise DatabaseError("the results database went away", "gst db up; then gst ingest again continues") from err
    return run.found


def _find_manifests(directories: Iterable[Path]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Return the manifests below `directories` with their sizes in bytes, sorted by path, and problems."""
    found: dict[Path, int] = {}
    problems: dict[str, None] = {}

    def note(err: OSError) -> None:
        if not isinstance(err, FileNotFoundError):  # on another computer, or removed meanwhile
            problems[_unreadable(err, Path(err.filename))] = None

    for directory in directories:
        for file in map(Path.resolve, manifest.manifests_below(directory, note)):
            try:
                found[file] = file.stat().st_size
            except OSError as err:
                problems[_unreadable(err, file)] = None
    return sorted(found.items()), list(problems)


def _unreadable(err: OSError, path: Path) -> str:
    return f"{path} cannot be read: {err.strerror or type(err).__name__}"


@dataclass
class _Ingest:
    """A running ingest."""

    database: Database
    total_bytes: int
    progress: Callable[[IngestProgress], None] | None
    found: Ingested = field(default_factory=lambda: Ingested(manifests=0, entries=0, new=0, problems=[]))
    done_bytes: int = 0
    early: list[tuple[Path, int, manifest.Update]] = field(default_factory=list)

    def take(self, file: Path) -> None:
        """Ingest one manifest."""
        self.found["manifests"] += 1
        for batch in _batches(manifest.lines(file)):
            self._put(file, batch)
            self.done_bytes += sum(line.n_bytes for line in batch)
            if self.progress:
                found = self.found
                state = (found["manifests"], found["entries"], self.done_bytes, self.total_bytes)
                self.progress(IngestProgress(file, *state))

    def _put(self, file: Path, batch: list[manifest.Line]) -> None:
        """Ingest lines that `_batches` grouped."""
        first = batch[0].entry
        if first is None:
            self.found["problems"].append(batch[0].problem)
            return
        self.found["entries"] += len(batch)
        documents = [line.entry.document for line in batch if isinstance(line.entry, manifest.Insert)]
        labels = [document for document in documents if isinstance(document, Label)]
        if not documents or len({label.id for label in labels}) < len(labels):
            # an update, or a label that was tried again within one manifest: the order of lines matters
            self._apply(file, batch)
            return
        try:
            new, refused = write_labels(self.database, labels) if labels else insert_each(self.database, documents)
        except DatabaseError:
            if not labels:
                raise
            # the server refused one label: ingest them one by one to find which
            self._apply(file, batch)
            return
        self.found["new"] += new
        self._report(file, {batch[place].number: error for place, error in refused.items()})

    def _apply(self, file: Path, batch: list[manifest.Line]) -> None:
        """Ingest entries one by one."""
        refused: dict[int, Any] = {}
        for line in batch:
            assert line.entry is not None  # `_put` sees to it
            try:
                self.found["new"] += apply_entry(self.database, line.entry)
            except NoDocumentError as err:
                if isinstance(line.entry, manifest.Update) and len(self.early) < _MOST_EARLY:
                    self.early.append((file, line.number, line.entry))
                else:
                    refused[line.number] = err
            except (DataError, DatabaseError) as err:
                refused[line.number] = err
        self._report(file, refused)

    def finish(self) -> None:
        """Apply the updates that waited; one whose document is still missing is a problem."""
        for file, number, entry in self.early:
            try:
                self.found["new"] += apply_entry(self.database, entry)
            except (DataError, DatabaseError) as err:
                self._report(file, {number: err})

    def _report(self, file: Path, refused: dict[int, Any]) -> None:
        self.found["problems"] += [f"{file}:{number}: {refused[number].message}" for number in sorted(refused)]


def _batches(lines: Iterable[manifest.Line]) -> Iterator[list[manifest.Line]]:
    """Group consecutive inserts into one collection; updates and damaged lines stay alone."""

    def kind(line: manifest.Line) -> str:
        return line.entry.document.collection if isinstance(line.entry, manifest.Insert) else ""

    for collection, group in groupby(lines, key=kind):
        if collection:
            yield from batches_by_weight(group, _BATCH, lambda line: line.n_bytes, _BATCH_BYTES)
        else:
            yield from ([line] for line in group)
