"""What became of one record: its documents, ready to be put in, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.importing.build import build
from gst_jobflow.importing.records import rival_label, unread_label
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure

if TYPE_CHECKING:
    from pathlib import Path

    from gst_jobflow.importing.options import ImportOptions
    from gst_jobflow.importing.records import Record
    from gst_jobflow.store.files.artifacts import ArtifactStore


@dataclass(frozen=True)
class Outcome:
    """A record's documents, or why there are none; without slots, which make pickling slow.

    Parameters
    ----------
    file, index
        Where the record is from.
    structure, label
        Its documents; a bad record has none.
    n_atoms, elements
        Of the structure.
    problem
        Why the record is bad.
    warning
        What the reader says of the whole file.
    refusal
        Message and way out of an `InputError`: the import ends here.
    end
        Bytes of the file up to where the record ends; 0 where that is not known.
    """

    file: Path
    index: int
    structure: EncodedStructure | None = None
    label: EncodedLabel | None = None
    n_atoms: int = 0
    elements: tuple[str, ...] = ()
    problem: str = ""
    warning: str = ""
    refusal: tuple[str, str] | None = None
    end: int = 0


def outcome_of(record: Record, options: ImportOptions, artifacts: ArtifactStore | None) -> Outcome:
    """Check a record and make its documents; no error is raised for what the record holds."""
    try:
        structure, label = build(record, options, artifacts)
        warning = record.warning
        if not warning and record.atoms is not None:
            warning = unread_label(record.atoms) if label is None else rival_label(record.atoms)
    except DataError as err:
        return Outcome(record.file, record.index, problem=err.message, warning=record.warning, end=record.end)
    except InputError as err:
        return Outcome(record.file, record.index, warning=record.warning, refusal=(err.message, err.fix))
    return Outcome(
        record.file,
        record.index,
        EncodedStructure.of(structure),
        None if label is None else EncodedLabel.of(label),
        structure.n_atoms,
        tuple(structure.elements),
        warning=warning,
        end=record.end,
    )
