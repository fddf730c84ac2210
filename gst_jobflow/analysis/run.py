"""Analyse the frames of runs and structures in several processes; numbers and arrays are stored frame by frame."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.analysis.frame import Answers, FrameOptions, analyse_frame, analysis_named
from gst_jobflow.analysis.growth import growth_rows
from gst_jobflow.analysis.motifs import first_minima
from gst_jobflow.analysis.plan import GROWTH, AnalysisPlan, run_options
from gst_jobflow.analysis.series import Row, Series, SeriesWriter
from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.processes import die_with_parent
from gst_jobflow.documents import Structure, Study, Trajectory
from gst_jobflow.documents.base import derive_id, now
from gst_jobflow.documents.study import Member
from gst_jobflow.selection.decorrelation import statistical_inefficiency
from gst_jobflow.selection.frames import FoundStructure, states_of
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import get_located

MOST_STRUCTURES = 5000
_RDF_FRAMES, _RDF_REACH_A = 10, 8.0
_SMALL_ATOMS = 100_000
"""Together in the frames that are analysed at once; of larger ones there are two in memory."""
_FIRST_ATOMS = 60_000
"""In the frames that one process analyses before others start: their analysis takes about as long as such a start."""


def analyse_frames(
    frames: Iterable[tuple[FoundStructure, Sequence[str]]], options: FrameOptions, processes: int = 1
) -> Iterator[tuple[FoundStructure, Answers]]:
    """Yield each frame with its answers by analysis, in order; a text says why there is none.

    Each frame comes with the names of the analyses to do. Small frames are shared among the processes, if there are
    many. A large one has all their cores as threads, and no more than two are in memory. Each process has a main thread
    of its own, as OVITO needs. Raises RunError if a process was killed.
    """
    waiting: deque[tuple[FoundStructure, Sequence[str], Future[Answers] | None]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=die_with_parent()) as pool:
        seen = 0
        for frame, names in frames:
            sharing = max(1, min(processes, _SMALL_ATOMS // max(1, len(frame.atoms))))
            threads = 1 if sharing > 1 else processes
            at_once = sharing if seen >= _FIRST_ATOMS else 1
            seen += len(frame.atoms)
            future = None if frame.problem else pool.submit(analyse_frame, frame.atoms, options, names, threads)
            waiting.append((frame, names, future))
            while len(waiting) >= at_once:
                yield _answer(*waiting.popleft())
        while waiting:
            yield _answer(*waiting.popleft())


@dataclass(frozen=True)
class Analysed:
    """What was done of one run or set of structures.

    `series` holds each analysis that was asked for, also of frames that had been done. `left`: time was up before all
    frames were done.
    """

    series: dict[str, Series]
    left: bool = False

    @property
    def problems(self) -> int:
        """Frames that could not be analysed, counted for each analysis."""
        return sum("problem" in row for each in self.series.values() for row in each.rows.values())

    def table(self) -> list[Row]:
        """Return a row a frame with the numbers of all analyses; what could not be done has a `problem`."""
        rows: dict[int, Row] = {}
        for each in self.series.values():
            for step, row in each.rows.items():
                into = rows.setdefault(step, {})
                known = into.get("problem")
                into |= {name: value for name, value in row.items() if name != "arrays"}
                if known and known != into["problem"]:
                    into["problem"] = f"{known}; {into['problem']}"
        return [rows[step] for step in sorted(rows)]


def analyse_trajectory(
    results: Results,
    run: Trajectory,
    plan: AnalysisPlan,
    *,
    processes: int = 1,
    tell: Callable[[str], None] = lambda _: None,
    time_is_up: Callable[[], bool] = lambda: False,
) -> Analysed:
    """Analyse the frames of a run that were not analysed so, its last state always; store them in its `analysis`.

    `tell` is called with what is wrong with a frame; `time_is_up` is asked after each frame.

    Raises
    ------
    InputError
        There are no frames, or a reference does not fit.
    RunError
        A process was killed.
    """
    options = run_options(results, run, plan)
    if options.needs_bonds:
        options = replace(options, bonds_A=bonds_of(states_of(results, run)))
    frames = states_of(results, run, plan.every_of(run.n_frames))
    done = _analyse(results, run, options, frames, processes, tell, time_is_up)
    if GROWTH in plan.what and not done.left:
        done.series[GROWTH] = _growth(results, run, plan, done.series)
    return done


def analyse_stored(
    results: Results,
    structure_ids: Sequence[str],
    name: str,
    plan: AnalysisPlan,
    processes: int,
    tell: Callable[[str], None] = lambda _: None,
    time_is_up: Callable[[], bool] = lambda: False,
) -> tuple[Analysed, Study]:
    """Analyse stored structures of one composition; the same ones by the same plan are one study.

    Raises InputError if there are none, too many, or they have several compositions and k-bar is asked for.
    """
    if not 0 < len(structure_ids) <= MOST_STRUCTURES:
        raise InputError(f"{len(structure_ids)} structures", f"name between 1 and {MOST_STRUCTURES}")
    found = results.database["structures"].distinct("formula", {"_id": {"$in": list(structure_ids)}})
    if len(found) > 1 and "k-bar" in plan.what:
        raise InputError(
            f"k-bar compares with crystals of one composition, and there are {', '.join(sorted(found)[:5])}",
            "-w formula=…",
        )
    id = derive_id("analysis", plan.model_dump(mode="json"), list(structure_ids))
    members = [Member(collection=Structure.collection, id=each, role="analysed") for each in structure_ids]
    settings = plan.model_dump(mode="json")
    results.add(Study(id=id, name=name, kind="analysis", state="running", plan=settings, members=members))
    study = results.get(Study, id)
    options = plan.frame_options(plan.crystals(results, found[0]))
    if options.needs_bonds:
        options = replace(options, bonds_A=bonds_of(_stored_frames(results, structure_ids)))
    done = _analyse(results, study, options, _stored_frames(results, structure_ids), processes, tell, time_is_up)
    if not done.left and study.table != done.table():
        means = {f"outcome.means.{key}": value for each in done.series.values() for key, value in summary(each).items()}
        values = {"table": done.table(), "state": "finished", "finished_at": now().isoformat(), **means}
        results.update("studies", id, values)
    return done, results.get(Study, id)


def _stored_frames(results: Results, structure_ids: Sequence[str]) -> Iterator[FoundStructure]:
    """Yield stored structures with their places as steps."""
    for place, id in enumerate(structure_ids):
        yield FoundStructure(id, load_atoms(results, id), structure_id=id, step=place)


def _analyse(
    results: Results,
    document: Trajectory | Study,
    options: FrameOptions,
    frames: Iterable[FoundStructure],
    processes: int,
    tell: Callable[[str], None],
    time_is_up: Callable[[], bool],
) -> Analysed:
    writers = {
        name: SeriesWriter(results, document, name, analysis_named(name).described(options)) for name in options.what
    }

    def left() -> Iterator[tuple[FoundStructure, list[str]]]:
        for found in frames:
            names = [name for name, writer in writers.items() if not writer.is_done(int(found.step or 0))]
            if names:
                yield found, names

    stopped = False
    for found, answers in analyse_frames(left(), options, processes):
        step, head = int(found.step or 0), _head(document, found)
        for name, answer in answers.items():
            if isinstance(answer, str):
                tell(f"{found.name}: {answer}")
                writers[name].put(step, {**head, "problem": answer})
            else:
                writers[name].put(step, {**head, **answer[0]}, answer[1])
        if stopped := time_is_up():
            break
    return Analysed({name: writer.series for name, writer in writers.items()}, stopped)


def _head(document: Trajectory | Study, found: FoundStructure) -> Row:
    if isinstance(document, Study):
        return {"frame": found.name}
    step = int(found.step or 0)
    return {"step": step, "time_ps": step * document.timestep_fs * 1e-3}


def bonds_of(frames: Iterable[FoundStructure]) -> dict[tuple[str, str], float]:
    """Return the first minima of g(r) averaged over the first frames; NaN for pairs without one."""
    sound = (each.atoms for each in frames if not each.problem)
    return first_minima(radial_distribution(islice(sound, _RDF_FRAMES), _RDF_REACH_A))


def _growth(results: Results, run: Trajectory, plan: AnalysisPlan, series: dict[str, Series]) -> Series:
    """Split what crystallised through the frames; done anew as a whole, for grains keep names from frame to frame."""
    crystal, label = series["tellurium"], series["grains"]
    described = {
        "definition": "crystal-like atoms since the first state that are in grains joined to crystal of that state, in "
        "other grains, or in none; grains are followed by the atoms that they share",
        "parameters": {"crystal": crystal.key, "grains": label.key, "since": plan.since},
        "versions": label.described["versions"],
    }
    writer = SeriesWriter(results, run, GROWTH, described)
    steps = [step for step in crystal.steps if step in label.steps]
    if all(writer.is_done(step) for step in steps):
        return writer.series
    first = None if plan.since is None else _end_of(results, run, plan)
    masks = (crystal.arrays(results.artifacts, step)["crystalline"] > 0 for step in steps)
    labels = (label.arrays(results.artifacts, step)["grain"].astype(int) for step in steps)
    for step, (numbers, arrays) in zip(steps, growth_rows(masks, labels, first), strict=True):
        writer.put(step, {"step": step, "time_ps": step * run.timestep_fs * 1e-3, **numbers}, arrays)
    return writer.series


def _end_of(results: Results, run: Trajectory, plan: AnalysisPlan) -> np.ndarray:
    before = get_located(results, Trajectory, str(plan.since))
    if before.final_structure_id is None or before.n_atoms != run.n_atoms:
        raise DataError(f"trajectory {before.id} has no last state of the same atoms", "name one of the same cell")
    return crystallinity(
        load_atoms(results, before.final_structure_id), None, plan.rmsd_cutoff, plan.material.anion
    ).mask


def summary(series: Series) -> dict[str, dict[str, float | None]]:
    """Return mean and standard error of each number over the frames.

    The error counts correlated frames once: std √(g/N) with the statistical inefficiency g. It is None where fewer
    than 20 frames, or a constant, cannot tell it.
    """
    found = {}
    for name in series.numbers:
        values = series.column(name)[1]
        values = values[np.isfinite(values)]
        if len(values) == 0:
            continue
        try:
            inefficiency = statistical_inefficiency(values)
            error = float(np.std(values, ddof=1) * np.sqrt(inefficiency / len(values)))
        except DataError:
            error = None
        found[name] = {"mean": float(values.mean()), "error": error}
    return found


def _answer(
    frame: FoundStructure, names: Sequence[str], future: Future[Answers] | None
) -> tuple[FoundStructure, Answers]:
    if future is None:
        return frame, dict.fromkeys(names, frame.problem)
    try:
        return frame, future.result()
    except BrokenProcessPool as error:
        raise RunError(f"a process was killed at {frame.name}", "use fewer processes: memory may be short") from error
