"""Remember finished imports: the same file again needs only a look at whether its documents are still there.

A receipt is made for a file that was imported without a bad record. It names the content of the file, the options and
the rules of this version, and holds each record's structure, group, label and energy. The database has the last word:
if it does not hold all of that, the file is read again.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.batches import batches
from gst_jobflow.documents import LARGE_STRUCTURE_ATOMS, SCHEMA_VERSION
from gst_jobflow.documents.label import COMPLETE
from gst_jobflow.store.write import ENERGY_TOLERANCE_EV_PER_ATOM

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.importing.formats import SourceFile
    from gst_jobflow.importing.options import ImportOptions
    from gst_jobflow.importing.outcome import Outcome

RULES = 1
"""Raise this number when a check or a field of the documents changes: files are then read again."""
_RECORD = struct.Struct("<16s16s16sdI")
_NO_LABEL = bytes(16)
_BATCH = 2_000
_KEPT = 30


@dataclass(frozen=True)
class Receipt:
    """The receipt of files and options, whether it was written or not.

    Parameters
    ----------
    folder
        Where it is kept.
    sources
        State of each imported file before any of them was read.
    """

    folder: Path
    sources: tuple[tuple[Path, tuple[int, int, int]], ...]
    options: ImportOptions

    @classmethod
    def of(cls, folder: Path, files: list[SourceFile], options: ImportOptions) -> Receipt | None:
        """Return the receipt of files, each of which is all that its records depend on; None for other formats."""
        if options.dry_run or options.free_atoms_eV or any(file.format != "extxyz" for file in files):
            return None
        return cls(folder, tuple((file.path, _state(file.path)) for file in files), options)

    @cached_property
    def file(self) -> Path:
        """Its report, named by size and content of the files; the records lie beside it."""
        parts: list[Any] = [RULES, SCHEMA_VERSION, self.options.model_dump(mode="json")]
        for path, _ in self.sources:
            with path.open("rb") as stream:
                parts.append([str(path.resolve()), hashlib.file_digest(stream, "sha256").hexdigest()])
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{self._size}-{key}.json"

    @property
    def _size(self) -> int:
        return sum(size for _, (_, size, _) in self.sources)

    @property
    def _records(self) -> Path:
        return self.file.with_suffix(".records")

    def report(self, database: Database) -> dict[str, Any] | None:
        """Return the report of the import, if the database holds all that it stored; else None."""
        # most new files have a size of their own, and need not be hashed now
        if not any(self.folder.glob(f"{self._size}-*.json")):
            return None
        try:
            report = json.loads(self.file.read_text())
            with self._records.open("rb") as stream:
                records = iter(lambda: stream.read(_RECORD.size), b"")
                number = 0
                for batch in batches(records, _BATCH):
                    if not self._is_stored(database, [_RECORD.unpack(record) for record in batch]):
                        return None
                    number += len(batch)
        except (OSError, ValueError, struct.error):
            return None
        return report if number == report["records"] else None

    def _is_stored(self, database: Database, records: list[tuple[bytes, bytes, bytes, float, int]]) -> bool:
        groups = {record[0].hex(): record[1].hex() for record in records}
        # the import would add its tags to a structure that lost them
        where: dict[str, Any] = {"_id": {"$in": list(groups)}}
        if self.options.tags:
            where["tags"] = {"$all": self.options.tags}
        found = {each["_id"]: each["group"] for each in database["structures"].find(where, {"group": 1})}
        energies = {record[2].hex(): record[3:] for record in records if record[2] != _NO_LABEL}
        wanted = {"_id": {"$in": list(energies)}, "state": {"$in": list(COMPLETE)}}
        labels = {each["_id"]: each["energy_eV"] for each in database["labels"].find(wanted, {"energy_eV": 1})}
        return found == groups and all(
            math.isclose(labels.get(id, math.nan), energy_eV, rel_tol=0, abs_tol=ENERGY_TOLERANCE_EV_PER_ATOM * n_atoms)
            for id, (energy_eV, n_atoms) in energies.items()
        )

    @contextmanager
    def writing(self) -> Iterator[ReceiptWriter]:
        """Yield a writer; without `ReceiptWriter.finish` nothing is kept."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.unlink(missing_ok=True)
        with replacing(self._records, durable=False) as part, part.open("wb") as stream:
            writer = ReceiptWriter(stream)
            yield writer
        # the report last: without it there is no receipt
        if writer.report is None or any(_state(path) != state for path, state in self.sources):
            self._records.unlink()
            return
        with replacing(self.file, durable=False) as part:
            part.write_text(json.dumps(writer.report))
        for old in sorted(self.file.parent.glob("*.json"), key=lambda file: -file.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".records").unlink(missing_ok=True)


@dataclass
class ReceiptWriter:
    """Takes the outcomes that an import has stored, and its report."""

    stream: IO[bytes]
    report: dict[str, Any] | None = None
    has_files: bool = False

    def add(self, outcomes: list[Outcome]) -> None:
        """Write down stored documents."""
        for outcome in outcomes:
            assert outcome.structure is not None  # others are not stored
            structure, label = outcome.structure, outcome.label
            # an import would put the file of a large structure back, too
            self.has_files = self.has_files or outcome.n_atoms > LARGE_STRUCTURE_ATOMS
            id = _NO_LABEL if label is None else bytes.fromhex(label.id)
            energy_eV = math.nan if label is None or label.energy_eV is None else label.energy_eV
            ids = bytes.fromhex(structure.id), bytes.fromhex(structure.group)
            self.stream.write(_RECORD.pack(*ids, id, energy_eV, outcome.n_atoms))

    def finish(self, report: dict[str, Any]) -> None:
        """Keep the receipt, with the report of the same import done again: everything is known."""
        if self.has_files:
            return
        for counts in (report["structures"], report["labels"]):
            counts["known"] += counts.pop("new")
            counts["new"] = 0
        self.report = report


def _state(path: Path) -> tuple[int, int, int]:
    """Return inode, size and time of change."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
