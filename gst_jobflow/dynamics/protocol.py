"""Running a protocol in a folder: start, continue after a kill or a walltime stop, collect what it wrote.

One folder holds one protocol: ``protocol.json`` says which, ``segment_000/``, ``segment_001/``, … hold the executions
of LAMMPS, each from the newest whole restart file of those before. Calling :func:`run_protocol` again continues, or
returns what is there when it is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.disk import FIX, says_full
from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.dynamics import deck, series
from gst_jobflow.dynamics import log as lammps_log
from gst_jobflow.dynamics.deck import DeckSpec, Group, Limits, Output, PotentialFiles, Tuning
from gst_jobflow.dynamics.disk import check_disk, forecast_bytes
from gst_jobflow.dynamics.dump import DumpFrame, iter_chain, join_frames
from gst_jobflow.dynamics.engine import LOG_FILE, SCREEN_FILE, LammpsEngine, LammpsRun, yace_elements
from gst_jobflow.dynamics.log import FailureClass
from gst_jobflow.dynamics.restart import is_as_secured, newest_restart, relaxing_from, restart_step, secure
from gst_jobflow.dynamics.series import ProfileFrame, Table
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.dynamics.watch import Watch, watched
from gst_jobflow.structures.lammps_data import read_data, write_data

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

PROTOCOL_FILE, SEGMENT_FILE, START_DATA = "protocol.json", "segment.json", "start.data"
#: at which step a run was ended before its time, and why
ENDED_FILE = "ended.json"
#: segments in a row that may end where they began: a relaxation goes on without counting steps
_MOST_IDLE_SEGMENTS = 3
#: restart intervals that a stop is asked for ahead of the end, since it waits for the next one
_LEAD_INTERVALS = 1.5
#: ends that belong to the physics of the run: running again would only repeat them
_FINAL_FAILURES = ("lost_atoms", "blow_up", "nan", "gamma_halt")


class RunOptions(StrictModel):
    """How a protocol is run: what does not change which stages it has."""

    groups: dict[str, Group] = Field(default_factory=dict)
    create_velocities_K: float | None = Field(None, gt=0)
    pair_style: Literal["recursive", "product", "extrapolation"] = "recursive"
    output: Output = Field(default_factory=Output)
    limits: Limits = Field(default_factory=Limits)
    tuning: Tuning = Field(default_factory=Tuning)
    #: the process is ended from outside after this time; limits.walltime_s is the orderly way
    timeout_s: float | None = Field(None, gt=0)


Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Segment:
    """One execution of LAMMPS within a protocol."""

    directory: Path
    start_step: int
    failure_class: FailureClass
    error_line: str
    wall_s: float
    ranks: int
    us_per_atom_step: float | None
    lammps_version: str
    host: str
    complete: bool


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol left behind; tables are joined over its segments."""

    status: Status
    failure_class: FailureClass
    error_line: str
    directory: Path
    elements: list[str]
    segments: list[Segment]
    series: Table
    kicks: Table
    layers: Table
    profiles: list[ProfileFrame]
    #: why it was ended before its planned time; empty where it was not
    ended_by: str = ""

    @property
    def final_data(self) -> Path | None:
        """The LAMMPS data file after the last stage, with velocities; None unless finished."""
        path = self.segments[-1].directory / deck.FINAL_DATA
        return path if self.status == "finished" else None

    @property
    def final_restart(self) -> Path | None:
        """The binary restart file after the last stage; None unless finished."""
        path = self.segments[-1].directory / deck.FINAL_RESTART
        return path if self.status == "finished" else None

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
        """Return the atoms after the last stage, in the order of the start, with velocities.

        Raises
        ------
        DataError
            If the protocol has not finished.
        """
        if self.final_data is None:
            raise DataError(f"the protocol in {self.directory} has not finished ({self.status})", "run it again")
        return read_data_file(self.final_data, self.elements)

    def frames(self) -> Iterator[DumpFrame]:
        """Yield the dumped frames of all stages in order, each step once."""
        limits = series.valid_until([segment.start_step for segment in self.segments])
        return iter_chain(
            (path, later)
            for segment, later in zip(self.segments, limits, strict=True)
            for path in sorted(segment.directory.glob("dump_*.lammpstrj.gz"))
        )

    def files(self) -> list[Path]:
        """Return the files worth keeping, without restart generations and input."""
        names = (
            deck.SERIES_FILE,
            deck.KICKS_FILE,
            deck.LAYERS_FILE,
            deck.PROFILE_FILE,
            deck.FINAL_DATA,
            deck.FINAL_RESTART,
            "log.lammps",
        )
        found = [segment.directory / name for segment in self.segments for name in names]
        dumps = [path for segment in self.segments for path in sorted(segment.directory.glob("dump_*.lammpstrj.gz"))]
        return [path for path in found + dumps if path.exists()]

    def require_success(self) -> ProtocolResult:
        """Return self, or raise a :class:`RunError` with the failure class; a walltime stop counts as one."""
        if self.status == "finished":
            return self
        if self.status == "stopped":
            fix = "run it again to continue from its last restart file"
        elif self.failure_class in _FINAL_FAILURES:
            fix = "running again changes nothing: label more structures like those it reached, or give it less energy"
        elif self.failure_class == "disk_full":
            fix = FIX
        else:
            fix = f"see log.lammps in {self.segments[-1].directory}"
        raise RunError(
            f"the protocol in {self.directory} is {self.status} ({self.failure_class}): {self.error_line}",
            fix,
            self.failure_class,
        )


def run_protocol(
    engine: LammpsEngine,
    potential: PotentialFiles,
    start: Atoms | Path,
    protocol: Protocol,
    directory: Path,
    options: RunOptions | None = None,
    started: Callable[[int], None] | None = None,
    deadline: Deadline | None = None,
    watch: Watch | None = None,
) -> ProtocolResult:
    """Run a protocol in `directory`, or continue the one that is there.

    Parameters
    ----------
    engine
        LAMMPS and its number of ranks.
    potential
        Files of the potential; its elements are the LAMMPS types.
    start
        Atoms (with velocities where they have them), a LAMMPS data file, or the ``final.restart`` of another protocol.
    protocol
        The stages.
    directory
        One folder for one protocol.
    options
        Groups, output, limits.
    started
        Called with the process id of LAMMPS.
    deadline
        When this process has to end: LAMMPS stops in order before it.
    watch
        Ends the run, in order and for good, at constant conditions (`Anneal`, `Hold`); other stages are run whole.

    Returns
    -------
    The result; a simulation that failed or was stopped by its walltime is a result too.

    Raises
    ------
    InputError
        If the folder holds another protocol, or the potential lacks an element.
    RunError
        If another process runs the protocol in this folder, or segments end where they began.
    """
    options = _for_engine(options or RunOptions(), engine)
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    potential = _checked_potential(potential)
    with _only_one(directory):
        first_spec = _first_deck(potential, start, protocol, directory, options)
        first_spec = first_spec.model_copy(update={"on_gpu": engine.gpus > 0})
        _claim(directory, _identity(first_spec, start, protocol))
        done = collect(directory, potential.elements)
        if not done:
            check_disk(directory, forecast_bytes(protocol, n_atoms(start), options.output), f"'{protocol.name}'")
        if done and (done.status == "finished" or done.failure_class in _FINAL_FAILURES):
            return done
        spec = _shortened(first_spec, directory)
        while True:
            while _run_segment(engine, spec, directory, options, started, deadline, watch) == "refused":
                logger.warning("protocol %s: a restart file cannot be read; the one before it is taken", protocol.name)
            result = collect(directory, potential.elements)
            if result is None or not _ends_here(result, spec.protocol, directory):
                break
            spec = _shortened(first_spec, directory)
    if result is None:
        raise DataError(f"the protocol in {directory} left no segment", "remove the folder and run it again")
    _check_progress(result)
    return result


def n_atoms(start: Atoms | Path) -> int:
    """Return how many atoms a run starts with; 0 where only the binary restart file of another run says it."""
    if not isinstance(start, str | os.PathLike):
        return len(start)
    if restart_step(Path(start)) is not None:
        return 0
    with Path(start).open() as file:
        for line in file:
            words = line.split()
            if words[1:2] == ["atoms"]:
                return int(words[0])
    raise InputError(f"{start} does not say how many atoms it has", "give a LAMMPS data file")


def _for_engine(options: RunOptions, engine: LammpsEngine) -> RunOptions:
    # the recursive evaluator, which is the fastest on CPUs, has no GPU version
    on_cpu_only = engine.gpus and options.pair_style == "recursive"
    return options.model_copy(update={"pair_style": "product"}) if on_cpu_only else options


def _ends_here(result: ProtocolResult, protocol: Protocol, directory: Path) -> bool:
    """Note that the run ends where it was stopped, if that was asked for and can be."""
    reason = json.loads((result.segments[-1].directory / SEGMENT_FILE).read_text()).get("enough", "")
    if not reason or not result.goes_on or (directory / ENDED_FILE).exists():
        return False
    found = newest_restart(_restarts(result.segments[-1].directory))
    if found is None or protocol.cut_at(found[1]) is None:
        return False
    ended = {"step": found[1], "reason": reason}
    write_text(directory / ENDED_FILE, json.dumps(ended, indent=1) + "\n", durable=False)
    return True


def _shortened(first: DeckSpec, directory: Path) -> DeckSpec:
    """Return the deck of a protocol that ends where it was ended; all of it where it was not."""
    path = directory / ENDED_FILE
    if not path.exists():
        return first
    return first.model_copy(update={"protocol": first.protocol.cut_at(json.loads(path.read_text())["step"])})


def _check_progress(result: ProtocolResult) -> None:
    last = result.segments[-_MOST_IDLE_SEGMENTS:]
    began = {segment.start_step for segment in last}
    if result.goes_on and len(last) == _MOST_IDLE_SEGMENTS and len(began) == 1 and result.reached_step in began:
        raise RunError(
            f"{len(last)} segments in a row ended at step {result.reached_step}, where they began",
            "give it a longer walltime, more ranks, or a smaller output.restart_every",
            "no_progress",
        )


def collect(directory: Path, elements: list[str]) -> ProtocolResult | None:
    """Return what the segments of a folder hold together; None before the first one."""
    segments = [_read_segment(path) for path in _segment_folders(Path(directory))]
    if not segments:
        return None
    last, starts = segments[-1], [segment.start_step for segment in segments]
    folders = [segment.directory for segment in segments]
    status: Status = (
        "finished" if last.complete else "stopped" if last.failure_class in ("walltime", "killed") else "failed"
    )
    ended = Path(directory) / ENDED_FILE
    return ProtocolResult(
        status=status,
        failure_class=last.failure_class,
        error_line=last.error_line,
        directory=Path(directory),
        elements=list(elements),
        segments=segments,
        series=series.join_segments([series.read_series(d / deck.SERIES_FILE) for d in folders], starts, True),
        kicks=series.join_segments([series.read_kicks(d / deck.KICKS_FILE) for d in folders], starts, False),
        layers=series.join_segments([series.read_layers(d / deck.LAYERS_FILE) for d in folders], starts, False),
        profiles=series.join_profiles([series.read_profiles(d / deck.PROFILE_FILE) for d in folders], starts),
        ended_by=json.loads(ended.read_text())["reason"] if ended.exists() else "",
    )


def write_data_file(path: Path, atoms: Atoms, elements: list[str]) -> None:
    """Write a LAMMPS data file: type numbers in the order of `elements`, velocities where the atoms have any.

    Raises
    ------
    InputError
        If an element is not among `elements`.
    """
    missing = sorted(set(atoms.get_chemical_symbols()) - set(elements))
    if missing:
        raise InputError(
            f"the potential has no {', '.join(missing)}: its elements are {', '.join(elements)}",
            "use a potential fitted for all elements of the cell",
        )
    moving = atoms.has("momenta") and bool(np.any(atoms.get_momenta()))
    write_data(atoms, path, elements, velocities=moving)


def read_data_file(path: Path, elements: list[str]) -> Atoms:
    """Return the atoms of a LAMMPS data file, sorted by id, wrapped, with velocities where the file has them."""
    atoms = read_data(path, elements)
    atoms.wrap()
    return atoms


def _checked_potential(potential: PotentialFiles) -> PotentialFiles:
    known = yace_elements(Path(potential.yace))
    missing = sorted(set(potential.elements) - set(known))
    if missing:
        raise InputError(
            f"the potential {potential.yace} has no {', '.join(missing)}: its elements are {', '.join(known)}",
            "name its own elements, or use another potential",
        )
    resolved = {}
    for name in ("yace", "yaml", "asi"):
        path = getattr(potential, name)
        if path and not Path(path).exists():
            raise InputError(f"there is no file {path} (potential.{name})", "export the potential with all its files")
        resolved[name] = str(Path(path).resolve()) if path else None
    return potential.model_copy(update=resolved)


def _first_deck(
    potential: PotentialFiles, start: Atoms | Path, protocol: Protocol, directory: Path, options: RunOptions
) -> DeckSpec:
    if isinstance(start, str | os.PathLike):
        path = Path(start).resolve()
        if not path.exists():
            raise InputError(f"there is no start file {path}", "give the final.data of the step before")
        kind = "restart" if restart_step(path) is not None else "data"
    else:
        path, kind = directory / START_DATA, "data"
        if not path.exists():
            write_data_file(path, start, potential.elements)
    return DeckSpec(
        protocol=protocol,
        potential=potential,
        start_file=str(path),
        start_kind=kind,
        new_clock=kind == "restart",
        groups=options.groups,
        create_velocities_K=options.create_velocities_K,
        pair_style=options.pair_style,
        output=options.output,
        limits=options.limits,
        tuning=options.tuning,
    )


def _identity(spec: DeckSpec, start: Atoms | Path, protocol: Protocol) -> dict[str, object]:
    if isinstance(start, str | os.PathLike):
        begin = _sha256(Path(spec.start_file).read_bytes())
    else:
        arrays = (start.numbers, np.asarray(start.cell), start.positions, start.get_momenta())
        begin = _sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))
    return {
        "name": protocol.name,
        "protocol": protocol.digest(),
        "potential": _sha256(Path(spec.potential.yace).read_bytes()),
        "start": begin,
        "groups": {name: group.model_dump(mode="json") for name, group in spec.groups.items()},
        "create_velocities_K": spec.create_velocities_K,
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _claim(directory: Path, identity: dict[str, object]) -> None:
    """Write what the folder is for, or check that it is for the same."""
    path, identity = directory / PROTOCOL_FILE, json.loads(json.dumps(identity))
    if path.exists():
        held = json.loads(path.read_text())
        differ = sorted(key for key in identity if held.get(key) != identity[key])
        if differ:
            raise InputError(
                f"{directory} holds the run of another protocol: {', '.join(differ)} differ",
                "use another folder, or remove this one to start anew",
            )
        return
    write_text(path, json.dumps(identity, indent=1) + "\n", durable=False)


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process runs the protocol in {directory}", "wait for it, or end it first", "bad_input"
            ) from error
        yield


def _segment_folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("segment_*") if (path / SEGMENT_FILE).exists())


def _read_segment(folder: Path) -> Segment:
    held: dict[str, Any] = json.loads((folder / SEGMENT_FILE).read_text())
    # a segment whose end was never written was killed together with the process that ran it
    killed = {"failure_class": "killed", "error_line": "killed with the process that ran it", "host": ""}
    held = {**killed, "wall_s": _seconds_written(folder), "us_per_atom_step": None, "lammps_version": "", **held}
    names = (
        "start_step",
        "failure_class",
        "error_line",
        "wall_s",
        "ranks",
        "us_per_atom_step",
        "lammps_version",
        "host",
    )
    kept: dict[str, Any] = {name: held.get(name) for name in names}
    return Segment(
        directory=folder,
        complete=not held["failure_class"] and (folder / deck.FINAL_DATA).exists(),
        **kept,
    )


def _seconds_written(folder: Path) -> float:
    """From the start of a segment to the last that it wrote, s."""
    names = (LOG_FILE, SCREEN_FILE, deck.SERIES_FILE, *deck.RESTART_GENERATIONS)
    times = [(folder / name).stat().st_mtime for name in names if (folder / name).exists()]
    return max(0.0, max(times, default=0.0) - (folder / SEGMENT_FILE).stat().st_mtime)


def _run_segment(
    engine: LammpsEngine,
    first: DeckSpec,
    directory: Path,
    options: RunOptions,
    started: Callable[[int], None] | None,
    deadline: Deadline | None,
    watch: Watch | None,
) -> Literal["ran", "refused"]:
    """Run LAMMPS once; `refused` where it could not read its restart file, which is then put aside."""
    before = _segment_folders(directory)
    if before:
        join_frames(before[-1])  # it was perhaps killed together with the process that ran it
        if says_full(_screen(before[-1])):
            # LAMMPS does not look whether its lines and frames are written: none of that segment counts
            for path in filter(Path.exists, _restarts(before[-1])):
                _refuse(path)
    spec = _limited(_continued(first, before), deadline)
    folder = directory / f"segment_{len(before):03d}"
    folder.mkdir(exist_ok=True)
    record = {"start_step": spec.start_step, "start_file": spec.start_file, "ranks": engine.ranks}
    record["host"] = socket.gethostname()
    write_text(folder / SEGMENT_FILE, json.dumps(record, indent=1) + "\n", durable=False)
    logger.info("protocol %s: segment %d from step %d", first.protocol.name, len(before), spec.start_step)
    (folder / deck.STOP_REQUEST).unlink(missing_ok=True)
    generations = _Generations(folder)
    stop = (folder / deck.STOP_REQUEST).touch
    with stopped_in_time(deadline, stop, generations.lead_s), watched(watch, folder, stop) as enough:
        run = engine.run(deck.render_deck(spec), folder, options.timeout_s, started)
    join_frames(folder)
    speed = run.loop.us_per_atom_step
    failure_class, error_line = run.failure_class, run.error_line
    if failure_class == "killed" and (folder / deck.STOP_REQUEST).exists() and not _timed_out(run, options):
        # the queue's signal may reach LAMMPS itself: what was asked to stop has stopped, if not in order
        failure_class, error_line = "walltime", f"asked to stop, and {error_line}"
    record |= {
        "failure_class": failure_class,
        "error_line": error_line,
        "wall_s": run.wall_s,
        "us_per_atom_step": speed if np.isfinite(speed) else None,
        "lammps_version": run.version,
        "restart_sha256": secure(_restarts(folder)),
        "enough": enough[0] if enough else "",
    }
    write_text(folder / SEGMENT_FILE, json.dumps(record, indent=1) + "\n", durable=False)
    if spec.continues and run.status == "failed" and lammps_log.failed_reading(_screen(folder)):
        _refuse(Path(spec.start_file))
        return "refused"
    return "ran"


def _refuse(restart: Path) -> None:
    restart.replace(restart.with_name(f"{restart.name}.refused"))


def _timed_out(run: LammpsRun, options: RunOptions) -> bool:
    return options.timeout_s is not None and run.wall_s >= options.timeout_s


def _screen(folder: Path) -> str:
    files = [folder / name for name in (LOG_FILE, SCREEN_FILE)]
    return "\n".join(path.read_text(errors="replace") for path in files if path.exists())


def _restarts(folder: Path) -> list[Path]:
    relaxing = [path for pattern in deck.relaxing_files("*") for path in sorted(folder.glob(pattern))]
    return [folder / name for name in (deck.STOPPED_RESTART, *deck.RESTART_GENERATIONS)] + relaxing


def _limited(spec: DeckSpec, deadline: Deadline | None) -> DeckSpec:
    """Return the deck with the last moment at which LAMMPS stops by itself, wherever it is then."""
    if deadline is None:
        return spec
    left_s = max(1, int(deadline.left_s()))
    walltime_s = min(left_s, spec.limits.walltime_s or left_s)
    return spec.model_copy(update={"limits": spec.limits.model_copy(update={"walltime_s": walltime_s})})


class _Generations:
    """Watches the restart files of a running segment, to know how long one interval between them takes."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / name for name in deck.RESTART_GENERATIONS]
        self.seen: list[float] = [time.time()]
        self.interval_s = 0.0

    def lead_s(self) -> float:
        """Return how long before the end a stop has to be asked for, so that a restart file is still due, s."""
        newest = max((path.stat().st_mtime for path in self.paths if path.exists()), default=0.0)
        if newest > self.seen[-1]:
            if len(self.seen) > 1:  # the first one includes the start of the program
                self.interval_s = max(self.interval_s, newest - self.seen[-1])
            self.seen = [*self.seen, newest][-2:]
        return _LEAD_INTERVALS * self.interval_s


def _continued(first: DeckSpec, segments: list[Path]) -> DeckSpec:
    """Return the deck from the newest whole restart file of the segments, or the first deck if there is none."""
    held = [(folder, json.loads((folder / SEGMENT_FILE).read_text()).get("restart_sha256", {})) for folder in segments]
    found = newest_restart([path for folder, sums in held for path in _restarts(folder) if is_as_secured(path, sums)])
    if found is None:
        return first
    path, step = found
    return first.model_copy(
        update={
            "start_file": str(path),
            "start_kind": "restart",
            "start_step": step,
            "new_clock": False,
            "relaxing": relaxing_from(path) is not None,
            "create_velocities_K": None,
        }
    )
