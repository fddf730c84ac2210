"""Run a program in segments: one folder holds one run, a subfolder each execution of the program.

A run that was killed, or stopped before the end of its job, continues from the last state that its segments left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import InputError, RunError

NOTE_FILE = "segment.json"
"""Notes where a segment started, and, once its program has ended, how."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class SegmentFolder:
    """One execution of a program within a run.

    Attributes
    ----------
    first_step, last_step
        Step of the state that it started from, and the last step that no later segment repeats.
    host
        Where it ran; empty if it was killed before that was noted.
    """

    directory: Path
    first_step: int
    last_step: int
    wall_s: float
    host: str


class SegmentedRun(ABC, Generic[ResultT]):
    """A run in segments; `run` starts or continues it."""

    directory: Path
    identity_file: ClassVar[str]
    """Says which run the folder holds."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return everything that changes the results, as JSON values."""

    @abstractmethod
    def read(self) -> ResultT:
        """Return what the segments hold together."""

    @abstractmethod
    def wants_segment(self, result: ResultT) -> bool:
        """Whether to execute the program (again) now."""

    @abstractmethod
    def execute(self) -> None:
        """Execute the program once, in a new segment, from the last state."""

    def run(self) -> ResultT:
        """Execute the program until the run is over or must wait for its continuation; return what it left.

        Raises
        ------
        InputError
            The folder holds another run.
        RunError
            Another process executes this run.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with _locked(self.directory):
            self._claim()
            result = self.read()
            while self.wants_segment(result):
                self.execute()
                result = self.read()
        return result

    def _claim(self) -> None:
        path, identity = self.directory / self.identity_file, json.loads(json.dumps(self.identity()))
        if not path.exists():
            write_text(path, json.dumps(identity, indent=1) + "\n", durable=False)
        held = json.loads(path.read_text())
        if differ := sorted(key for key in identity if held.get(key) != identity[key]):
            raise InputError(
                f"{self.directory} holds another run: {', '.join(differ)} differ",
                "use another folder, or remove this one to start anew",
            )


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process executes the run in {directory}", "wait for it, or end it first", "bad_input"
            ) from error
        yield


def segment_folders(directory: Path) -> list[Path]:
    """Return the folders of all segments in order; one without a note was killed before its program started."""
    return sorted(path.parent for path in Path(directory).glob(f"segment_*/{NOTE_FILE}"))


def begin_segment(directory: Path, first_step: int, **more: Any) -> Path:
    """Make the folder of the next segment, with a note of where it starts and on which host; return the folder."""
    before = segment_folders(directory)
    number = int(before[-1].name.removeprefix("segment_")) + 1 if before else 0
    folder = Path(directory) / f"segment_{number:03d}"
    folder.mkdir(exist_ok=True)
    _write_note(folder, {"first_step": first_step, "host": socket.gethostname(), **more})
    return folder


def end_segment(folder: Path, **more: Any) -> None:
    """Add to the note of a segment how its program ended."""
    _write_note(folder, read_note(folder) | more)


def read_note(folder: Path) -> dict[str, Any]:
    """Return the note of a segment, with its `first_step`."""
    try:
        note = dict(json.loads((Path(folder) / NOTE_FILE).read_text()))
    except ValueError:
        # version 0.1.0 did not replace notes of CP2K in one step, so a kill could leave a torn one
        note = {}
    # version 0.1.0 named it so for LAMMPS
    note.setdefault("first_step", note.get("start_step", 0))
    return note


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    write_text(folder / NOTE_FILE, json.dumps(note, indent=1) + "\n", durable=False)


def read_output(path: Path) -> str:
    """Return the text that a program wrote into a file; empty if there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


def valid_until(first_steps: Sequence[int]) -> list[int | None]:
    """Return for each segment the step from which a later one replaces it; None if none does."""
    return [min(first_steps[index + 1 :], default=None) for index in range(len(first_steps))]
