"""Measure the scaling of potentials: one job for each layout of ranks, and a study with all points."""

from __future__ import annotations

import io
import json
import logging
import math
import shlex
import tarfile
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.categories import in_category
from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.resources import Resources, request_resources
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import ArtifactRef, Attempt, Member, Potential, Study, now
from gst_jobflow.dynamics.deck import PairStyle, pair_lines
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import check_knows_elements, link_potential
from gst_jobflow.dynamics.single_point import cell_lines, end_line
from gst_jobflow.dynamics.work import measured_speed
from gst_jobflow.evaluation.scaling import (
    BASE_STEPS,
    FEWEST_STEPS,
    OUT_OF_MEMORY,
    WARM_UP_STEPS,
    Layout,
    PairLines,
    ScalingPlan,
    TimedRun,
    add_efficiency,
    base_repeat,
    block,
    block_repeat,
    scaling_deck,
    scaling_row,
    steps_for,
    timed_run,
)
from gst_jobflow.flows.study import store_finished
from gst_jobflow.store import Results
from gst_jobflow.store.context import continuation, job_deadline, job_results, job_uuid, work_directory
from gst_jobflow.store.work import Allotment, ExpectedCost
from gst_jobflow.structures.composition import parse_formula
from gst_jobflow.structures.lammps_data import write_data

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

GRACE_STYLE = "grace/fs"
_RUN_FILE = "run.json"
# a run is begun only if this many times the longest one so far is left
_SPARE = 1.5


@dataclass
class ScalingMaker(Maker):
    """Time potentials side by side on several layouts of ranks and sizes of cells.

    Examples
    --------
    >>> plan = ScalingPlan(mode="strong", n_atoms=[20_000], ranks=[1, 2])
    >>> flow = ScalingMaker(study_name="strong", plan=plan).make([potential_id])  # doctest: +SKIP
    >>> submit(flow, find_project())  # doctest: +SKIP
    """

    name: str = "scaling"
    study_name: str = "scaling"
    plan: ScalingPlan = field(default_factory=lambda: ScalingPlan(mode="strong", n_atoms=[20_000], ranks=[1, 2]))

    def make(self, potential_ids: list[str]) -> Flow:
        """Flow of one job for each layout, and of the one that collects them.

        Jobs without nodes run one after the other, since they share a machine.
        """
        jobs: list[Job] = []
        for layout in self.plan.layouts:
            before = jobs[-1].output["done"] if jobs and not layout.nodes else None
            timing = LayoutMaker(plan=self.plan).make(potential_ids, layout, before)
            timing.name = f"scaling {layout}"
            shape = {"nodes": layout.nodes, "ranks_per_node": self.plan.ranks_per_node}
            request_resources(timing, Resources(**(shape if layout.nodes else {"ranks": layout.ranks})))
            jobs.append(timing)
        together = collect_scaling(
            uuid.uuid4().hex, self.study_name, self.plan, potential_ids, [each.output for each in jobs]
        )
        return Flow([*jobs, together], output=together.output, name=f"scaling {self.study_name}")


@dataclass(frozen=True)
class ScalingWork:
    """All runs of a job."""

    plan: ScalingPlan
    potential_ids: list[str]
    layout: Layout

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the time of runs: of their steps at the speed of earlier runs, and not below what the plan aims at."""
        plan, sizes = self.plan, self.plan.sizes(self.layout)
        names = [*self.potential_ids, *(pair.name for pair in plan.pair_styles)]
        runs = len(sizes) * plan.repeats * len(names)
        work = f"{runs} runs of {min(sizes):,} to {max(sizes):,} atoms on {self.layout}"
        speeds = [allotment.once(("speed", id), partial(measured_speed, id, allotment)) for id in self.potential_ids]
        known = [speed.core_us for speed in speeds if speed is not None]
        if not known and plan.n_steps is not None:
            return allotment.expected(
                work, "no run of molecular dynamics has been measured here: run a short one first"
            )
        # a potential or pair style that was never measured counts as the slowest known one
        slowest = max(known, default=0.0)
        each_us = [*known, *[slowest] * (len(names) - len(known))]
        seconds = sum(self._seconds(size, core_us) for size in sizes for core_us in each_us) * plan.repeats
        basis = "speed of earlier runs" if known else f"{plan.seconds:g} s a run; large cells take longer"
        return allotment.expected(work, basis, seconds * self.layout.ranks / 3600, seconds / 3600)

    def _seconds(self, n_atoms: int, core_us: float) -> float:
        """Return the time of one run, s."""
        step_s = n_atoms * core_us * 1e-6 / self.layout.ranks
        steps = self.plan.n_steps or FEWEST_STEPS
        return max((WARM_UP_STEPS + steps) * step_s, 0.0 if self.plan.n_steps else self.plan.seconds)


@in_category("md")
@dataclass
class LayoutMaker(Maker):
    """Time all potentials on one layout of ranks; a finished run is not repeated when the job runs again."""

    name: str = "scaling"
    plan: ScalingPlan = field(default_factory=lambda: ScalingPlan(mode="strong", n_atoms=[20_000], ranks=[1, 2]))

    def work(self, potential_ids: list[str], layout: Layout, before: Any = None) -> ScalingWork:
        """Return the runs of :meth:`make`."""
        return ScalingWork(self.plan, potential_ids, layout)

    @job
    def make(self, potential_ids: list[str], layout: Layout, before: Any = None) -> dict[str, Any]:
        """Run them after the job whose output is `before`; one that is killed or stopped by its walltime continues.

        Returns `rows`, the points of this layout; `logs`, an archive of all runs with input, log and numbers; `done`.
        """
        results, settings = job_results(), find_project().settings
        layout = Layout.model_validate(layout)
        engine = lammps_engine(settings, None if settings.lammps.gpus else layout.ranks)
        if engine.ranks != layout.ranks:
            raise RunError(
                f"this job has {engine.ranks} ranks, not {layout.ranks}", "see queue.md in gst.yaml", "bad_input"
            )
        runner = LayoutRunner(
            results, self.plan, layout, engine, work_directory(results, "scaling"), job_deadline(settings)
        )
        rows = runner.run(potential_ids)
        if rows is None:
            return continuation(self.make(potential_ids, layout, before))
        return {"rows": rows, "logs": runner.store_logs().model_dump(mode="json"), "done": True}


@dataclass(frozen=True)
class Contestant:
    """A potential or pair style that is measured; `folder` names its runs."""

    name: str
    potential_id: str | None
    style: str
    elements: list[str]
    lines: list[str]
    folder: str


@dataclass
class LayoutRunner:
    """Runs all points of one layout in a folder; each run leaves its numbers there, so that none is repeated."""

    results: Results
    plan: ScalingPlan
    layout: Layout
    engine: LammpsEngine
    directory: Path
    deadline: Deadline | None

    def __post_init__(self) -> None:
        self.cell = block(self.plan.composition, self.plan.material)
        self.longest_s = 0.0
        self.cut = False

    def run(self, potential_ids: list[str]) -> list[dict[str, Any]] | None:
        """Return the rows of all points, None if time was short; failures but for lack of memory are a RunError."""
        those = contestants(self.results, self.plan, potential_ids, self.engine, self.directory)
        bases = {each.folder: self._run(each, base_repeat(self.layout.ranks), "base") for each in those}
        found: dict[tuple[str, int], list[TimedRun]] = {}
        for asked, n_atoms in zip(sorted(self.plan.n_atoms), self.plan.sizes(self.layout), strict=True):
            repeat = block_repeat(n_atoms, len(self.cell))
            for number in range(self.plan.repeats):
                for each in those:
                    if self.cut:
                        return None
                    base, key = bases[each.folder], (each.folder, asked)
                    if base is None or base.failure_class or self._is_hopeless(found, each, asked):
                        continue
                    if (timed := self._run(each, repeat, str(number + 1), base)) is not None:
                        found.setdefault(key, []).append(timed)
        return None if self.cut else [row for each in those for row in self._rows(each, found, bases[each.folder])]

    def _is_hopeless(self, found: dict[tuple[str, int], list[TimedRun]], each: Contestant, asked: int) -> bool:
        """Whether this cell, or a smaller one, was out of memory."""
        return any(
            folder == each.folder and size <= asked and any(run.failure_class for run in runs)
            for (folder, size), runs in found.items()
        )

    def _run(
        self, each: Contestant, repeat: tuple[int, int, int], name: str, base: TimedRun | None = None
    ) -> TimedRun | None:
        """Return a run, from its file if it has ended before; None if the job has no time for it."""
        n_atoms = len(self.cell) * math.prod(repeat)
        folder = self.directory / each.folder / f"{n_atoms}-{name}"
        note = json.loads((folder / _RUN_FILE).read_text()) if (folder / _RUN_FILE).exists() else {}
        n_steps = steps_for(self.plan, base, n_atoms) if base else BASE_STEPS
        if "begun" not in note and note:
            return TimedRun(**note)
        if note and (reason := self._died_for_memory(note["begun"])):
            lost = TimedRun(OUT_OF_MEMORY, reason, n_atoms, n_steps)
            write_text(folder / _RUN_FILE, json.dumps(asdict(lost)))
            return lost
        left_s = self.deadline.left_s() if self.deadline else None
        if left_s is not None and left_s < _SPARE * self.longest_s:
            self.cut = True
            return None
        return self._begin(each, folder, repeat, (n_atoms, n_steps), left_s)

    def _begin(
        self,
        each: Contestant,
        folder: Path,
        repeat: tuple[int, int, int],
        size: tuple[int, int],
        left_s: float | None,
    ) -> TimedRun | None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _RUN_FILE, json.dumps({"begun": now().isoformat()}))
        write_data(self.cell, folder / "0.data", each.elements)
        deck = scaling_deck(self.plan, each.lines, repeat, size[1])
        timed = timed_run(self.engine, deck, folder, size, self.plan.memory_limit_GB, left_s)
        if timed.failure_class == "killed" and left_s is not None and timed.wall_s >= left_s and self.longest_s:
            self.cut = True
            return None
        if timed.failure_class and timed.failure_class != OUT_OF_MEMORY:
            raise RunError(
                f"LAMMPS failed with {each.name} and {size[0]:,} atoms ({timed.failure_class}): {timed.reason}",
                f"see {folder}; finished runs are kept, and gst recover --failed goes on with the others",
                timed.failure_class,
            )
        self.longest_s = max(self.longest_s, timed.wall_s)
        write_text(folder / _RUN_FILE, json.dumps(asdict(timed)))
        logger.info("%s, %s atoms on %s: %s", each.name, size[0], self.layout, timed.failure_class or timed.loop_s)
        return timed

    def _died_for_memory(self, begun: str) -> str:
        """Return why the attempt that began a run ended, if that was for lack of memory; else an empty text."""
        uuid = job_uuid()
        earlier = self.results.find(Attempt, {"job_uuid": uuid}, sort=[("started_at", -1)]) if uuid else ()
        for attempt in earlier:
            if attempt.started_at.replace(tzinfo=None).isoformat() <= begun.split("+")[0]:
                return attempt.reason if attempt.failure_class == OUT_OF_MEMORY else ""
        return ""

    def _rows(
        self, each: Contestant, found: dict[tuple[str, int], list[TimedRun]], base: TimedRun | None
    ) -> list[dict[str, Any]]:
        rows = []
        for asked, n_atoms in zip(sorted(self.plan.n_atoms), self.plan.sizes(self.layout), strict=True):
            runs = found.get((each.folder, asked), [base] if base and base.failure_class else [])
            head = {
                "mode": self.plan.mode,
                "potential": each.name,
                "potential_id": each.potential_id,
                "pair_style": each.style,
                "nodes": self.layout.nodes,
                "ranks": self.layout.ranks,
                "asked_atoms": asked,
                "n_atoms": len(self.cell) * math.prod(block_repeat(n_atoms, len(self.cell))),
            }
            assert base is not None  # without it, time was short
            rows.append(head | scaling_row(runs, base, self.layout))
        return rows

    def store_logs(self) -> ArtifactRef:
        """Store an archive of the inputs, logs and numbers of all runs."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name in ("in.lammps", "log.lammps", "timed.log", _RUN_FILE):
                for path in sorted(self.directory.glob(f"*/*/{name}")):
                    archive.add(path, str(path.relative_to(self.directory)))
        return self.results.artifacts.put_bytes(buffer.getvalue(), f"scaling-{self.layout.ranks}-ranks.tar.gz")


def contestants(
    results: Results, plan: ScalingPlan, potential_ids: list[str], engine: LammpsEngine, directory: Path
) -> list[Contestant]:
    """Return all that a study measures, with files of potentials linked into `directory`; raises as `check_styles`."""
    potentials = [results.get(Potential, id) for id in potential_ids]
    check_styles(plan, potentials, engine)
    found = []
    for potential in potentials:
        folder = f"{potential.id[:8]}"
        (directory / folder).mkdir(exist_ok=True)
        style, lines = _lines_of(results, potential, engine, directory / folder)
        found.append(Contestant(potential.name, potential.id, style, potential.elements, lines, folder))
    for number, pair in enumerate(plan.pair_styles):
        found.append(Contestant(pair.name, None, pair.style, pair.elements, pair.lines, f"pair-{number + 1}"))
    return found


def _lines_of(results: Results, potential: Potential, engine: LammpsEngine, folder: Path) -> tuple[str, list[str]]:
    """Return pair style and input lines of a potential."""
    if potential.kind == "grace/fs":
        ref = potential.artifacts.yaml
        assert ref is not None  # GRACE/FS has a yaml
        path = shlex.quote(str(results.artifacts.fetch(ref, folder)))
        return GRACE_STYLE, [f"pair_style {GRACE_STYLE}", f"pair_coeff * * {path} {' '.join(potential.elements)}"]
    style: PairStyle = "product" if engine.gpus else "recursive"
    files = link_potential(results, potential, folder)
    return files.style or f"pace {style}", pair_lines(files, style)


def check_styles(plan: ScalingPlan, potentials: list[Potential], engine: LammpsEngine) -> None:
    """Refuse a plan whose GRACE/FS potentials or pair styles LAMMPS cannot run (InputError)."""
    needed = [(each.name, GRACE_STYLE) for each in potentials if each.kind == "grace/fs"]
    needed += [(pair.name, style) for pair in plan.pair_styles for style in pair.styles]
    for name, style in needed:
        if style in engine.styles():
            continue
        package = "the ML-PACE that has it" if style == GRACE_STYLE else "the package that has it"
        raise InputError(
            f"{name} needs pair style {style}, which {engine.command[0]} lacks",
            f"build LAMMPS with {package} and name it in gst.yaml (lammps.command), or leave {name} out",
        )


def check_pair_lines(plan: ScalingPlan, engine: LammpsEngine | None) -> None:
    """Refuse pair styles whose lines LAMMPS does not accept, found by runs without a step (InputError).

    Without an engine, as where only the jobs of a queue can run LAMMPS, refuse lines that name a missing file.
    """
    cell = block(plan.composition, plan.material)
    for pair in plan.pair_styles:
        reason = _missing_file(pair) if engine is None else _refusal(pair, cell, engine)
        if reason:
            raise InputError(
                f"pair style {pair.name}: {reason}", "correct its lines; they name files by their absolute paths"
            )


def _missing_file(pair: PairLines) -> str:
    words = [word for line in pair.lines for word in _words(line)]
    return next((f"{word} does not exist" for word in words if word.startswith("/") and not Path(word).exists()), "")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # LAMMPS may know how to read it
        return line.split()


def _refusal(pair: PairLines, cell: Atoms, engine: LammpsEngine) -> str:
    """Return the error of LAMMPS; empty if it accepts the lines."""
    with tempfile.TemporaryDirectory(prefix="gst_scaling_") as name:
        write_data(cell, Path(name) / "0.data", pair.elements)
        ended = engine.run("\n".join([*cell_lines(0), *pair.lines, "run 0", end_line(), ""]), Path(name))
    return ended.error_line or str(ended.failure_class)


def check_contestants(plan: ScalingPlan, potentials: list[Potential]) -> None:
    """Refuse to compare nothing, potentials of one name, and those that lack an element of the cell (InputError)."""
    elements = sorted(parse_formula(plan.composition))
    for each in potentials:
        check_knows_elements(each, elements, "choose a --composition of its elements")
    for pair in plan.pair_styles:
        if missing := set(elements) - set(pair.elements):
            raise InputError(
                f"pair style {pair.name} has no {', '.join(sorted(missing))}", "choose a --composition of its elements"
            )
    names = [each.name for each in potentials] + [pair.name for pair in plan.pair_styles]
    if not names:
        raise InputError("which potentials?", "give ids or names; gst query potentials lists them")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two potentials are named {twice}", "figures tell them apart by name: leave one out")


@job(name="collect")
def collect_scaling(
    study_id: str, name: str, plan: ScalingPlan, potential_ids: list[str], parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Store the study of all layouts and write its page; return `study_id`, `table`, `page`."""
    results = job_results()
    table = [row for part in parts for row in part["rows"]]
    table.sort(key=lambda row: (row["potential"], row["ranks"], row["n_atoms"]))
    add_efficiency(table, plan.mode)
    study = Study(
        id=study_id,
        name=name,
        kind="scaling",
        plan=plan.model_dump(mode="json"),
        members=[Member(collection="potentials", id=id, role="measured") for id in potential_ids],
        table=table,
        files=[ArtifactRef.model_validate(part["logs"]) for part in parts],
    )
    return store_finished(results, study)
