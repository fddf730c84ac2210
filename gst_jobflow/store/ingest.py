"""Put what jobs left on disk into the database: as often as one likes, from as many processes at once as one likes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from gst_jobflow.base.errors import DatabaseError, DataError, NoDocumentError
from gst_jobflow.documents import Label
from gst_jobflow.store import manifest
from gst_jobflow.store.write import apply_entry, insert_each, write_labels

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.documents import Document
    from gst_jobflow.store.results import Results

_BATCH = 500
_BATCH_BYTES = 16 << 20
_MOST_EARLY = 100_000
"""Updates that are kept until the end because what they change may stand in a later manifest."""


class Ingested(TypedDict):
    """What an ingest did; `problems` is a line for each entry that could not be put in."""

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

    What cannot be put in (refused, contradictory, damaged) is reported with file and line, and the rest goes in.
    Consecutive inserts into one collection go in together; updates keep their place, and one whose document stands in a
    later manifest is done at the end.

    Parameters
    ----------
    results
        Where to.
    directories
        Folders to look in, with all below.
    progress
        Called after each batch.

    Raises
    ------
    DatabaseError
        The database cannot be reached, or went away: what was put in stays, and the same command goes on.
    """
    from pymongo.errors import ConnectionFailure

    files, problems = manifests_below(directories)
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
        raise DatabaseError("the results database went away", "gst db up; then gst ingest again goes on") from err
    return run.found


def manifests_below(directories: Iterable[Path]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Return all manifests below `directories` with their sizes in bytes, sorted by path, and what cannot be read."""
    found: dict[Path, int] = {}
    problems: dict[str, None] = {}

    def note(err: OSError) -> None:
        if not isinstance(err, FileNotFoundError):  # a folder of another computer, or removed meanwhile
            problems[_unreadable(err, Path(err.filename))] = None

    for directory in directories:
        for folder, _, names in os.walk(directory, onerror=note):
            if manifest.MANIFEST_NAME in names:
                file = Path(folder, manifest.MANIFEST_NAME).resolve()
                try:
                    found[file] = file.stat().st_size
                except OSError as err:
                    problems[_unreadable(err, file)] = None
    return sorted(found.items()), list(problems)


def _unreadable(err: OSError, path: Path) -> str:
    return f"{path} cannot be read: {err.strerror or type(err).__name__}"


@dataclass
class _Ingest:
    """An ingest as it goes."""

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
        if isinstance(first, manifest.Insert) and not isinstance(first.document, Label):
            documents = [line.entry.document for line in batch if isinstance(line.entry, manifest.Insert)]
            new, refused = insert_each(self.database, documents)
            self.found["new"] += new
            self._report(file, {batch[place].number: error for place, error in refused.items()})
        elif isinstance(first, manifest.Insert):
            self._put_labels(file, batch)
        else:
            self._apply(file, batch)

    def _put_labels(self, file: Path, batch: list[manifest.Line]) -> None:
        entries = [line.entry.document for line in batch if isinstance(line.entry, manifest.Insert)]
        labels = [document for document in entries if isinstance(document, Label)]
        if len({label.id for label in labels}) < len(labels):
            # a label that is tried again in one manifest: the order of its lines counts
            self._apply(file, batch)
            return
        try:
            new, refused = write_labels(self.database, labels)
        except DatabaseError:
            # the server refused one: which, and whether the others are in, is seen one by one
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
        """Apply updates whose documents came later; an update whose document is still missing is a problem."""
        for file, number, entry in self.early:
            try:
                self.found["new"] += apply_entry(self.database, entry)
            except (DataError, DatabaseError) as err:
                self._report(file, {number: err})

    def _report(self, file: Path, refused: dict[int, Any]) -> None:
        self.found["problems"] += [f"{file}:{number}: {refused[number].message}" for number in sorted(refused)]


def _batches(lines: Iterable[manifest.Line]) -> Iterator[list[manifest.Line]]:
    """Group consecutive inserts into one collection; updates and damaged lines stay alone."""
    batch: list[manifest.Line] = []
    kind, n_bytes = "", 0
    for line in lines:
        document = _inserted(line)
        this = "" if document is None else document.collection
        if batch and (not this or this != kind or len(batch) >= _BATCH or n_bytes + line.n_bytes > _BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(line)
        kind, n_bytes = this, n_bytes + line.n_bytes
    if batch:
        yield batch


def _inserted(line: manifest.Line) -> Document | None:
    return line.entry.document if isinstance(line.entry, manifest.Insert) else None
