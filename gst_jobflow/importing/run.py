"""Structures and labels of other people's files, checked one by one and put into the database in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gst_jobflow.base.errors import InputError
from gst_jobflow.importing.formats import source_files
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import Outcome, Question, free_atom_outcome
from gst_jobflow.importing.receipts import Receipt, ReceiptWriter
from gst_jobflow.importing.watch import EnergyWatch, UnitWatch
from gst_jobflow.importing.workers import outcomes
from gst_jobflow.importing.writers import Writers, Written
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.results import Results

_BATCH_RECORDS = 500
_BATCH_ATOMS = 200_000
_WRITTEN_AT_ONCE = 2
"""Batches: the labels of one and the structures of the next."""
_ASKED_RECORDS = 20_000
"""Read after the first question that stops an import, to find what else must be answered: a few seconds."""
_LISTED = 1000
"""Problems kept one by one; more are only counted, so that memory does not grow with a file that is all wrong."""


@dataclass
class Flaw:
    """What is odd about a record, or about `count` records of a file, the first of which is named."""

    file: str
    index: int
    reason: str
    count: int = 1


@dataclass
class ImportReport:
    """What an import did.

    Parameters
    ----------
    bad, n_bad
        Records that were left out: the first thousand, and the number of all.
    reasons
        The same by file and reason, the first thousand.
    outliers, n_outliers
        Records that are imported in spite of an energy far off: the first thousand, and the number of all.
    warnings
        What is odd about a file as a whole, each once, with the record at which it was seen; `strict` stops there.
    options
        Options that would answer what kept records out or labels unread.
    """

    records: int = 0
    structures: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    labels: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    n_bad: int = 0
    bad: list[Flaw] = field(default_factory=list)
    reasons: list[Flaw] = field(default_factory=list)
    n_outliers: int = 0
    outliers: list[Flaw] = field(default_factory=list)
    warnings: list[Flaw] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    stopped: bool = False
    dry_run: bool = False

    @classmethod
    def of(cls, values: dict[str, Any]) -> ImportReport:
        """Return the report that `asdict` described."""
        flaws = {name: [Flaw(**flaw) for flaw in values[name]] for name in ("bad", "reasons", "outliers", "warnings")}
        return cls(**{**values, **flaws})


class UnansweredError(InputError):
    """Nothing was imported, because the user must answer first; `options` are answers that can be copied."""

    def __init__(self, message: str, options: list[str]) -> None:
        super().__init__(message, f"for example {' '.join(options)}")
        self.options = options


def import_files(
    files: list[Path],
    results: Results | None,
    options: ImportOptions,
    progress: Callable[[ImportReport, Outcome], None] | None = None,
    workers: int | None = None,
    receipts: Path | None = None,
) -> ImportReport:
    """Import files as a stream; doing it again changes nothing.

    Parameters
    ----------
    results
        Database; None only with `dry_run`.
    progress
        Called after each record with the report so far and its outcome.
    workers
        Processes that parse extended XYZ, see `importing.workers.outcomes`; the result does not depend on it.
    receipts
        Folder that remembers finished imports, see `importing.receipts`; the result does not depend on it.

    Raises
    ------
    UnansweredError
        Labels without a method, or several sets of labels that differ. Nothing more is written after the first; the
        error names all that must be answered in the files (in the next 20,000 records).
    InputError
        A file is not there or not known, or contradicts the method given.
    DatabaseError
        The server refused a document or went away.
    RunError
        A worker ended before its time.
    """
    sources = source_files(files, options)
    receipt = Receipt.of(receipts, sources, options) if receipts is not None and results is not None else None
    if receipt is not None and results is not None and (known := receipt.report(results.database)) is not None:
        return ImportReport.of(known)
    with ExitStack() as stack:
        writers = None if results is None or options.dry_run else stack.enter_context(Writers(results))
        run = _Import(results, options, writers)
        stream = stack.enter_context(outcomes(sources, options, run.artifacts, workers))
        if receipt is not None:
            # workers load while files are hashed
            run.receipt = stack.enter_context(receipt.writing())
        _take_all(run, stream, progress)
        if run.receipt is not None and not run.report.n_bad and not run.report.stopped:
            run.receipt.finish(asdict(run.report))
    return run.report


def _take_all(
    run: _Import, stream: Iterator[Outcome], progress: Callable[[ImportReport, Outcome], None] | None
) -> None:
    try:
        for outcome in stream:
            run.take(outcome)
            if progress:
                progress(run.report, outcome)
            if run.report.stopped or run.has_asked():
                break
    except InputError:
        # earlier records are sound, and stay as with any bad record
        run.flush()
        raise
    run.flush()
    run.ask()
    run.add_free_atoms()


class _Import:
    """An import as it goes: the batch that is not written yet, and the report; `receipt` takes what is stored."""

    def __init__(self, results: Results | None, options: ImportOptions, writers: Writers | None = None) -> None:
        if results is None and not options.dry_run:
            raise ValueError("only a dry run needs no results")
        self.results = results
        self.options = options
        self.receipt: ReceiptWriter | None = None
        self.report = ImportReport(dry_run=options.dry_run)
        if results is None:
            # takes the coordinates of large structures, and goes away with this object
            self._scratch = TemporaryDirectory()
        self.artifacts = ArtifactStore(Path(self._scratch.name)) if results is None else results.artifacts
        self._watch = EnergyWatch()
        self._units = UnitWatch()
        self._writers = writers
        self._writing: deque[Written] = deque()
        self._batch: list[Outcome] = []
        self._atoms = 0
        self._reasons: dict[tuple[str, str], Flaw] = {}
        self._questions: dict[Question, Flaw] = {}
        self._asked_at = 0
        self._methods: dict[str, dict[str, Any]] = {options.fingerprint: options.method} if options.fingerprint else {}

    def take(self, outcome: Outcome) -> None:
        """Add a record's documents to the batch, or report what is wrong with it; raises InputError on a refusal."""
        self.report.records += 1
        if outcome.refusal is not None:
            raise InputError(*outcome.refusal)
        self._note_questions(outcome)
        if outcome.structure is None:
            self._bad(outcome, outcome.problem)
            return
        if self._asked_at:
            return
        suspected: list[str] = []
        if outcome.label is not None and outcome.label.energy_eV is not None:
            if self.options.free_atoms_eV and outcome.label.fingerprint not in self._methods:
                self._methods[outcome.label.fingerprint] = outcome.label.decode().method
            self._watch_energy(outcome, outcome.label.energy_eV / outcome.n_atoms)
            suspected = self._units.suspicions(outcome)
        if self._warn(outcome, suspected):
            return
        self._batch.append(outcome)
        self._atoms += outcome.n_atoms
        if len(self._batch) >= _BATCH_RECORDS or self._atoms >= _BATCH_ATOMS:
            self._begin_to_write()

    def flush(self) -> None:
        """Write all that was taken, and wait for it."""
        self._begin_to_write()
        while self._writing:
            self._finish_oldest()

    def _begin_to_write(self) -> None:
        batch, self._batch, self._atoms = self._batch, [], 0
        if self._writers is None or not batch:
            return
        self._writing.append(self._writers.write(batch))
        # a contradiction stops a strict import before anything else is written
        while len(self._writing) > (0 if self.options.strict else _WRITTEN_AT_ONCE):
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        """Wait until a batch is written, and report what became of it."""
        writing = self._writing.popleft()
        new, known = writing.structures.result()
        changed, refused = writing.labels.result()
        _count(self.report.structures, new, known)
        if known:
            self._warn_of_other_groups(writing.batch)
        if self.receipt is not None:
            self.receipt.add(writing.batch)
        labelled = [outcome for outcome in writing.batch if outcome.label is not None]
        _count(self.report.labels, changed, len(labelled) - changed - len(refused))
        for place, error in refused.items():
            self._bad(labelled[place], error.message)

    def has_asked(self) -> bool:
        """Return whether a question stops the import and enough was read to find the others."""
        return bool(self._asked_at) and self.report.records >= self._asked_at + _ASKED_RECORDS

    def ask(self) -> None:
        """Raise UnansweredError if a question stops the import."""
        if not self._asked_at:
            return
        texts = []
        for question, flaw in self._questions.items():
            more = f" and {flaw.count - 1} more" if flaw.count > 1 else ""
            texts.append(f"{flaw.file} record {flaw.index}{more}: {question.text}")
        raise UnansweredError("; ".join(texts), self.report.options)

    def add_free_atoms(self) -> None:
        """Store the energies of free atoms that the user gives, as labels of the method of the files.

        Raises
        ------
        InputError
            The labels of the files are of no method or of several.
        """
        if not self.options.free_atoms_eV:
            return
        if len(self._methods) != 1:
            found = ", ".join(self._methods) or "none"
            raise InputError(f"--free-atoms are energies of one method, not of: {found}", "give --method-name")
        [(fingerprint, method)] = self._methods.items()
        for index, (element, energy_eV) in enumerate(self.options.free_atoms_eV.items()):
            self._batch.append(free_atom_outcome(index, element, energy_eV, fingerprint, method, self.options))
        self.flush()

    def _note_questions(self, outcome: Outcome) -> None:
        for question in outcome.questions:
            _counted(self._questions, question, outcome, question.text)
            self._propose(question.option)
            if question.stops and not self._asked_at:
                self._asked_at = self.report.records
        if outcome.option:
            self._propose(outcome.option)

    def _propose(self, option: str) -> None:
        """Add options to those proposed, except for those that already have a value."""
        known = {word for text in self.report.options for word in text.split() if word.startswith("--")}
        if not known & {word for word in option.split() if word.startswith("--")}:
            self.report.options.append(option)

    def _warn_of_other_groups(self, batch: list[Outcome]) -> None:
        """Warn of structures that are known in another group: they stay there, so a split may part this one.

        Not even `strict` stops: a run that continues another one begins with its last structure.
        """
        assert self.results is not None  # flush sees to it
        # a structure that is its own group cannot be parted
        wanted = {o.structure.id: o for o in batch if o.structure is not None and o.structure.group != o.structure.id}
        fields = {"group": 1}
        found = self.results.database["structures"].find({"_id": {"$in": list(wanted)}}, fields)
        groups = {stored["_id"]: stored["group"] for stored in found}
        text = "structures that were known before keep their other group; a split may part what is one group here"
        for id, outcome in wanted.items():
            assert outcome.structure is not None  # chosen so
            # one that is not found was kept on disk only
            other = groups.get(id, outcome.structure.group) != outcome.structure.group
            if other and not self._is_warned(outcome, text):
                self.report.warnings.append(Flaw(str(outcome.file), outcome.index, text))

    def _is_warned(self, record: Outcome, text: str) -> bool:
        return any(flaw.reason == text and flaw.file == str(record.file) for flaw in self.report.warnings)

    def _warn(self, record: Outcome, texts: list[str]) -> bool:
        """Add what is odd about a whole file; True: stop, and leave out what is not written yet."""
        for text in (record.warning, *texts):
            if text and not self._is_warned(record, text):
                self.report.warnings.append(Flaw(str(record.file), record.index, text))
                if self.options.strict:
                    self.report.stopped = True
                    self._batch, self._atoms = [], 0
        return self.report.stopped

    def _watch_energy(self, record: Outcome, per_atom_eV: float) -> None:
        for odd, reason in self._watch.outliers(record, per_atom_eV):
            self.report.n_outliers += 1
            if len(self.report.outliers) < _LISTED:
                self.report.outliers.append(Flaw(str(odd[0]), odd[1], reason))

    def _bad(self, record: Outcome, reason: str) -> None:
        self.report.n_bad += 1
        if len(self.report.bad) < _LISTED:
            self.report.bad.append(Flaw(str(record.file), record.index, reason))
        same = _counted(self._reasons, (str(record.file), reason), record, reason)
        if same is not None and same.count == 1:
            self.report.reasons.append(same)
        self.report.stopped = self.report.stopped or self.options.strict


def _counted(table: dict[Any, Flaw], key: Any, record: Outcome, reason: str) -> Flaw | None:
    """Count a flaw in a table that remembers the first record of each; None if the table is full."""
    if key in table:
        table[key].count += 1
    elif len(table) < _LISTED:
        table[key] = Flaw(str(record.file), record.index, reason)
    return table.get(key)


def _count(counts: dict[str, int], new: int, known: int) -> None:
    counts["new"] += new
    counts["known"] += known
