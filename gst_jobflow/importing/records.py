"""Records: what readers yield, one structure at a time with its labels, so that no file is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import CANNOT_READ_ON
from gst_jobflow.labelling.method import Method
from gst_jobflow.structures.document_fields import content_hash
from gst_jobflow.structures.plain_atoms import PlainAtoms

P = ParamSpec("P")


@dataclass
class Record:
    """One structure of a file, or why it cannot be read; a frozen one would take three times as long to make.

    Parameters
    ----------
    file
        File that it comes from.
    index
        Place in the file, from 0.
    structure
        The structure with its labels; None with `problem`.
    problem
        Why it cannot be read.
    method
        Method of its energies as the file states it; None if it does not.
    no_method
        Why it does not.
    group
        Id of the first structure of its trajectory; empty if the file is not a trajectory.
    warning
        What is odd about the whole file; it does not keep the record out.
    end
        Bytes of the file up to its end; 0 if the reader does not count them.
    step
        Step of the dynamics; None if the file does not tell.
    """

    file: Path
    index: int
    structure: Atoms | PlainAtoms | None = None
    problem: str = ""
    method: Method | None = None
    no_method: str = ""
    group: str = ""
    warning: str = ""
    end: int = 0
    step: int | None = None

    @cached_property
    def atoms(self) -> Atoms | None:
        """The structure as ASE reads it."""
        return self.structure.atoms() if isinstance(self.structure, PlainAtoms) else self.structure


def last_record_says_why(
    reader: Callable[Concatenate[Path, P], Iterator[Record]],
) -> Callable[Concatenate[Path, P], Iterator[Record]]:
    """Make a reader yield the error that ends it (DataError, a cut or damaged file) as a last, bad record."""

    @wraps(reader)
    def read(file: Path, *args: P.args, **kwargs: P.kwargs) -> Iterator[Record]:
        index, group = 0, ""
        try:
            for record in reader(file, *args, **kwargs):
                yield record
                index, group = record.index + 1, record.group or group
        except DataError as err:
            yield Record(file, index, problem=err.message, group=group)
        except CANNOT_READ_ON as err:
            yield Record(file, index, problem=f"reading stopped: {err}", group=group)

    return read


def group_id(atoms: Atoms) -> str:
    """Return the id that a structure gets when it is stored; empty where it can have none."""
    try:
        return content_hash(atoms)
    except (DataError, ValueError, np.linalg.LinAlgError):
        return ""
