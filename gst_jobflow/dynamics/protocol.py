"""Run a protocol in a folder: start it, or continue it after a kill or a walltime stop.

``protocol.json`` says which protocol the folder holds; ``segment_000/``, ``segment_001/``, … hold the executions of
LAMMPS, each from the newest whole restart file of those before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.disk import says_full
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.segments import SegmentedRun, begin_segment, end_segment, read_note, read_output, segment_folders
from gst_jobflow.dynamics import deck
from gst_jobflow.dynamics import log as lammps_log
from gst_jobflow.dynamics.deck import DeckSpec, PotentialFiles, RunOptions
from gst_jobflow.dynamics.disk import check_disk, forecast_bytes
from gst_jobflow.dynamics.dump import join_frames
from gst_jobflow.dynamics.engine import LOG_FILE, SCREEN_FILE, LammpsEngine, LammpsRun, yace_elements
from gst_jobflow.dynamics.log import FailureClass
from gst_jobflow.dynamics.restart import is_as_secured, newest_restart, relaxing_from, restart_step, secure
from gst_jobflow.dynamics.result import ENDED_FILE, FINAL_FAILURES, ProtocolResult
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.dynamics.watch import Watch, watched
from gst_jobflow.structures.lammps_data import write_data

logger = logging.getLogger(__name__)

START_DATA = "start.data"
# segments in a row that may end where they began: a relaxation continues without counting steps
_MOST_IDLE_SEGMENTS = 3
# a stop waits for the next restart file, so it is asked for this many intervals between them ahead of the end
_LEAD_INTERVALS = 1.5


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
    """Run a protocol in `directory`, or continue the one that is there; a failed or stopped run is a result too.

    Parameters
    ----------
    engine, potential
        LAMMPS and its number of ranks; files of the potential, whose elements are the LAMMPS types.
    start
        Atoms (with velocities if they have any), a LAMMPS data file, or the ``final.restart`` of another protocol.
    protocol, directory, options
        The stages; one folder for one protocol; groups, output, limits.
    started
        Called with the process id of LAMMPS.
    deadline
        End of this process: LAMMPS stops in order before it.
    watch
        Ends the run early, in order and for good, at constant conditions (`Anneal`, `Hold`); other stages run whole.

    Raises
    ------
    InputError
        The folder holds another protocol, the potential lacks an element, or the disk is too full.
    RunError
        Another process runs the protocol in this folder, or segments make no progress.

    Examples
    --------
    >>> protocol = Protocol(name="anneal", stages=[Anneal(temperature_K=600, duration_ps=20)])
    >>> files = PotentialFiles(yace="pot.yace", elements=["Ge", "Sb", "Te"])
    >>> run_protocol(LammpsEngine.discover(), files, atoms, protocol, Path("run")).require_success()
    """
    # the recursive evaluator, the fastest on CPUs, has no GPU version
    if engine.gpus and options and options.pair_style == "recursive":
        options = options.model_copy(update={"pair_style": "product"})
    options = options or RunOptions(pair_style="product" if engine.gpus else "recursive")
    given = (_checked_potential(potential), start, protocol, Path(directory).resolve(), options)
    result = _ProtocolRun(engine, *given, started, deadline, watch).run()
    assert result is not None  # it executed, or was there
    _check_progress(result)
    return result


def _check_progress(result: ProtocolResult) -> None:
    last = result.segments[-_MOST_IDLE_SEGMENTS:]
    began = {segment.first_step for segment in last}
    if result.goes_on and len(last) == _MOST_IDLE_SEGMENTS and len(began) == 1 and result.reached_step in began:
        raise RunError(
            f"{len(last)} segments in a row ended at step {result.reached_step}, where they began",
            "give it a longer walltime, more ranks, or a smaller output.restart_every",
            "no_progress",
        )


def _checked_potential(potential: PotentialFiles) -> PotentialFiles:
    if potential.lines:
        return potential
    known = yace_elements(Path(potential.yace))
    if missing := sorted(set(potential.elements) - set(known)):
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


def _identity_of(potential: PotentialFiles) -> str:
    """Return the SHA-256 of the potential, wherever its files lie."""
    if not potential.lines:
        return _sha256(Path(potential.yace).read_bytes())
    text = "\n".join(potential.lines)
    for path in potential.other:
        text = text.replace(path, _sha256(Path(path).read_bytes()))
    return _sha256(text.encode())


@dataclass
class _ProtocolRun(SegmentedRun["ProtocolResult | None"]):
    engine: LammpsEngine
    potential: PotentialFiles
    start: Atoms | Path
    protocol: Protocol
    directory: Path
    options: RunOptions
    started: Callable[[int], None] | None
    deadline: Deadline | None
    watch: Watch | None
    executed: Literal["not yet", "whole", "refused"] = "not yet"
    identity_file: ClassVar[str] = "protocol.json"

    def identity(self) -> dict[str, Any]:
        if isinstance(self.start, str | os.PathLike):
            begin = Path(self.first_deck.start_file).read_bytes()
        else:
            atoms = self.start
            arrays = (atoms.numbers, np.asarray(atoms.cell), atoms.positions, atoms.get_momenta())
            begin = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        return {
            "name": self.protocol.name,
            "protocol": self.protocol.digest(),
            "potential": _identity_of(self.potential),
            "start": _sha256(begin),
            "groups": {name: group.model_dump(mode="json") for name, group in self.options.groups.items()},
            "create_velocities_K": self.options.create_velocities_K,
        }

    @cached_property
    def first_deck(self) -> DeckSpec:
        """The deck from the start of the protocol; atoms are written to a data file."""
        if isinstance(self.start, str | os.PathLike):
            path = Path(self.start).resolve()
            if not path.exists():
                raise InputError(f"there is no start file {path}", "give the final.data of the step before")
            kind = "restart" if restart_step(path) is not None else "data"
        else:
            path, kind = self.directory / START_DATA, "data"
            if not path.exists():
                write_start(path, self.start, self.potential.elements)
        return DeckSpec(
            **dict(self.options),
            protocol=self.protocol,
            potential=self.potential,
            start_file=str(path),
            start_kind=kind,
            new_clock=kind == "restart",
            on_gpu=self.engine.gpus > 0,
        )

    def read(self) -> ProtocolResult | None:
        return ProtocolResult.read(self.directory, self.potential.elements)

    def wants_segment(self, result: ProtocolResult | None) -> bool:
        if result is None or self.executed == "refused":
            return True
        if result.status == "finished" or result.failure_class in FINAL_FAILURES:
            return False
        return self.executed == "not yet" or self._ends_here(result)

    def execute(self) -> None:
        before = segment_folders(self.directory)
        if before:
            _mend(before[-1])
        else:
            needed = forecast_bytes(self.protocol, n_atoms(self.start), self.options.output)
            check_disk(self.directory, needed, f"'{self.protocol.name}'")
        spec = _limited(_continued(self._shortened(), before), self.deadline)
        folder = begin_segment(self.directory, spec.start_step, start_file=spec.start_file, ranks=self.engine.ranks)
        logger.info("protocol %s: %s from step %d", self.protocol.name, folder.name, spec.start_step)
        self._run_lammps(spec, folder)
        self.executed = "whole"
        refused = spec.continues and read_note(folder)["failure_class"] and lammps_log.failed_reading(_screen(folder))
        if refused:
            _refuse(Path(spec.start_file))
            self.executed = "refused"
            logger.warning("LAMMPS cannot read %s; the restart file before it is taken", spec.start_file)

    def _run_lammps(self, spec: DeckSpec, folder: Path) -> None:
        request = folder / deck.STOP_REQUEST
        request.unlink(missing_ok=True)
        generations = _Generations(folder)
        with (
            stopped_in_time(self.deadline, request.touch, generations.lead_s),
            watched(self.watch, folder, request.touch) as enough,
        ):
            run = self.engine.run(deck.render_deck(spec), folder, started=self.started)
        join_frames(folder)
        failure_class, error_line = _how_it_ended(run, request)
        end_segment(
            folder,
            failure_class=failure_class,
            error_line=error_line,
            wall_s=run.wall_s,
            us_per_atom_step=run.loop.us_per_atom_step if np.isfinite(run.loop.us_per_atom_step) else None,
            lammps_version=run.version,
            restart_sha256=secure(_restarts(folder)),
            enough=enough[0] if enough else "",
        )

    def _ends_here(self, result: ProtocolResult) -> bool:
        """Note that the run ends where `watch` stopped it, if the protocol can be cut there."""
        last, ended = result.segments[-1].directory, self.directory / ENDED_FILE
        reason = read_note(last).get("enough", "")
        if not reason or not result.goes_on or ended.exists():
            return False
        found = newest_restart(_restarts(last))
        if found is None or self.protocol.cut_at(found[1]) is None:
            return False
        write_text(ended, json.dumps({"step": found[1], "reason": reason}, indent=1) + "\n", durable=False)
        return True

    def _shortened(self) -> DeckSpec:
        """Return the deck of the protocol up to where it was ended early; all of it if it was not."""
        path = self.directory / ENDED_FILE
        if not path.exists():
            return self.first_deck
        shorter = self.protocol.cut_at(json.loads(path.read_text())["step"])
        return self.first_deck.model_copy(update={"protocol": shorter})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def n_atoms(start: Atoms | Path) -> int:
    """Return how many atoms a run starts with; 0 if only the binary restart file of another run tells."""
    if not isinstance(start, str | os.PathLike):
        return len(start)
    if restart_step(Path(start)) is not None:
        return 0
    with Path(start).open() as file:
        for line in file:
            words = line.split()
            if words[1:2] == ["atoms"]:
                return int(words[0])
    raise InputError(f"{start} has no line 'N atoms'", "give a LAMMPS data file")


def write_start(path: Path, atoms: Atoms, elements: list[str]) -> None:
    """Write a LAMMPS data file: types in the order of `elements`, velocities if the atoms move.

    Raises InputError if an element is not among `elements`.
    """
    if missing := sorted(set(atoms.get_chemical_symbols()) - set(elements)):
        raise InputError(
            f"the potential has no {', '.join(missing)}: its elements are {', '.join(elements)}",
            "use a potential fitted for all elements of the cell",
        )
    moving = atoms.has("momenta") and bool(np.any(atoms.get_momenta()))
    write_data(atoms, path, elements, velocities=moving)


def _how_it_ended(run: LammpsRun, request: Path) -> tuple[FailureClass, str]:
    if run.failure_class == "killed" and request.exists():
        # the queue's signal may reach LAMMPS itself, so a stop that was asked for may be a kill
        return "walltime", f"asked to stop, and {run.error_line}"
    return run.failure_class, run.error_line


def _mend(folder: Path) -> None:
    """Join the frames of a segment that was killed; refuse its restart files if the disk was full."""
    join_frames(folder)
    if says_full(_screen(folder)):
        # LAMMPS does not check whether its lines and frames are written, so nothing of that segment counts
        for path in filter(Path.exists, _restarts(folder)):
            _refuse(path)


def _refuse(restart: Path) -> None:
    restart.replace(restart.with_name(f"{restart.name}.refused"))


def _screen(folder: Path) -> str:
    return "\n".join(read_output(folder / name) for name in (LOG_FILE, SCREEN_FILE))


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
    """Watches the restart files of a running segment to learn how long the interval between them takes."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / name for name in deck.RESTART_GENERATIONS]
        self.seen: list[float] = [time.time()]
        self.interval_s = 0.0

    def lead_s(self) -> float:
        """Return how long before the end to ask for a stop, so that a restart file is still due, s."""
        newest = max((path.stat().st_mtime for path in self.paths if path.exists()), default=0.0)
        if newest > self.seen[-1]:
            if len(self.seen) > 1:  # the first one includes the start of the program
                self.interval_s = max(self.interval_s, newest - self.seen[-1])
            self.seen = [*self.seen, newest][-2:]
        return _LEAD_INTERVALS * self.interval_s


def _continued(first: DeckSpec, segments: list[Path]) -> DeckSpec:
    """Return the deck from the newest whole restart file of the segments, or the first deck if there is none."""
    held = [(folder, read_note(folder).get("restart_sha256", {})) for folder in segments]
    found = newest_restart([path for folder, sums in held for path in _restarts(folder) if is_as_secured(path, sums)])
    if found is None:
        return first
    path, step = found
    changes = {
        "start_file": str(path),
        "start_kind": "restart",
        "start_step": step,
        "new_clock": False,
        "relaxing": relaxing_from(path) is not None,
        "create_velocities_K": None,
    }
    return first.model_copy(update=changes)
