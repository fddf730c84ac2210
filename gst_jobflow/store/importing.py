"""Structures and labels of other people's files, checked one by one and put into the database in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic import Field, ValidationError

from gst_jobflow.documents import ConfigType, Label, Structure, pack
from gst_jobflow.errors import DataError, InputError, nearest
from gst_jobflow.store.artifacts import ArtifactStore
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.record_checks import EnergyWatch, check_atoms
from gst_jobflow.store.records import Computed, Record, check_files, computed_of, read_records
from gst_jobflow.strict import StrictModel

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.store.results import Results

_BATCH_RECORDS = 500
_BATCH_ATOMS = 200_000
_LISTED = 1000
"""Problems kept one by one; more are only counted, so that memory does not grow with a file that is all wrong."""


class ImportOptions(StrictModel):
    """What an import does with its files.

    Parameters
    ----------
    fingerprint, method
        Of the labels, as a `Method` gives them; None: files with energies are refused.
    config_types
        From the files' config types to ours; those that carry our names need no entry.
    default_config_type
        For all others, and for records without one; None: they are bad records.
    iteration, tags
        Of the structures.
    min_distance_A
        A structure with closer atoms is a bad record.
    dry_run
        Check everything and write nothing.
    strict
        Stop at the first bad record. What was before it stays; ids make doing it again harmless.
    """

    fingerprint: str | None = None
    method: dict[str, Any] = Field(default_factory=dict)
    config_types: dict[str, ConfigType] = Field(default_factory=dict)
    default_config_type: ConfigType | None = None
    iteration: int = Field(0, ge=0)
    tags: list[str] = Field(default_factory=list)
    min_distance_A: float = Field(0.8, gt=0)
    dry_run: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Flaw:
    """A record and what is odd about it."""

    file: str
    index: int
    reason: str


@dataclass
class ImportReport:
    """What an import did.

    `bad` and `outliers` hold the first thousand, `n_bad` and `n_outliers` count all. Outliers are imported.
    """

    records: int = 0
    structures: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    labels: dict[str, int] = field(default_factory=lambda: {"new": 0, "known": 0})
    n_bad: int = 0
    bad: list[Flaw] = field(default_factory=list)
    n_outliers: int = 0
    outliers: list[Flaw] = field(default_factory=list)
    stopped: bool = False
    dry_run: bool = False


def config_type_map(assignments: Iterable[str]) -> dict[str, ConfigType]:
    """Read `["surface_001=crystal"]`.

    Raises
    ------
    InputError
        Not NAME=TYPE, or a type that is not ours.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        theirs, sign, ours = assignment.rpartition("=")
        if not sign or not theirs:
            raise InputError(f"--config-type {assignment}: not THEIRS=OURS", "for example --config-type liquid=aimd")
        table[theirs] = known_config_type(ours)
    return table


def known_config_type(name: str) -> ConfigType:
    """Return `name` if it is one of our config types, else raise InputError."""
    for known in get_args(ConfigType):
        if name == known:
            return known
    raise InputError(f"'{name}' is none of our config types", nearest(name, get_args(ConfigType)))


def import_files(
    files: list[Path],
    results: Results | None,
    options: ImportOptions,
    progress: Callable[[ImportReport, Path], None] | None = None,
) -> ImportReport:
    """Import files, as a stream; doing it again changes nothing.

    Parameters
    ----------
    files
        Extended XYZ or ASE databases.
    results
        Where to; None only with `dry_run`.
    options
        What to do with them.
    progress
        Called after each record.

    Raises
    ------
    InputError
        A file that is not there or not known; or energies and no method to file them under.
    DatabaseError
        The server refused a document or went away.
    """
    check_files(files)
    run = _Import(results, options)
    for file in files:
        for record in read_records(file):
            run.take(record)
            if progress:
                progress(run.report, file)
            if run.report.stopped:
                break
        if run.report.stopped:
            break
    run.flush()
    return run.report


class _Import:
    """An import as it goes: the batch that is not written yet, and the report."""

    def __init__(self, results: Results | None, options: ImportOptions) -> None:
        if results is None and not options.dry_run:
            raise ValueError("only a dry run needs no results")
        self.results = results
        self.options = options
        self.report = ImportReport(dry_run=options.dry_run)
        if results is None:
            # coordinates of large structures are checked too, and go away with this
            self._scratch = TemporaryDirectory()
        self._artifacts = ArtifactStore(Path(self._scratch.name)) if results is None else results.artifacts
        self._watch = EnergyWatch()
        self._batch: list[tuple[Record, Structure, Label | None]] = []
        self._atoms = 0

    def take(self, record: Record) -> None:
        """Check a record and add it to the batch, or report it."""
        self.report.records += 1
        try:
            if record.atoms is None:
                raise DataError(record.problem)
            structure, computed = self._structure(record, record.atoms)
        except DataError as err:
            self._bad(record, err.message)
            return
        label = None
        if computed is not None:
            label = self._label(record, structure, computed)
        self._batch.append((record, structure, label))
        self._atoms += structure.n_atoms
        if len(self._batch) >= _BATCH_RECORDS or self._atoms >= _BATCH_ATOMS:
            self.flush()

    def flush(self) -> None:
        """Write the batch: structures first, so that no label is ever without its own."""
        batch, self._batch, self._atoms = self._batch, [], 0
        if self.options.dry_run or not batch:
            return
        assert self.results is not None  # __init__ sees to it
        new, known = self.results.add_many([structure for _, structure, _ in batch])
        _count(self.report.structures, new, known)
        labelled = [(record, label) for record, _, label in batch if label is not None]
        if not labelled:
            return
        changed, refused = self.results.put_labels([label for _, label in labelled])
        _count(self.report.labels, changed, len(labelled) - changed - len(refused))
        for place, error in refused.items():
            self._bad(labelled[place][0], error.message)

    def _structure(self, record: Record, atoms: Atoms) -> tuple[Structure, Computed | None]:
        options = self.options
        check_atoms(atoms, options.min_distance_A)
        computed = computed_of(atoms)
        source = {"builder": "import", "file": str(record.file.resolve()), "index": record.index}
        for name in ("config_type", "sub_config"):
            if atoms.info.get(name) is not None:
                source[name] = str(atoms.info[name])
        try:
            structure = structure_document(
                atoms,
                self._config_type(atoms.info.get("config_type")),
                source=source,
                iteration=options.iteration,
                tags=options.tags,
                artifacts=self._artifacts,
            )
        except ValidationError as err:
            first = err.errors()[0]
            if first["loc"] == ("min_distance_A",):  # zero, which no document takes
                raise DataError("two atoms at one place") from err
            raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from err
        closest_A = structure.min_distance_A
        if closest_A is not None and closest_A < options.min_distance_A:
            raise DataError(f"atoms {closest_A:.3g} Å apart, closer than {options.min_distance_A:g} Å")
        return structure, computed

    def _config_type(self, theirs: Any) -> ConfigType:
        options = self.options
        if theirs is not None and str(theirs) in options.config_types:
            return options.config_types[str(theirs)]
        for known in get_args(ConfigType):
            if theirs == known:
                return known
        if options.default_config_type is not None:
            return options.default_config_type
        what = "no config_type" if theirs is None else f"config_type '{theirs}' is none of ours"
        raise DataError(f"{what}: --config-type {theirs or ''}=… or --default-config-type says which")

    def _label(self, record: Record, structure: Structure, computed: Computed) -> Label:
        fingerprint = self.options.fingerprint
        if fingerprint is None:
            raise InputError(
                f"{record.file} holds energies (record {record.index}) and nothing says by which method",
                "--method FILE.yaml (code, version, parameters) or --method-name NAME",
            )
        per_atom_eV = computed.energy_eV / structure.n_atoms
        for odd, reason in self._watch.odd(record, structure, per_atom_eV):
            self.report.n_outliers += 1
            if len(self.report.outliers) < _LISTED:
                self.report.outliers.append(Flaw(str(odd[0]), odd[1], reason))
        return Label(
            _id=Label.id_for(structure.id, fingerprint),
            structure_id=structure.id,
            fingerprint=fingerprint,
            method=self.options.method,
            state="converged",
            formula=structure.formula,
            config_type=structure.config_type,
            n_atoms=structure.n_atoms,
            energy_eV=computed.energy_eV,
            energy_per_atom_eV=per_atom_eV,
            forces=pack(computed.forces_eV_A),
            max_force_eV_A=float(np.linalg.norm(computed.forces_eV_A, axis=1).max()),
            stress_eV_A3=computed.stress_eV_A3,
            wall_s=0.0,  # what it took is not known
        )

    def _bad(self, record: Record, reason: str) -> None:
        self.report.n_bad += 1
        if len(self.report.bad) < _LISTED:
            self.report.bad.append(Flaw(str(record.file), record.index, reason))
        self.report.stopped = self.report.stopped or self.options.strict


def _count(counts: dict[str, int], new: int, known: int) -> None:
    counts["new"] += new
    counts["known"] += known
