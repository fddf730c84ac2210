"""Read what the segments of a protocol left: how it ended, tables, frames, final state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ase import Atoms

from gst_jobflow.base.disk import FIX
from gst_jobflow.base.errors import DataError, RunError
from gst_jobflow.base.segments import NOTE_FILE, SegmentFolder, read_note, segment_folders, valid_until
from gst_jobflow.dynamics import deck, series
from gst_jobflow.dynamics.dump import DumpFrame, iter_chain
from gst_jobflow.dynamics.engine import LOG_FILE, SCREEN_FILE
from gst_jobflow.dynamics.log import FailureClass
from gst_jobflow.dynamics.series import ProfileFrame, Table
from gst_jobflow.structures.lammps_data import read_data

ENDED_FILE = "ended.json"
"""Step and reason of a run that was ended before its planned end."""
FINAL_FAILURES = ("lost_atoms", "blow_up", "nan", "gamma_halt")
"""Failures of the physics of a run: running it again would repeat them."""
_DUMPS = "dump_*.lammpstrj.gz"
_KEPT = (
    deck.SERIES_FILE,
    deck.KICKS_FILE,
    deck.LAYERS_FILE,
    deck.PROFILE_FILE,
    deck.FINAL_DATA,
    deck.FINAL_RESTART,
    LOG_FILE,
)


@dataclass(frozen=True)
class LammpsSegment(SegmentFolder):
    """One execution of LAMMPS within a protocol; `complete`: it reached the end of the protocol.

    `failure_class` and `error_line` are empty if it finished; `us_per_atom_step` is the wall time by atoms and steps in
    µs.
    """

    failure_class: FailureClass
    error_line: str
    ranks: int
    us_per_atom_step: float | None
    lammps_version: str
    complete: bool


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol left; tables are joined over its segments.

    `ended_by` says why it was ended before its planned end, and is empty if it was not.
    """

    status: Literal["finished", "stopped", "failed"]
    failure_class: FailureClass
    error_line: str
    directory: Path
    elements: list[str]
    segments: list[LammpsSegment]
    series: Table
    kicks: Table
    layers: Table
    profiles: list[ProfileFrame]
    ended_by: str = ""

    @classmethod
    def read(cls, directory: Path, elements: list[str]) -> ProtocolResult | None:
        """Read what the segments of a folder hold together; None before the first one."""
        folders = segment_folders(directory)
        if not folders:
            return None
        notes = [read_note(folder) for folder in folders]
        starts = [note["first_step"] for note in notes]
        rows = series.join_segments([series.read_series(d / deck.SERIES_FILE) for d in folders], starts, True)
        reached = int(rows["step"][-1]) if len(rows["step"]) else 0
        ends = [*starts[1:], reached]
        segments = [_segment(*each) for each in zip(folders, notes, ends, strict=True)]
        last, ended = segments[-1], Path(directory) / ENDED_FILE
        is_stopped = last.failure_class in ("walltime", "killed")
        return cls(
            status="finished" if last.complete else "stopped" if is_stopped else "failed",
            failure_class=last.failure_class,
            error_line=last.error_line,
            directory=Path(directory),
            elements=list(elements),
            segments=segments,
            series=rows,
            kicks=series.join_segments([series.read_kicks(d / deck.KICKS_FILE) for d in folders], starts, False),
            layers=series.join_segments([series.read_layers(d / deck.LAYERS_FILE) for d in folders], starts, False),
            profiles=series.join_profiles([series.read_profiles(d / deck.PROFILE_FILE) for d in folders], starts),
            ended_by=json.loads(ended.read_text())["reason"] if ended.exists() else "",
        )

    @property
    def final_data(self) -> Path | None:
        """LAMMPS data file after the last stage, with velocities; None unless finished."""
        return self.segments[-1].directory / deck.FINAL_DATA if self.status == "finished" else None

    @property
    def final_restart(self) -> Path | None:
        """Binary restart file after the last stage; None unless finished."""
        return self.segments[-1].directory / deck.FINAL_RESTART if self.status == "finished" else None

    @property
    def goes_on(self) -> bool:
        """Whether it was stopped in order before its end, so that a continuation should follow."""
        return self.status == "stopped" and self.failure_class == "walltime"

    @property
    def wall_s(self) -> float:
        return sum(segment.wall_s for segment in self.segments)

    @property
    def reached_step(self) -> int:
        return int(self.series["step"][-1]) if len(self.series["step"]) else 0

    def energies_eV(self, stage: int) -> tuple[float, float]:
        """Return (asked, added) energy summed over the kicks of a stage, counted from 1."""
        of_stage = self.kicks["stage"] == stage
        return float(self.kicks["asked_eV"][of_stage].sum()), float(self.kicks["added_eV"][of_stage].sum())

    def final_atoms(self) -> Atoms:
        """Return the atoms after the last stage, wrapped, in the order of the start, with velocities.

        Raises DataError if the protocol has not finished.
        """
        if self.final_data is None:
            raise DataError(f"the protocol in {self.directory} has not finished ({self.status})", "run it again")
        atoms = read_data(self.final_data, self.elements)
        atoms.wrap()
        return atoms

    def frames(self) -> Iterator[DumpFrame]:
        """Yield the dumped frames of all stages in order, each step once."""
        limits = valid_until([segment.first_step for segment in self.segments])
        return iter_chain(
            (path, later)
            for segment, later in zip(self.segments, limits, strict=True)
            for path in sorted(segment.directory.glob(_DUMPS))
        )

    def files(self) -> list[Path]:
        """Return the files worth keeping, without restart generations and input."""
        folders = [segment.directory for segment in self.segments]
        found = [folder / name for folder in folders for name in _KEPT]
        dumps = [path for folder in folders for path in sorted(folder.glob(_DUMPS))]
        return [path for path in found + dumps if path.exists()]

    def require_success(self) -> ProtocolResult:
        """Return self if finished; otherwise raise a :class:`RunError` with the failure class."""
        if self.status == "finished":
            return self
        if self.status == "stopped":
            fix = "run it again to continue from its last restart file"
        elif self.failure_class in FINAL_FAILURES:
            fix = "running again changes nothing: label structures like those it reached, or lower the energy"
        elif self.failure_class == "disk_full":
            fix = FIX
        else:
            fix = f"see log.lammps in {self.segments[-1].directory}"
        raise RunError(
            f"the protocol in {self.directory} is {self.status} ({self.failure_class}): {self.error_line}",
            fix,
            self.failure_class,
        )


def _segment(folder: Path, note: dict[str, Any], last_step: int) -> LammpsSegment:
    # without an end in its note, LAMMPS was killed together with the process that ran it
    note = {"failure_class": "killed", "error_line": "killed with the process that ran it"} | note
    return LammpsSegment(
        directory=folder,
        first_step=note["first_step"],
        last_step=max(last_step, note["first_step"]),
        wall_s=note["wall_s"] if "wall_s" in note else _seconds_written(folder),
        host=note.get("host", ""),
        failure_class=note["failure_class"],
        error_line=note["error_line"],
        ranks=note["ranks"],
        us_per_atom_step=note.get("us_per_atom_step"),
        lammps_version=note.get("lammps_version", ""),
        complete=not note["failure_class"] and (folder / deck.FINAL_DATA).exists(),
    )


def _seconds_written(folder: Path) -> float:
    """Return the time from the start of a segment to its last write, s."""
    names = (LOG_FILE, SCREEN_FILE, deck.SERIES_FILE, *deck.RESTART_GENERATIONS)
    times = [(folder / name).stat().st_mtime for name in names if (folder / name).exists()]
    return max(0.0, max(times, default=0.0) - (folder / NOTE_FILE).stat().st_mtime)
