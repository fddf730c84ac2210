"""Running molecular dynamics with CP2K in a folder: part after part, continued after a kill or a walltime stop.

``aimd.json`` says what the folder is for; ``segment_000/``, ``segment_001/``, … are the executions of CP2K, each from
the newest whole restart file of those before. CP2K counts steps through all of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.dynamics.stages import Anneal, Hold, Quench, steps_in
from gst_jobflow.importing.cp2k import read_cp2k
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.labelling import cp2k_md
from gst_jobflow.labelling.cp2k import Cp2kBackend, abort_reason, check_data, cp2k_version, run_cp2k
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, Dynamics, MdPart, check_dynamics, md_input
from gst_jobflow.labelling.cp2k_output import HARTREE_EV
from gst_jobflow.structures.document_fields import content_hash

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

SPEC_FILE, SEGMENT_FILE = "aimd.json", "segment.json"
AimdStage = Annotated[Anneal | Quench | Hold, Field(discriminator="kind")]
_LEAST_S = 5.0
# a run in which this share of the steps did not converge is no dynamics of these electrons
_MOST_BAD, _FEWEST_BAD = 0.1, 3
_FINAL_FAILURES = ("not_converged",)


class AimdSpec(StrictModel):
    """What a run is.

    Parameters
    ----------
    stages
        Temperatures in their order. A ramp is made of parts of constant temperature, `ramp_step_K` apart.
    dynamics
        How electrons follow the atoms.
    timestep_fs
        Of the integration.
    every
        Steps between frames that are kept.
    ramp_step_K
        Largest difference of temperature between the parts of a ramp.
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
        """Return (temperature in K, steps) of every part.

        Raises
        ------
        InputError
            A stage is not a whole number of steps.
        """
        parts: list[tuple[float, int]] = []
        for stage in self.stages:
            steps = steps_in(stage.duration_ps, self.timestep_fs, f"{stage.kind} duration_ps")
            if isinstance(stage, Quench):
                number = max(1, min(steps, round(abs(stage.end_K - stage.start_K) / self.ramp_step_K)))
                # in the middle of each part the temperature is that of the ramp
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
class Segment:
    """One execution of CP2K: begins after `first_step`, and what it wrote is valid up to `last_step`."""

    directory: Path
    first_step: int
    last_step: int
    wall_s: float
    host: str


@dataclass(frozen=True)
class AimdRun:
    """What a folder holds: finished, stopped before its end (to be continued), or failed."""

    status: Literal["finished", "stopped", "failed"]
    failure_class: str
    reason: str
    segments: list[Segment]
    spec: AimdSpec

    @property
    def reached_step(self) -> int:
        return self.segments[-1].last_step if self.segments else 0

    def records(self) -> Iterator[Record]:
        """Yield the frames of all segments, each step once, with what CP2K says of whether it converged."""

        for segment in self.segments:
            path = segment.directory / cp2k_md.POSITIONS
            # a segment without a frame has no file
            for record in read_cp2k(path, ImportOptions()) if path.exists() else ():
                if record.step is not None and record.step <= segment.last_step:
                    yield record

    def series(self) -> dict[str, np.ndarray]:
        """Return step, time, energies, temperature and wall time of every step, each once."""
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
    """Run in `directory`, or go on with what is there.

    Raises
    ------
    InputError
        The folder holds another run, or the atoms cannot be computed.
    MissingProgramError
        CP2K or its data files are not there.
    """
    backend.check(atoms)
    check_dynamics(backend.settings, spec.dynamics)
    cp2k_version(backend.settings.program)
    check_data(backend.settings)
    directory = Path(directory).resolve()
    _claim(directory, backend, spec, atoms)
    done = collect(directory, spec)
    if done.status == "finished" or done.failure_class in _FINAL_FAILURES:
        return done
    while deadline is None or deadline.left_s() > _LEAST_S:
        before = done.reached_step
        asked = _run_segment(backend, spec, atoms, directory, deadline)
        done = collect(directory, spec)
        if done.status != "stopped" or done.reached_step == before or asked:
            break
    return done


def collect(directory: Path, spec: AimdSpec) -> AimdRun:
    """Return what the segments of a folder hold together."""
    folders = sorted(Path(directory).glob("segment_*"))
    notes = [_note(folder) for folder in folders]
    begins = [int(note.get("first_step", 0)) for note in notes]
    segments = []
    for place, (folder, note) in enumerate(zip(folders, notes, strict=True)):
        state = _newest_state(folder)
        reached = state[1] if state else begins[place]
        # the next one may have begun before the last step of this one
        last = min([reached, *begins[place + 1 :]])
        wall_s = float(note.get("wall_s") or _wall_s(folder))
        segments.append(Segment(folder, begins[place], last, wall_s, str(note.get("host", ""))))
    segments = [segment for segment in segments if segment.last_step > segment.first_step] or segments[-1:]
    status, failure_class, reason = _status(segments, spec, notes[-1] if notes else {})
    return AimdRun(status, failure_class, reason, segments, spec)


def _status(
    segments: list[Segment], spec: AimdSpec, last: dict[str, object]
) -> tuple[Literal["finished", "stopped", "failed"], str, str]:
    if last.get("failure_class"):
        return "failed", str(last["failure_class"]), str(last["reason"])
    if segments and segments[-1].last_step >= spec.total_steps:
        return "finished", "", ""
    return "stopped", "walltime", "stopped before its end"


def _claim(directory: Path, backend: Cp2kBackend, spec: AimdSpec, atoms: Atoms) -> None:

    identity = {
        "structure": content_hash(atoms),
        "method": cp2k_md.md_method(backend, spec.dynamics).fingerprint(),
        "spec": spec.model_dump(mode="json"),
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / SPEC_FILE
    if not path.exists():
        write_text(path, json.dumps(identity), durable=False)
    held = json.loads(path.read_text())
    if differ := sorted(key for key in identity if held.get(key) != identity[key]):
        raise InputError(f"{directory} holds another run: {', '.join(differ)} differ", "use another folder")


def last_energies(directory: Path) -> dict[str, float]:
    """Return time, temperature and wall time of the newest step of a run that goes on; empty before the first."""
    tables = sorted(Path(directory).glob(f"segment_*/{cp2k_md.ENERGIES}"))
    rows = next((rows for path in reversed(tables) if (rows := _energies(path))), None)
    if rows is None:
        return {}
    return {"time_ps": rows[-1][1] * 1e-3, "temperature_K": rows[-1][3], "wall_s": rows[-1][6]}


def _run_segment(
    backend: Cp2kBackend, spec: AimdSpec, atoms: Atoms, directory: Path, deadline: Deadline | None
) -> bool:
    """Execute CP2K once, from the newest state to the end of the part that it is in; True if it was asked to stop."""
    folders = sorted(directory.glob("segment_*"))
    state = next((found for folder in reversed(folders) if (found := _newest_state(folder))), None)
    restart, begin = state or (None, 0)
    temperature_K, steps = _next_part(spec, begin)
    folder = directory / f"segment_{len(folders):03d}"
    folder.mkdir()
    part = MdPart(
        temperature_K=temperature_K,
        steps=steps,
        timestep_fs=spec.timestep_fs,
        every=spec.every,
        seed=spec.seed,
        # below its own folder, which has no spaces: CP2K splits names at them
        restart=str(Path("..") / restart.parent.name / restart.name) if restart else "",
    )
    (folder / cp2k_md.INPUT).write_text(md_input(atoms, backend.settings, spec.dynamics, part))
    note: dict[str, object] = {"first_step": begin, "host": socket.gethostname()}
    (folder / SEGMENT_FILE).write_text(json.dumps(note))
    ending = _Ending()
    left_s = None if deadline is None else max(1.0, deadline.left_s())
    with stopped_in_time(deadline, ending.ask):
        ended = run_cp2k(backend.settings, folder, cp2k_md.INPUT, cp2k_md.OUTPUT, left_s, started=ending.started)
    note["wall_s"] = ended.wall_s
    text = (folder / cp2k_md.OUTPUT).read_text(errors="replace")
    stopped = ended.timed_out or ending.asked.is_set()
    if not stopped and ended.returncode != 0:
        note |= {"failure_class": "crash", "reason": f"CP2K ended with {ended.returncode}: {abort_reason(text)}"}
    elif isinstance(spec.dynamics, BornOppenheimer) and (reason := _too_often_bad(folder, text)):
        note |= {"failure_class": "not_converged", "reason": reason}
    (folder / SEGMENT_FILE).write_text(json.dumps(note))
    logger.info("%s from step %d: %.0f s", folder.name, begin, ended.wall_s)
    return stopped


class _Ending:
    """Ends CP2K when it is asked to: what it has not finished of a step is lost, every step before it is on disk.

    Its exit file would let it finish the step, but it looks for all exit files together, every 20 s: in nearly every
    case that is within the self-consistency, which heeds other ones than the dynamics
    (``cp_external_control.F`` of CP2K).
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
    """Return the restart file that a segment is continued from and the step of its state; None where there is none.

    The newest whole one whose step the output tells of: whether the electrons of a step converged stands there, and
    a run that is killed has written its restart file before that. Where the output tells of none, the newest whole one.
    """
    states = [(path, step) for name in cp2k_md.RESTARTS if (step := _state_of(path := folder / name)) is not None]
    told = _told_step(folder)
    return next((state for state in states if state[1] <= told), states[0] if states else None)


def _state_of(path: Path) -> int | None:
    """Return the step of a restart file; None where it is not there or not whole."""
    text = path.read_text(errors="replace") if path.exists() else ""
    step = re.search(r"^\s*STEP_START_VAL\s+(\d+)\s*$", text, re.MULTILINE)
    # FORCE_EVAL is the last section that CP2K writes
    whole = re.search(r"^\s*&END FORCE_EVAL\s*$", text, re.MULTILINE)
    return int(step[1]) if step and whole else None


def _told_step(folder: Path) -> int:
    """Return the last step that the output of a segment tells of; 0 where it tells of none."""
    path = folder / cp2k_md.OUTPUT
    text = path.read_text(errors="replace") if path.exists() else ""
    steps = re.findall(r"^\s*(?:MD\|\s*)?step number\s*=?\s*(\d+)\s*$", text, re.MULTILINE | re.IGNORECASE)
    return int(steps[-1]) if steps else 0


def _energies(path: Path) -> list[list[float]]:
    """Rows of CP2K's file of energies; a row that is cut is none."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        words = line.split()
        try:
            if len(words) == 7 and words[0] != "#":
                rows.append([float(word) for word in words])
        except ValueError:
            continue
    return rows


def _note(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / SEGMENT_FILE).read_text()))
    except (OSError, ValueError):  # we were killed before it was written
        return {}


def _wall_s(folder: Path) -> float:
    return sum(row[6] for row in _energies(folder / cp2k_md.ENERGIES))
