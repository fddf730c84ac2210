#!/usr/bin/env python3
"""Measure a robustness study: how busy its cores are, and its cost beside LAMMPS runs of the same lengths by hand."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from _common import Row, main

from gst_jobflow.base.batches import batches
from gst_jobflow.base.cores import cores
from gst_jobflow.documents import Potential, PotentialArtifacts, Trajectory
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.evaluation.robustness import RobustnessPlan, runs_of
from gst_jobflow.flows.robustness import Melt, MeltRunner, all_melts
from gst_jobflow.store import Results
from gst_jobflow.structures.hard_sphere import generate
from gst_jobflow.structures.lammps_data import write_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _private_project import private_project
from _tiny_potential import make_tiny_potential

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "XPOT-Sb2Te3.yace"
COMPOSITIONS = ["SbTe", "Sb2Te3", "Sb4Te5", "Sb3Te4", "Sb2Te5", "Sb4Te3", "SbTe2"]
FULL = RobustnessPlan(compositions=COMPOSITIONS, runs=4, n_atoms=200, duration_ps=2.0)
SMALL = RobustnessPlan(compositions=COMPOSITIONS[:2], runs=1, n_atoms=60, duration_ps=0.4, look_every_ps=0.1)
# a soft repulsive potential stands in for the published one: its atoms pass through each other, which is no fault here
SOFT = {"floors_A": {"Sb-Sb": 1e-3, "Sb-Te": 1e-3, "Te-Te": 1e-3}, "temperature_K": 1000.0}
_BATCH = 7
_DECK = """units metal
atom_style atomic
boundary p p p
read_data start.data
pair_style pace recursive
pair_coeff * * {yace} {elements}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep {timestep_ps}
velocity all create {temperature_K} {seed} mom yes rot no dist gaussian
fix integrate all nve
fix heat all langevin {temperature_K} {temperature_K} {damping_ps} {seed} zero yes
thermo 500
thermo_modify lost ignore
dump frames all custom {every} dump.lammpstrj.gz id type x y z
run {steps}
"""


@dataclass(frozen=True)
class Spent:
    """Processor time of this process and its children, and wall time, s."""

    processor_s: float
    wall_s: float


def spent(work: Callable[[], object]) -> Spent:
    """Measure a call."""
    before, begin = _processor_s(), time.perf_counter()
    work()
    return Spent(_processor_s() - before, time.perf_counter() - begin)


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def by_hand(
    engine: LammpsEngine, files: PotentialFiles, plan: RobustnessPlan, steps: dict[Melt, int], folder: Path
) -> None:
    """Run LAMMPS from a plain input for each melt, as many at a time as there are cores; go on where atoms are lost."""

    def one(melt: Melt) -> None:
        place = folder / melt.name
        place.mkdir()
        write_data(generate(plan.start(melt.formula), melt.index), place / "start.data", files.elements)
        options = plan.options()
        text = _DECK.format(
            yace=files.yace, elements=" ".join(files.elements), timestep_ps=plan.timestep_fs * 1e-3,
            temperature_K=plan.temperature_K, damping_ps=plan.damping_ps, every=options.output.dump_every,
            seed=plan.protocol(melt.formula, melt.index).seed, steps=steps[melt],
        )  # fmt: skip
        (place / "in.lammps").write_text(text)
        argv = engine.argv("-in", "in.lammps", "-log", "log.lammps")
        subprocess.run(argv, cwd=place, env=engine.environment(), stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(one, steps))


def stored_potential(results: Results, files: PotentialFiles) -> str:
    """Store a potential of Sb and Te; return its id."""
    potential = Potential(
        _id="robust", name="robust", elements=files.elements, n_densities=1, n_functions=1, cutoff_A=6.0,
        artifacts=PotentialArtifacts(yace=results.artifacts.put(Path(files.yace), "p.yace")),
    )  # fmt: skip
    results.add(potential)
    return potential.id


def steps_done(results: Results, study_id: str) -> dict[Melt, int]:
    """Return how many steps each run of a study took."""
    found = results.find(Trajectory, runs_of(study_id))
    verdicts = [(run.analysis["robustness"], run.n_steps) for run in found]
    return {Melt(each["potential_id"], each["formula"], each["index"]): steps for each, steps in verdicts}


def measure(size: str) -> Iterator[Row]:
    """Run 28 melts of 200 atoms in one go, and again in batches in turns with the same dynamics by hand."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        results = Results.open(private_project(root / "project", "mongo: {port: {port}, cache_gb: 0.25}\n", stack))
        stack.callback(lambda: results.database.client.close())
        plan = FULL if size == "full" else SMALL
        if size == "full" and PUBLISHED.exists():
            files = PotentialFiles(yace=str(PUBLISHED), elements=["Sb", "Te"])
        else:
            files = make_tiny_potential(root, 0.05)
            plan = plan.model_copy(update={**SOFT, "duration_ps": 5 * plan.duration_ps})
        potential_id = stored_potential(results, files)
        yield from _rows(results, LammpsEngine.discover(), files, plan, all_melts(plan, [potential_id]), root)


def _rows(
    results: Results,
    engine: LammpsEngine,
    files: PotentialFiles,
    plan: RobustnessPlan,
    melts: Sequence[Melt],
    root: Path,
) -> Iterator[Row]:
    def study(study_id: str, some: Sequence[Melt]) -> None:
        folder = root / study_id
        folder.mkdir(exist_ok=True)
        MeltRunner(results, plan, None, study_id, engine, folder, None).run(list(some))

    what = f"{len(melts)} runs of {plan.n_atoms} atoms"
    # what is loaded and compiled once belongs to no arm
    study("warm", melts[:1])
    whole = spent(lambda: study("whole", melts))
    steps = steps_done(results, "whole")
    busy = 100 * whole.processor_s / (whole.wall_s * cores())
    yield Row(f"busy share of {cores()} cores, {what} in one job", busy, "%", limit=90, better="higher")
    taken = {"ours": 0.0, "by hand": 0.0}
    for number, batch in enumerate(batches(melts, _BATCH)):
        arms: dict[str, Callable[[], object]] = {
            "ours": partial(study, "turns", batch),
            "by hand": partial(by_hand, engine, files, plan, {melt: steps[melt] for melt in batch}, root),
        }
        for arm in sorted(arms, reverse=bool(number % 2)):
            taken[arm] += spent(arms[arm]).processor_s
    name = f"processor time of {what}, {sum(steps.values()):,} steps"
    yield Row(name, taken["ours"], "s", "the same lengths by a plain script", taken["by hand"], 1.05 * taken["by hand"])


if __name__ == "__main__":
    main(__doc__ or "", measure, ("lammps", "pymongo"))
