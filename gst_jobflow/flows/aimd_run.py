"""Run molecular dynamics with CP2K in a folder, part after part; continue it after a kill or a walltime stop.

``aimd.json`` says which run the folder holds; ``segment_000/``, ``segment_001/``, … hold the executions of CP2K, each
from the newest whole restart file of those before. CP2K counts steps through all of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.errors import DataError
from gst_jobflow.base.segments import (
    SegmentedRun,
    SegmentFolder,
    begin_segment,
    end_segment,
    read_note,
    read_output,
    segment_folders,
    valid_until,
)
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.dynamics.stages import Anneal, Hold, Quench, steps_in
from gst_jobflow.importing.cp2k import read_cp2k
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.labelling import cp2k_md
from gst_jobflow.labelling.cp2k import Cp2kBackend, abort_reason, cp2k_version, find_data_folder, run_cp2k
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, Dynamics, MdPart, check_dynamics, md_input
from gst_jobflow.labelling.cp2k_output import HARTREE_EV
from gst_jobflow.structures.document_fields import content_hash

logger = logging.getLogger(__name__)

AimdStage = Annotated[Anneal | Quench | Hold, Field(discriminator="kind")]
_LEAST_S = 5.0
# a run with a larger share of unconverged steps is useless
_MOST_BAD, _FEWEST_BAD = 0.1, 3
_FINAL_FAILURES = ("not_converged",)


class AimdSpec(StrictModel):
    """Specification of a run: temperatures in order, where a ramp consists of parts at constant temperature.

    Attributes
    ----------
    dynamics
        Scheme by which electrons follow the atoms.
    every
        Steps between stored frames.
    ramp_step_K
        Largest temperature difference between the parts of a ramp.
    seed
        Of velocities and thermostat.
    """

    stages: list[AimdStage] = Field(min_length=1)
    dynamics: Dynamics = Field(default_factory=BornOppenheimer)
    timestep_fs: float = Field(2.0, gt=0, allow_inf_nan=False)
    every: int = Field(10, ge=1)
    ramp_step_K: float = Field(50.0, gt=0)
    seed: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _whole_steps(self) -> AimdSpec:
        self.parts()
        return self

    def parts(self) -> list[tuple[float, int]]:
        """Return (temperature in K, steps) of each part; InputError if a stage lasts no whole number of steps."""
        parts: list[tuple[float, int]] = []
        for stage in self.stages:
            steps = steps_in(stage.duration_ps, self.timestep_fs, f"{stage.kind} duration_ps")
            if isinstance(stage, Quench):
                number = max(1, min(steps, round(abs(stage.end_K - stage.start_K) / self.ramp_step_K)))
                # each part has the temperature of the ramp at its middle
                middles = (np.arange(number) + 0.5) / number
                bounds = np.round(np.linspace(0, steps, number + 1)).astype(int)
                temperatures = stage.start_K + middles * (stage.end_K - stage.start_K)
                parts += [(float(t), int(n)) for t, n in zip(temperatures, np.diff(bounds), strict=True)]
            else:
                parts.append((stage.temperature_K, steps))
        return parts

    @property
    def total_steps(self) -> int:
        return sum(steps for _, steps in self.parts())


@dataclass(frozen=True)
class AimdRun:
    """Content of a folder: a run that finished, failed, or was stopped early and can be continued."""

    status: Literal["finished", "stopped", "failed"]
    failure_class: str
    reason: str
    segments: list[SegmentFolder]
    spec: AimdSpec

    @classmethod
    def read(cls, directory: Path, spec: AimdSpec) -> AimdRun:
        """Read what the segments of a folder hold together."""
        folders = segment_folders(directory)
        notes = [read_note(folder) for folder in folders]
        limits = valid_until([note["first_step"] for note in notes])
        segments = []
        for folder, note, later in zip(folders, notes, limits, strict=True):
            begin, state = note["first_step"], _newest_state(folder)
            reached = state[1] if state else begin
            last = reached if later is None else min(reached, later)
            wall_s = float(note.get("wall_s") or sum(row[6] for row in _energies(folder / cp2k_md.ENERGIES)))
            segments.append(SegmentFolder(folder, begin, last, wall_s, note.get("host", "")))
        segments = [segment for segment in segments if segment.last_step > segment.first_step] or segments[-1:]
        return cls(*_status(segments, spec, notes[-1] if notes else {}), segments, spec)

    @property
    def reached_step(self) -> int:
        return self.segments[-1].last_step if self.segments else 0

    def records(self) -> Iterator[Record]:
        """Yield the frames of all segments, each step once; unconverged ones have a problem instead of atoms."""
        for segment in self.segments:
            path = segment.directory / cp2k_md.POSITIONS
            # a segment without a frame has no file
            for record in read_cp2k(path, ImportOptions()) if path.exists() else ():
                if record.step is not None and record.step <= segment.last_step:
                    yield record

    def series(self) -> dict[str, np.ndarray]:
        """Return step, time, energies, temperature and wall time of each step, without repeats."""
        rows = [
            row
            for segment in self.segments
            for row in _energies(segment.directory / cp2k_md.ENERGIES)
            if row[0] <= segment.last_step
        ]
        table = np.array(rows, dtype=float).reshape(-1, 7)
        return {
            "step": table[:, 0],
            "time_ps": table[:, 1] * 1e-3,
            "kinetic_eV": table[:, 2] * HARTREE_EV,
            "temperature_K": table[:, 3],
            "potential_eV": table[:, 4] * HARTREE_EV,
            "conserved_eV": table[:, 5] * HARTREE_EV,
            "wall_s": table[:, 6],
        }

    def files(self) -> list[Path]:
        """Return the files worth keeping."""
        names = (cp2k_md.INPUT, cp2k_md.OUTPUT, cp2k_md.POSITIONS, cp2k_md.FORCES, cp2k_md.ENERGIES)
        found = [segment.directory / name for segment in self.segments for name in names]
        return [path for path in found if path.exists()]


def run_aimd(
    backend: Cp2kBackend, spec: AimdSpec, atoms: Atoms, directory: Path, deadline: Deadline | None = None
) -> AimdRun:
    """Run dynamics in `directory`, or continue what is there.

    Raises
    ------
    InputError
        The folder holds another run, or the atoms cannot be computed.
    MissingProgramError
        CP2K or its data files are missing.
    """
    backend.check(atoms)
    check_dynamics(backend.settings, spec.dynamics)
    cp2k_version(backend.settings.program)
    find_data_folder(backend.settings)
    return _AimdSegments(backend, spec, atoms, Path(directory).resolve(), deadline).run()


@dataclass
class _AimdSegments(SegmentedRun[AimdRun]):
    backend: Cp2kBackend
    spec: AimdSpec
    atoms: Atoms
    directory: Path
    deadline: Deadline | None
    # first step of the newest segment of this process, and whether it was asked to stop
    began: int | None = None
    asked: bool = False
    identity_file: ClassVar[str] = "aimd.json"

    def identity(self) -> dict[str, Any]:
        return {
            "structure": content_hash(self.atoms),
            "method": cp2k_md.md_method(self.backend, self.spec.dynamics).fingerprint(),
            "spec": self.spec.model_dump(mode="json"),
        }

    def read(self) -> AimdRun:
        return AimdRun.read(self.directory, self.spec)

    def wants_segment(self, result: AimdRun) -> bool:
        if result.status == "finished" or result.failure_class in _FINAL_FAILURES:
            return False
        if self.deadline is not None and self.deadline.left_s() <= _LEAST_S:
            return False
        return self.began is None or (
            result.status == "stopped" and result.reached_step > self.began and not self.asked
        )

    def execute(self) -> None:
        """Execute CP2K once, from the newest state to the end of its part."""
        folders = segment_folders(self.directory)
        state = next((found for folder in reversed(folders) if (found := _newest_state(folder))), None)
        restart, begin = state or (None, 0)
        self.began = begin
        temperature_K, steps = _next_part(self.spec, begin)
        part = MdPart(
            temperature_K=temperature_K,
            steps=steps,
            timestep_fs=self.spec.timestep_fs,
            every=self.spec.every,
            seed=self.spec.seed,
            # relative to its own folder: CP2K splits names at spaces
            restart=str(Path("..") / restart.parent.name / restart.name) if restart else "",
        )
        text = md_input(self.atoms, self.backend.settings, self.spec.dynamics, part)
        folder = begin_segment(self.directory, begin)
        (folder / cp2k_md.INPUT).write_text(text)
        self._run_cp2k(folder)
        logger.info("%s from step %d ended", folder.name, begin)

    def _run_cp2k(self, folder: Path) -> None:
        ending = _Ending()
        left_s = None if self.deadline is None else max(1.0, self.deadline.left_s())
        settings = self.backend.settings
        with stopped_in_time(self.deadline, ending.ask):
            ended = run_cp2k(settings, folder, cp2k_md.INPUT, cp2k_md.OUTPUT, left_s, started=ending.started)
        self.asked = ended.timed_out or ending.asked.is_set()
        text = read_output(folder / cp2k_md.OUTPUT)
        failure = {}
        if not self.asked and ended.returncode != 0:
            reason = f"CP2K ended with {ended.returncode}: {abort_reason(text)}"
            failure = {"failure_class": "crash", "reason": reason}
        elif isinstance(self.spec.dynamics, BornOppenheimer) and (reason := _too_often_bad(folder, text)):
            failure = {"failure_class": "not_converged", "reason": reason}
        end_segment(folder, wall_s=ended.wall_s, **failure)


def _status(
    segments: list[SegmentFolder], spec: AimdSpec, last: dict[str, Any]
) -> tuple[Literal["finished", "stopped", "failed"], str, str]:
    if last.get("failure_class"):
        return "failed", str(last["failure_class"]), str(last["reason"])
    if segments and segments[-1].last_step >= spec.total_steps:
        return "finished", "", ""
    return "stopped", "walltime", "stopped before its end"


def last_energies(directory: Path) -> dict[str, float]:
    """Return time, temperature and wall time of the newest step of a running run; empty before the first."""
    tables = sorted(Path(directory).glob(f"segment_*/{cp2k_md.ENERGIES}"))
    rows = next((rows for path in reversed(tables) if (rows := _energies(path))), None)
    if rows is None:
        return {}
    return {"time_ps": rows[-1][1] * 1e-3, "temperature_K": rows[-1][3], "wall_s": rows[-1][6]}


class _Ending:
    """Ends CP2K on request: the unfinished step is lost, every earlier one is on disk.

    CP2K's exit file would let it finish the step. But it checks for all exit files together, every 20 s, which mostly
    falls into the self-consistency, and that obeys another file than the dynamics (``cp_external_control.F`` of CP2K).
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._group: int | None = None

    def started(self, group: int) -> None:
        self._group = group
        if self.asked.is_set():
            self.ask()

    def ask(self) -> None:
        self.asked.set()
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGTERM)


def _next_part(spec: AimdSpec, begin: int) -> tuple[float, int]:
    end = 0
    for temperature_K, steps in spec.parts():
        end += steps
        if begin < end:
            return temperature_K, end - begin
    raise DataError("this run has reached its last step", "remove its folder to run it again")


def _too_often_bad(folder: Path, text: str) -> str:
    bad, steps = text.count("SCF run NOT converged"), len(_energies(folder / cp2k_md.ENERGIES))
    if bad >= _FEWEST_BAD and bad > _MOST_BAD * steps:
        return f"the SCF did not converge in {bad} of {steps} steps"
    return ""


def _newest_state(folder: Path) -> tuple[Path, int] | None:
    """Return the restart file to continue a segment from, and its step; None if there is none.

    It is the newest whole one whose step is in the output, which tells whether the electrons converged (a killed run
    may have written the restart file first), or else the newest whole one.
    """
    states = [(path, step) for name in cp2k_md.RESTARTS if (step := _state_of(path := folder / name)) is not None]
    told = _told_step(folder)
    return next((state for state in states if state[1] <= told), states[0] if states else None)


def _state_of(path: Path) -> int | None:
    """Return the step of a restart file; None if it is absent or torn."""
    text = read_output(path)
    step = re.search(r"^\s*STEP_START_VAL\s+(\d+)\s*$", text, re.MULTILINE)
    # FORCE_EVAL is the last section that CP2K writes
    whole = re.search(r"^\s*&END FORCE_EVAL\s*$", text, re.MULTILINE)
    return int(step[1]) if step and whole else None


def _told_step(folder: Path) -> int:
    """Return the last step in the output of a segment; 0 if there is none."""
    text = read_output(folder / cp2k_md.OUTPUT)
    steps = re.findall(r"^\s*(?:MD\|\s*)?step number\s*=?\s*(\d+)\s*$", text, re.MULTILINE | re.IGNORECASE)
    return int(steps[-1]) if steps else 0


def _energies(path: Path) -> list[list[float]]:
    """Return the rows of CP2K's file of energies, without torn ones."""
    rows = []
    for line in read_output(path).splitlines():
        words = line.split()
        try:
            if len(words) == 7 and words[0] != "#":
                rows.append([float(word) for word in words])
        except ValueError:
            continue
    return rows
