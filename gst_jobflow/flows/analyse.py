"""Analyse the frames of trajectories and files in several processes; store numbers and arrays as a study."""

from __future__ import annotations

import io
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.analysis.frame import Answer, FrameOptions, analyse_frame
from gst_jobflow.analysis.motifs import first_minima
from gst_jobflow.base.errors import DataError, GstError, RunError
from gst_jobflow.documents import Cycle, Study, Trajectory
from gst_jobflow.documents.base import ArtifactRef, derive_id, now
from gst_jobflow.documents.study import Member
from gst_jobflow.selection.decorrelation import statistical_inefficiency
from gst_jobflow.selection.frames import FoundStructure, iter_trajectory

if TYPE_CHECKING:
    from gst_jobflow.store import Results

_RDF_FRAMES, _RDF_REACH_A = 10, 8.0
_PROGRAMS = ("gst_jobflow", "ovito", "numba", "matscipy")
_NO_SERIES = ("step", "frame", "problem", "time_ps")

Row = dict[str, Any]


def analyse_frames(
    frames: Iterable[FoundStructure], options: FrameOptions, processes: int = 1
) -> Iterator[tuple[FoundStructure, Answer | str]]:
    """Yield each frame with its numbers and arrays, or with what is wrong with it, in order.

    No more frames are in memory than processes, and one. Each process has a main thread of its own, as OVITO needs.

    Raises
    ------
    RunError
        A process was killed.
    """
    waiting: deque[tuple[FoundStructure, Future[Answer]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for frame in frames:
            waiting.append((frame, pool.submit(analyse_frame, frame.atoms, options)))
            if len(waiting) >= processes:
                yield _answer(*waiting.popleft())
        while waiting:
            yield _answer(*waiting.popleft())


def bonds_of(frames: Iterable[FoundStructure]) -> dict[tuple[str, str], float]:
    """Return the first minima of g(r) averaged over the first frames; NaN for pairs without one."""
    return first_minima(radial_distribution((each.atoms for each in islice(frames, _RDF_FRAMES)), _RDF_REACH_A))


def analyse_trajectory(
    results: Results,
    trajectory: Trajectory,
    options: FrameOptions,
    *,
    every: int = 1,
    processes: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Study:
    """Analyse the frames of a trajectory that were not analysed with these options; return the study of all of them.

    The study keeps the definitions, parameters and versions, a row a frame (with `problem` where a frame could not be
    analysed) and, for each frame, its arrays as ``step_N.npz`` in float32. What is done is stored frame by frame.
    """
    if trajectory.cycle_id is not None and options.mobile is None:
        first, last = results.get(Cycle, trajectory.cycle_id).groups["mobile"]
        options = replace(options, mobile=(first, last))
    study = _study(results, trajectory, options, every)
    if "motifs" in options.what and not options.bonds_A:
        bonds = {tuple(pair.split("-")): end for pair, end in study.plan.get("bonds_A", {}).items()}
        if not bonds:
            bonds = bonds_of(iter_trajectory(results, trajectory, every))
            study.plan["bonds_A"] = {f"{a}-{b}": _plain(r) for (a, b), r in bonds.items()}
        ends = {(a, b): float("nan") if r is None else r for (a, b), r in bonds.items()}
        options = replace(options, bonds_A=ends)
    results.add(study)
    rows = {row["step"]: row for row in study.table if "problem" not in row}
    files = list(study.files)
    left = (frame for frame in iter_trajectory(results, trajectory, every) if frame.step not in rows)
    for frame, answer in analyse_frames(left, options, processes):
        rows[frame.step], file = _row(results, trajectory, frame, answer)
        files += file
        if isinstance(answer, str):
            tell(f"{frame.name}: {answer}")
        table = [rows[step] for step in sorted(rows)]
        _update(results, study.id, table, files, "running")
    table = [rows[step] for step in sorted(rows)]
    state = "failed" if all("problem" in row for row in table) else "finished"
    _update(results, study.id, table, files, state, plan=study.plan, outcome=summary(table))
    return results.get(Study, study.id)


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Return mean and standard error of each number over the frames.

    The error counts correlated frames once: std √(g/N) with the statistical inefficiency g. It is None where fewer
    than 20 frames, or a constant, cannot tell it.
    """
    found = {}
    names = {name: None for row in rows for name in row if name not in _NO_SERIES}
    for name in names:
        values = np.array([row[name] for row in rows if row.get(name) is not None], dtype=float)
        if len(values) == 0:
            continue
        try:
            error = float(np.std(values, ddof=1) * np.sqrt(statistical_inefficiency(values) / len(values)))
        except DataError:
            error = None
        found[name] = {"mean": float(values.mean()), "error": error}
    return found


def _answer(frame: FoundStructure, future: Future[Answer]) -> tuple[FoundStructure, Answer | str]:
    try:
        return frame, future.result()
    except GstError as error:
        return frame, error.message
    except BrokenProcessPool as error:
        raise RunError(f"a process was killed at {frame.name}", "use fewer processes: memory may be short") from error


def _study(results: Results, trajectory: Trajectory, options: FrameOptions, every: int) -> Study:
    """Return the stored study of this trajectory with these options, or a new one."""
    plan: dict[str, Any] = {
        "what": list(options.what),
        "every": every,
        "k_bar_cutoff": options.k_bar_cutoff,
        "rmsd_cutoff": options.rmsd_cutoff,
        "min_anions": options.min_anions,
        "mobile": list(options.mobile) if options.mobile else None,
        "versions": {name: version(name) for name in _PROGRAMS},
    }
    if options.known is not None:
        plan["soap"] = {**asdict(options.known.options), "references": options.known.crystals}
    if options.bonds_A:
        plan["bonds_A"] = {f"{a}-{b}": _plain(r) for (a, b), r in options.bonds_A.items()}
    id = derive_id("analysis", trajectory.id, plan)
    if results.database["studies"].count_documents({"_id": id}, limit=1):
        return results.get(Study, id)
    member = Member(collection="trajectories", id=trajectory.id, role="analysed")
    name = f"{trajectory.name}: {', '.join(options.what)}"
    return Study(id=id, name=name, kind="analysis", state="running", plan=plan, members=[member])


def _row(
    results: Results, trajectory: Trajectory, frame: FoundStructure, answer: Answer | str
) -> tuple[Row, list[ArtifactRef]]:
    assert frame.step is not None
    row: Row = {"step": frame.step, "time_ps": frame.step * trajectory.timestep_fs * 1e-3}
    if isinstance(answer, str):
        return {**row, "problem": answer}, []
    numbers, arrays = answer
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: values.astype(np.float32) for name, values in arrays.items()})  # type: ignore[arg-type]
    file = [results.artifacts.put_bytes(stream.getvalue(), f"step_{frame.step}.npz")] if arrays else []
    return {**row, **numbers}, file


def _update(results: Results, id: str, table: list[Row], files: list[ArtifactRef], state: str, **more: Any) -> None:
    values = {"table": table, "files": [file.model_dump(mode="json") for file in files], "state": state, **more}
    if state != "running":
        values["finished_at"] = now().isoformat()
    results.update("studies", id, values)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
