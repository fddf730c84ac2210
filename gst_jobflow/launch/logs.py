"""Read what a job printed: the text files of its launch directories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.database import Database

from gst_jobflow.base.errors import DataError, InputError

PATTERNS = ("*.out", "*.error", "*.log", "log.*", "log*.txt", "*/*.out", "*/*.log", "*/log.*", "*/*/*.out", "*/*/log.*")
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Log:
    """The end of one file."""

    file: Path
    lines: list[str]


def attempts_of(database: Database, fw_id: int) -> list[dict[str, Any]]:
    """Return the attempts of a firework, oldest first; InputError if it does not exist or has not started."""
    firework = database["fireworks"].find_one({"fw_id": fw_id}, {"state": 1})
    if firework is None:
        raise InputError(f"there is no job {fw_id}", "gst status shows ids; lpad get_fws lists all")
    found = list(database["attempts"].find({"fw_id": fw_id}).sort("started_at", 1))
    if not found:
        raise InputError(f"job {fw_id} has not started: it is {firework['state']}", "gst status shows running jobs")
    return found


def logs(directory: Path, n_lines: int) -> list[Log]:
    """Return the last lines of the three newest files in a launch directory, newest last.

    A directory that is missing, or on another machine, is a DataError.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} does not exist here", "look on the machine that ran the job")
    files = {file for pattern in PATTERNS for file in directory.glob(pattern) if file.is_file()}
    full = sorted((file for file in files if file.stat().st_size), key=lambda file: (file.stat().st_mtime, str(file)))
    return [Log(file, tail(file, n_lines)) for file in full[-3:]]


def tail(file: Path, n_lines: int) -> list[str]:
    """Return the last lines of a possibly large file."""
    with file.open("rb") as stream:
        end = start = stream.seek(0, 2)
        text = b""
        while start > 0 and text.count(b"\n") <= n_lines:
            start = max(0, start - _BLOCK)
            stream.seek(start)
            text = stream.read(end - start)
    return text.decode(errors="replace").splitlines()[-n_lines:]
