"""Measure how a potential scales: what is run, one timed run of LAMMPS, and the row of several.

The kinds of study are those of the reference paper (doi 10.1038/s41467-025-63732-4, Fig. 1c–e): weak scaling, strong
scaling, steps a day against the number of atoms, and the largest cell that fits into memory.
"""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import psutil
from ase import Atoms
from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.dynamics.deck import pair_style_of
from gst_jobflow.dynamics.engine import LammpsEngine, LammpsRun
from gst_jobflow.dynamics.log import loop_parts, loop_time
from gst_jobflow.dynamics.memory import WAIT_SCRIPT, PeakMemory, kills_for_memory
from gst_jobflow.dynamics.single_point import cell_lines, end_line
from gst_jobflow.evaluation.speed import REPEAT, SPACING_A, processor, simple_cubic
from gst_jobflow.structures.composition import parse_formula
from gst_jobflow.structures.crystals import rocksalt
from gst_jobflow.structures.material import Material, OfMaterial

Mode = Literal["weak", "strong", "size", "memory"]
OUT_OF_MEMORY = "out_of_memory"
MAX_POINTS = 500
WARM_UP_STEPS, FEWEST_STEPS = 2, 5
"""Steps before a timed run, and its fewest steps."""
_MOST_STEPS = 20_000
BASE_STEPS = 20
"""Steps of the run of the smallest cell."""
# a rank needs a few dozen atoms for its cell to be divided
_BASE_RANKS = 8
PARTS = ("pair", "neigh", "comm", "output", "modify", "other")
"""Parts of LAMMPS' own breakdown."""
NUMBERS = (
    "n_steps", "loop_s", "us_per_atom_step", "us_per_atom_step_low", "us_per_atom_step_high", "core_us_per_atom_step",
    "steps_per_day", *(f"{name}_s" for name in PARTS), "comm_share", "pair_imbalance", "cpu_use", "peak_rss_MB",
    "base_rss_MB", "memory_B_per_atom", "load", "host", "processor", "lammps_version",
)  # fmt: skip
"""Fields of a row that are null where nothing was measured."""


class PairLines(StrictModel):
    """A pair style of LAMMPS by its input lines, to be measured beside the project's potentials.

    File names in the lines must be absolute.
    """

    name: str = Field(min_length=1, description="Name in table and figures")
    elements: list[str] = Field(min_length=1, description="Elements in the order of LAMMPS' atom types")
    lines: list[str] = Field(min_length=1, description="pair_style, pair_coeff and whatever else belongs to them")

    @model_validator(mode="after")
    def _sets_a_style(self) -> PairLines:
        if not self.style:
            raise UnfitValueError(f"pair style {self.name} has no line 'pair_style …'", "add it to its lines")
        return self

    @property
    def style(self) -> str:
        """The pair style as in the input."""
        return pair_style_of(self.lines)

    @property
    def styles(self) -> list[str]:
        """The names of the pair style and, of a hybrid, of those that its pair_coeff lines set."""
        own = self.style.split()[0]
        if not own.startswith("hybrid"):
            return [own]
        set_by = (line.split()[3:4] for line in self.lines if line.split()[:1] == ["pair_coeff"])
        return [own, *(name for names in set_by for name in names if name != "none")]


class Layout(StrictModel):
    """MPI ranks of a run, and the nodes that they share; without nodes: on this machine."""

    ranks: int = Field(ge=1)
    nodes: int | None = Field(None, ge=1)

    def __str__(self) -> str:
        number, what = (self.nodes, "node") if self.nodes else (self.ranks, "rank")
        return f"{number} {what}{'' if number == 1 else 's'}"


class ScalingPlan(OfMaterial):
    """What is run: each potential on each layout with each number of atoms, the potentials in turns."""

    mode: Mode
    n_atoms: list[int] = Field(
        min_length=1, description="Atoms of the cell; weak: atoms of each node, or of each rank without nodes"
    )
    ranks: list[int] = Field(default_factory=list, description="MPI ranks; on this machine")
    nodes: list[int] = Field(default_factory=list, description="Nodes, each with ranks_per_node ranks; in a queue")
    ranks_per_node: int | None = Field(None, ge=1, description="MPI ranks of each node")
    composition: str = Field(default_factory=lambda given: given["material"].formula, description="Formula of the cell")
    pair_styles: list[PairLines] = Field(default_factory=list, description="Pair styles by their lines")
    repeats: int = Field(3, ge=1, le=100, description="Timed runs of each point; the median counts")
    seconds: float = Field(5.0, gt=0, description="Time of a run to aim at, where n_steps is not given, s")
    n_steps: int | None = Field(None, ge=1, description="Steps of each run")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of the first velocities")
    timestep_fs: float = Field(0.5, gt=0, description="Short, since a potential need not hold the cell together")
    memory_limit_GB: float | None = Field(
        None, gt=0, description="Memory that the ranks of a node may hold; null: 90 % of what is free on it"
    )

    @model_validator(mode="after")
    def _is_a_curve(self) -> ScalingPlan:
        parse_formula(self.composition)
        if bool(self.ranks) == bool(self.nodes):
            raise UnfitValueError("a scaling study has ranks (on this machine) or nodes (in a queue)", "give one")
        if self.nodes and self.ranks_per_node is None:
            raise UnfitValueError("ranks_per_node is missing", "give the MPI ranks of each node")
        for name in ("n_atoms", "ranks", "nodes"):
            values = getattr(self, name)
            if any(value < 1 for value in values) or len(set(values)) < len(values):
                raise UnfitValueError(f"{name} {values}: not different positive numbers", "correct the list")
        along = {"weak": "ranks or nodes", "strong": "ranks or nodes"}.get(self.mode, "n_atoms")
        if len(self.n_atoms if along == "n_atoms" else self.layouts) < 2:
            raise UnfitValueError(f"{self.mode} scaling of one point is no curve", f"give several {along}")
        if len(self.layouts) * len(self.n_atoms) > MAX_POINTS:
            raise UnfitValueError(f"more than {MAX_POINTS} points", "split the study")
        return self

    @property
    def layouts(self) -> list[Layout]:
        """All layouts, smallest first."""
        if self.nodes:
            return [Layout(ranks=each * (self.ranks_per_node or 1), nodes=each) for each in sorted(self.nodes)]
        return [Layout(ranks=each) for each in sorted(self.ranks)]

    def sizes(self, layout: Layout) -> list[int]:
        """Return the numbers of atoms that are asked for on a layout, smallest first."""
        times = (layout.nodes or layout.ranks) if self.mode == "weak" else 1
        return [each * times for each in sorted(self.n_atoms)]


def block(composition: str, material: Material | None = None) -> Atoms:
    """Make the block that cells repeat: 4 x 4 x 4 rock-salt cells, or simple cubic where the material has none."""
    try:
        atoms = rocksalt(composition, (REPEAT, REPEAT, REPEAT), 2 * SPACING_A, seed=1, material=material)
    except InputError:
        symbols = [symbol for symbol, number in parse_formula(composition).items() for _ in range(round(number))]
        atoms = simple_cubic(symbols)
    atoms.rattle(0.05, seed=1)
    return atoms


def block_repeat(n_atoms: int, n_block: int) -> tuple[int, int, int]:
    """Return how often a cubic block of `n_block` atoms is repeated along x, y, z for about `n_atoms` atoms.

    A cell that is nearly a cube is preferred to one a little nearer in its number of atoms.
    """
    edge = (n_atoms / n_block) ** (1 / 3)
    near = range(max(1, math.floor(edge / 2)), max(2, math.ceil(2 * edge) + 1))

    def badness(repeat: tuple[int, int, int]) -> float:
        return abs(math.prod(repeat) * n_block / n_atoms - 1) + 0.05 * (max(repeat) / min(repeat) - 1)

    return min((each for each in product(near, near, near) if list(each) == sorted(each)), key=badness)


def base_repeat(ranks: int) -> tuple[int, int, int]:
    """Return the smallest cell on as many ranks, in blocks; its memory is that of program and potential."""
    return 1, 1, math.ceil(ranks / _BASE_RANKS)


def scaling_deck(plan: ScalingPlan, pair: list[str], repeat: tuple[int, int, int], n_steps: int) -> str:
    """Return the input of one timed run, which repeats the block itself: no file of the whole cell is needed."""
    return "\n".join(
        [
            *cell_lines(0)[1:],
            f"replicate {' '.join(map(str, repeat))}",
            *pair,
            "neighbor 1.0 bin",
            "neigh_modify every 1 delay 0 check yes",
            f"velocity all create {plan.temperature_K:.12g} 1 mom yes rot no dist gaussian loop geom",
            f"timestep {plan.timestep_fs * 1e-3:.12g}",
            "fix move all nve",
            f"run {WARM_UP_STEPS} post no",
            "log timed.log",
            f"run {n_steps}",
            end_line(),
            f"shell sh {WAIT_SCRIPT}",
            "",
        ]
    )


@dataclass(frozen=True)
class TimedRun:
    """One run of LAMMPS: its time and memory, or why there is none (`failure_class`)."""

    failure_class: str
    reason: str
    n_atoms: int
    n_steps: int
    loop_s: float = 0.0
    parts_s: dict[str, float] = field(default_factory=dict)
    pair_imbalance: float = 1.0
    cpu_use: float = 0.0
    peak_rss_B: int | None = None
    load: float = 0.0
    wall_s: float = 0.0
    host: str = ""
    processor: str = ""
    version: str = ""


def timed_run(
    engine: LammpsEngine,
    deck: str,
    directory: Path,
    size: tuple[int, int],
    limit_GB: float | None,
    timeout_s: float | None,
) -> TimedRun:
    """Run a deck of :func:`scaling_deck` in `directory`, and read its log and the memory of its ranks.

    `size` is atoms and steps of the run; see `ScalingPlan.memory_limit_GB` for the limit. A run that the kernel, LAMMPS
    or the limit ended for lack of memory has the class out_of_memory.
    """
    directory = directory.resolve()
    limit_B = 1e9 * limit_GB if limit_GB else 0.9 * psutil.virtual_memory().available
    watch = PeakMemory(directory, Path(engine.command[0]).name, limit_B)
    load, killed = os.getloadavg()[0], kills_for_memory()
    directory.mkdir(parents=True, exist_ok=True)
    with watch.watched():
        ended = engine.run(deck, directory, timeout_s=timeout_s, started=watch.started)
    failure, reason = str(ended.failure_class), ended.error_line
    if watch.over:
        failure, reason = OUT_OF_MEMORY, f"its ranks held more than {limit_B / 1e9:.3g} GB on this node"
    elif failure in ("killed", "crash") and kills_for_memory() > killed:
        failure, reason = OUT_OF_MEMORY, "the kernel ended it for lack of memory"
    return _timed(ended, failure, reason, size, watch.total_B * engine.ranks, len(watch.peaks_B), load)


def _timed(
    ended: LammpsRun, failure: str, reason: str, size: tuple[int, int], peaks_B: int, seen: int, load: float
) -> TimedRun:
    path = ended.directory / "timed.log"
    text = path.read_text(errors="replace") if path.exists() and not failure else ""
    parts = loop_parts(text)
    return TimedRun(
        failure_class=failure,
        reason=reason,
        n_atoms=size[0],
        n_steps=size[1],
        loop_s=loop_time(text).seconds,
        parts_s=parts.seconds if parts else {},
        pair_imbalance=parts.pair_imbalance if parts else 1.0,
        cpu_use=parts.cpu_use if parts else 0.0,
        # ranks on other nodes hold as much as those seen here
        peak_rss_B=round(peaks_B / seen) if seen else None,
        load=load,
        wall_s=ended.wall_s,
        host=socket.gethostname(),
        processor=processor(),
        version=ended.version,
    )


def steps_for(plan: ScalingPlan, base: TimedRun, n_atoms: int) -> int:
    """Return the steps of a run: as the plan says, or as many as take its time at the speed of the smallest cell."""
    if plan.n_steps is not None:
        return plan.n_steps
    step_s = base.loop_s / base.n_steps * n_atoms / base.n_atoms
    return int(min(max(plan.seconds / step_s, FEWEST_STEPS), _MOST_STEPS))


def scaling_row(runs: list[TimedRun], base: TimedRun, layout: Layout) -> dict[str, Any]:
    """Return the numbers of a point from its repeats; docs/scaling.md describes each.

    One repeat that was out of memory makes the point one.
    """
    failed = next((run for run in runs if run.failure_class), None)
    done = sorted((run for run in runs if not run.failure_class), key=lambda run: run.loop_s / run.n_steps)
    row: dict[str, Any] = dict.fromkeys(NUMBERS) | {
        "state": failed.failure_class if failed else "measured" if done else "not_run",
        "reason": failed.reason if failed else "",
        "repeats": len(done),
    }
    if failed or not done:
        return row
    median = done[(len(done) - 1) // 2]
    us = [1e6 * run.loop_s / (run.n_steps * run.n_atoms) for run in done]
    return row | {
        "n_steps": median.n_steps,
        "loop_s": median.loop_s,
        "us_per_atom_step": us[(len(us) - 1) // 2],
        "us_per_atom_step_low": us[0],
        "us_per_atom_step_high": us[-1],
        "core_us_per_atom_step": us[(len(us) - 1) // 2] * layout.ranks,
        "steps_per_day": 86_400 * median.n_steps / median.loop_s,
        **{f"{name}_s": median.parts_s.get(name, 0.0) for name in PARTS},
        "comm_share": median.parts_s.get("comm", 0.0) / median.loop_s,
        "pair_imbalance": median.pair_imbalance,
        "cpu_use": median.cpu_use,
        **_memory(done, base),
        "load": max(run.load for run in runs),
        "host": median.host,
        "processor": median.processor,
        "lammps_version": median.version,
    }


def _memory(runs: list[TimedRun], base: TimedRun) -> dict[str, float | None]:
    peak_B = max((run.peak_rss_B for run in runs if run.peak_rss_B), default=None)
    if peak_B is None or base.peak_rss_B is None:
        return {"peak_rss_MB": None, "base_rss_MB": None, "memory_B_per_atom": None}
    more, more_B = runs[0].n_atoms - base.n_atoms, peak_B - base.peak_rss_B
    # loading a potential may take more than a small cell does afterwards
    each_B = more_B / more if more > 0 and more_B > 0 else None
    return {"peak_rss_MB": peak_B / 1e6, "base_rss_MB": base.peak_rss_B / 1e6, "memory_B_per_atom": each_B}


def add_efficiency(table: list[dict[str, Any]], mode: Mode) -> None:
    """Add to each row of weak or strong scaling its efficiency against the fewest ranks of its curve."""
    for row in table:
        curve = [
            other
            for other in table
            if other["state"] == "measured"
            and (other["potential"], other["asked_atoms"]) == (row["potential"], row["asked_atoms"])
        ]
        row["efficiency"] = None
        if mode in ("weak", "strong") and row["state"] == "measured":
            first = min(curve, key=lambda other: other["ranks"])
            row["efficiency"] = first["core_us_per_atom_step"] / row["core_us_per_atom_step"]
