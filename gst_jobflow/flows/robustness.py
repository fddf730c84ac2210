"""Test potentials for robustness: hot melts in parallel on the cores of a job, and a study with success fractions."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Member, Potential, Study, Trajectory
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.maker import store_random_start
from gst_jobflow.dynamics.potential_files import check_graded, check_knows_elements, link_potential
from gst_jobflow.dynamics.protocol import run_protocol
from gst_jobflow.dynamics.record import record
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.side_by_side import run_side_by_side
from gst_jobflow.dynamics.work import RunWork, SideBySideWork
from gst_jobflow.evaluation.robustness import (
    SUCCESS,
    ContactWatch,
    RobustnessPlan,
    Verdict,
    interval,
    is_out_of_reach,
    judge,
    runs_of,
)
from gst_jobflow.flows.study import store_finished
from gst_jobflow.store import Results
from gst_jobflow.store.context import continuation, job_deadline, job_results, work_directory
from gst_jobflow.structures.hard_sphere import generate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Melt:
    """One run: a potential, a composition and the index of the run at it, from 0."""

    potential_id: str
    formula: str
    index: int

    @property
    def name(self) -> str:
        """Name of its folder and of its trajectory."""
        return f"{self.potential_id[:8]}-{self.formula}-{self.index + 1:03d}"


@dataclass
class RobustnessMaker(Maker):
    """Anneal hard-sphere random structures at 3,000 K with each of several potentials, and count who survives.

    All potentials get the same starts and seeds. A failed run is a result, not an error.

    Attributes
    ----------
    gate
        Success fraction that a potential has to reach: one that cannot reach it any more is not tested further.
    n_jobs
        Jobs that share the runs; each has one run on each of its cores.

    Examples
    --------
    >>> plan = RobustnessPlan(compositions=["Sb2Te3"], runs=10, n_atoms=200, duration_ps=20)
    >>> flow = RobustnessMaker(study_name="small", plan=plan).make([potential_id])  # doctest: +SKIP
    >>> submit(flow, find_project())  # doctest: +SKIP
    """

    name: str = "robustness"
    study_name: str = "robustness"
    plan: RobustnessPlan = field(default_factory=RobustnessPlan)
    gate: float | None = None
    n_jobs: int = 1

    def make(self, potential_ids: list[str]) -> Flow:
        """Flow of the jobs that run the melts, and of the one that counts them."""
        study_id = uuid.uuid4().hex
        n_jobs = min(self.n_jobs, len(all_melts(self.plan, potential_ids)))
        jobs: list[Job] = []
        for number in range(n_jobs):
            melting = MeltsMaker(plan=self.plan, gate=self.gate).make(study_id, potential_ids, [number, n_jobs])
            melting.name = f"robustness {number + 1}"
            jobs.append(melting)
        done = [each.output for each in jobs]
        counted = count_robustness(study_id, self.study_name, self.plan, potential_ids, self.gate, done)
        return Flow([*jobs, counted], output=counted.output, name=f"robustness {self.study_name}")


def all_melts(plan: RobustnessPlan, potential_ids: list[str]) -> list[Melt]:
    """Return all runs: composition after composition, the potentials in turns, so that all advance alike."""
    return [
        Melt(potential_id, formula, index)
        for index in range(plan.runs)
        for formula in plan.compositions
        for potential_id in potential_ids
    ]


@in_category("md")
@dataclass
class MeltsMaker(Maker):
    """Run hot melts, as many at a time as this job has cores; each is stored as soon as it has ended."""

    name: str = "robustness"
    plan: RobustnessPlan = field(default_factory=RobustnessPlan)
    gate: float | None = None

    def work(self, study_id: str, potential_ids: list[str], part: list[int]) -> SideBySideWork:
        """Return the runs of :meth:`make`."""
        melts, plan = all_melts(self.plan, potential_ids)[part[0] :: part[1]], self.plan
        protocol = plan.protocol(melts[0].formula, 0)
        return SideBySideWork(RunWork(protocol, plan.n_atoms, plan.options().output, melts[0].potential_id), len(melts))

    @job
    def make(self, study_id: str, potential_ids: list[str], part: list[int]) -> dict[str, Any]:
        """Run them; a job that is killed or stopped by its walltime goes on with what is left.

        `part` is the number of this job, from 0, and how many jobs share the runs. Returns the counts by outcome;
        `not run` counts what a gate out of reach made needless.
        """
        results, settings = job_results(), find_project().settings
        runner = MeltRunner(
            results,
            self.plan,
            self.gate,
            study_id,
            lammps_engine(settings, n_ranks=1),
            work_directory(results, "robustness"),
            job_deadline(settings),
        )
        if not runner.run(all_melts(self.plan, potential_ids)[part[0] :: part[1]]):
            return continuation(self.make(study_id, potential_ids, part))
        return dict(runner.outcomes)


@dataclass
class MeltRunner:
    """Runs the melts of one job: LAMMPS in threads, everything that is stored in the main one."""

    results: Results
    plan: RobustnessPlan
    gate: float | None
    study_id: str
    engine: LammpsEngine
    directory: Path
    deadline: Deadline | None
    outcomes: Counter[str] = field(default_factory=Counter)
    files: dict[str, PotentialFiles] = field(default_factory=dict)

    def run(self, melts: list[Melt]) -> bool:
        """Run what is missing; False if time was short, so that some are left; raises as `run_side_by_side`."""
        known = _stored(self.results, self.study_id)
        self.outcomes.update(known[melt] for melt in melts if melt in known)
        waiting = [melt for melt in melts if melt not in known]
        return run_side_by_side(waiting, self._prepare, self._end, self.directory, cores(), self.deadline)

    def _prepare(self, melt: Melt) -> Callable[[], ProtocolResult] | None:
        if self._is_hopeless(melt.potential_id):
            self.outcomes["not run"] += 1
            return None
        return partial(self._melt, melt, self._potential(melt.potential_id))

    def _is_hopeless(self, potential_id: str) -> bool:
        """Whether its gate is out of reach, by the runs of this job and of those beside it."""
        if self.gate is None:
            return False
        ended = _stored(self.results, self.study_id).items()
        failures = sum(melt.potential_id == potential_id and outcome != SUCCESS for melt, outcome in ended)
        return is_out_of_reach(failures, self.plan.runs * len(self.plan.compositions), self.gate)

    def _potential(self, potential_id: str) -> PotentialFiles:
        if potential_id not in self.files:
            folder = self.directory / f"potential-{potential_id[:8]}"
            folder.mkdir(exist_ok=True)
            self.files[potential_id] = link_potential(self.results, self.results.get(Potential, potential_id), folder)
        return self.files[potential_id]

    def _melt(self, melt: Melt, potential: PotentialFiles) -> ProtocolResult:
        return run_protocol(
            self.engine,
            potential,
            generate(self.plan.start(melt.formula), melt.index),
            self.plan.protocol(melt.formula, melt.index),
            self.directory / melt.name,
            self.plan.options(),
            deadline=self.deadline,
            watch=ContactWatch(self.plan, potential.elements),
        )

    def _end(self, melt: Melt, result: ProtocolResult) -> None:
        verdict = judge(result, self.plan, self.plan.n_atoms)
        self._store(melt, result, verdict)
        self.outcomes[verdict.outcome] += 1
        logger.info("%s: %s after %.2f ps %s", melt.name, verdict.outcome, verdict.time_ps, verdict.reason)

    def _store(self, melt: Melt, result: ProtocolResult, verdict: Verdict) -> None:
        start, _ = store_random_start(self.results, self.plan.start(melt.formula), ["robustness start"], melt.index)
        found = {"study_id": self.study_id, **asdict(melt), **asdict(verdict)}
        protocol = self.plan.protocol(melt.formula, melt.index)
        record(
            self.results, result, protocol, melt.potential_id, "melt_quench", start.id,
            run=melt.name, name=f"robustness {melt.formula} {melt.index + 1}", analysis={"robustness": found},
        )  # fmt: skip


def _stored(results: Results, study_id: str) -> dict[Melt, str]:
    """Return the runs of a study that have ended, and how."""
    found = results.database["trajectories"].find(runs_of(study_id), {"analysis.robustness": 1})
    runs = [run["analysis"]["robustness"] for run in found]
    return {Melt(run["potential_id"], run["formula"], run["index"]): run["outcome"] for run in runs}


@job(name="count")
def count_robustness(
    study_id: str,
    name: str,
    plan: RobustnessPlan,
    potential_ids: list[str],
    gate: float | None,
    done: list[dict[str, int]],
) -> dict[str, Any]:
    """Count the outcomes of all runs, store the study and write its page; return `study_id`, `table`, `page`."""
    results = job_results()
    runs = sorted(results.find(Trajectory, runs_of(study_id)), key=lambda run: run.analysis["robustness"]["formula"])
    names = {id: results.get(Potential, id).name for id in potential_ids}
    table = [
        row
        for id in potential_ids
        for formula in (None, *plan.compositions)
        if (row := _row(runs, id, names[id], formula, plan)) is not None
    ]
    members = [Member(collection="potentials", id=id, role="tested") for id in potential_ids]
    members += [Member(collection="trajectories", id=run.id, role="run") for run in runs]
    written = {**plan.model_dump(mode="json"), "gate": gate}
    study = Study(id=study_id, name=name, kind="robustness", plan=written, members=members, table=table)
    return store_finished(results, study)


def _row(
    runs: list[Trajectory], potential_id: str, potential: str, formula: str | None, plan: RobustnessPlan
) -> dict[str, Any] | None:
    """Return the row of a potential at one composition, or at all; None where nothing was run."""
    found = [
        verdict
        for run in runs
        if (verdict := run.analysis["robustness"])["potential_id"] == potential_id
        and formula in (None, verdict["formula"])
    ]
    if not found:
        return None
    outcomes = Counter(verdict["outcome"] for verdict in found)
    low, high = interval(outcomes[SUCCESS], len(found))
    failed_ps = [verdict["time_ps"] for verdict in found if verdict["outcome"] != SUCCESS]
    closest = min((v for v in found if v["closest_A"] is not None), key=lambda v: v["closest_A"], default=None)
    return {
        "potential_id": potential_id,
        "potential": potential,
        "composition": formula or "all",
        "planned": plan.runs * (1 if formula else len(plan.compositions)),
        "runs": len(found),
        "successes": outcomes[SUCCESS],
        "fraction": outcomes[SUCCESS] / len(found),
        "low": low,
        "high": high,
        "first_failure_ps": min(failed_ps, default=None),
        "closest_A": closest["closest_A"] if closest else None,
        "closest_pair": closest["closest_pair"] if closest else "",
        "outcomes": dict(outcomes),
    }


def check_potentials(plan: RobustnessPlan, potentials: list[Potential]) -> None:
    """Refuse potentials that lack an element of the plan, or an active set that `halt_gamma` needs (InputError)."""
    for each in potentials:
        check_knows_elements(each, plan.elements, "choose --compositions of its elements")
        if plan.halt_gamma:
            check_graded(each, "leave halt_gamma out of --config; or use an ACE potential that was fitted here")
