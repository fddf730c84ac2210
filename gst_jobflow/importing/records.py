"""What a reader gives: one structure at a time with what was computed of it, so that no file is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import CANNOT_READ_ON
from gst_jobflow.structures.document_fields import content_hash

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.labelling.method import Method

P = ParamSpec("P")


@dataclass(frozen=True)
class Record:
    """One structure of a file, or why it cannot be read.

    Parameters
    ----------
    file
        Where it is from.
    index
        Its place in the file, from 0.
    atoms
        The structure as ASE reads it; None with `problem`.
    problem
        Why it cannot be read.
    method
        What the file itself says of how its energies were computed; None where it says nothing.
    no_method
        Why it says nothing.
    group
        Id of the first structure of the trajectory that this is a frame of; empty where the file holds no trajectory.
    warning
        What holds for the whole file and should be known; it does not keep the record out.
    end
        Bytes of the file up to where it ends; 0 where the reader does not count them.
    step
        Of the dynamics that this is a frame of; None where the file does not say.
    """

    file: Path
    index: int
    atoms: Atoms | None = None
    problem: str = ""
    method: Method | None = None
    no_method: str = ""
    group: str = ""
    warning: str = ""
    end: int = 0
    step: int | None = None


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
            yield Record(file, index, problem=f"the file cannot be read on: {err}", group=group)

    return read


def group_id(atoms: Atoms) -> str:
    """Return the id that a structure gets when it is stored; empty where it can have none."""
    try:
        return content_hash(atoms)
    except (DataError, ValueError, np.linalg.LinAlgError):
        return ""
