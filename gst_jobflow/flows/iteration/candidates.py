"""Jobs that make the candidates of an iteration, each from one source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import find_project
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.documents import ConfigType, Potential, Trajectory
from gst_jobflow.documents.base import now
from gst_jobflow.dynamics.deck import Limits, Output, RunOptions
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.maker import first_temperature, store_random_start
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.dynamics.protocol import run_protocol
from gst_jobflow.dynamics.record import record
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.side_by_side import run_side_by_side
from gst_jobflow.dynamics.stages import steps_in
from gst_jobflow.dynamics.work import RunWork, SideBySideWork
from gst_jobflow.flows.iteration.sources import (
    CrystalSource,
    CycleSource,
    DomainSource,
    FailureSource,
    HardSphereSource,
    SearchSource,
    Source,
    StoredSource,
    seed_of,
)
from gst_jobflow.flows.random_search import RandomSearchMaker
from gst_jobflow.flows.structures import FailureFramesMaker
from gst_jobflow.selection.cluster_choice import CutSettings, NothingInWindowError, choose_clusters, cluster_candidates
from gst_jobflow.selection.documents import derived, origin_of
from gst_jobflow.selection.frames import iter_trajectory
from gst_jobflow.selection.random_search import RandomSearchPlan, draw_cells
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import store_family
from gst_jobflow.store.context import continuation, job_deadline, job_results, work_directory
from gst_jobflow.store.query import structures_where
from gst_jobflow.structures.families import crystal_family
from gst_jobflow.structures.floors import contact_floors, contacts
from gst_jobflow.structures.hard_sphere import generate

_RESTART_EVERY = 5_000


@dataclass(frozen=True)
class Place:
    """Where candidates are for: tags and number of the iteration, place of the source, seed of both."""

    number: int
    source: int
    seed: int
    tags: list[str]


def candidates_from(source: Source, place: Place, before: Any) -> list[Job | Flow]:
    """Return the jobs of a source; the last one's output has `structure_ids`.

    All wait for the job that begins the iteration, whose output is `before`: `potential_id`, `robustness_id`.
    """
    potential_id = before["potential_id"]
    if isinstance(source, DomainSource):
        return [DomainMaker(source=source, iteration=place.number, tags=place.tags).make(potential_id, place.seed)]
    if isinstance(source, SearchSource):
        plan = RandomSearchPlan(**{name: getattr(source, name) for name in RandomSearchPlan.model_fields})
        plan = plan.model_copy(update={"seed": place.seed})
        return [RandomSearchMaker(plan=plan, iteration=place.number, tags=place.tags).make(potential_id)]
    if isinstance(source, FailureSource):
        frames = FailureFramesMaker(frames=source.frames, iteration=place.number, tags=place.tags)
        return [frames.make(before["robustness_id"], [potential_id])]
    if isinstance(source, CycleSource):
        cycle = CycleMaker(plan=source.programme, seed=place.seed, tags=place.tags).make(potential_id)
        cut = cut_cells(source, cycle.output["cycle_id"], potential_id, place.number, place.tags)
        return [cycle, cut]
    return [make_structures(source, place.number, place.seed, place.tags, before, now().isoformat())]


@job(name="structures")
def make_structures(
    source: CrystalSource | HardSphereSource | StoredSource,
    number: int,
    seed: int,
    tags: list[str],
    before: Any,
    until: str = "",
) -> dict[str, Any]:
    """Make the structures of a source that needs no potential, and store them; return `structure_ids`.

    Stored structures are those up to the time `until`, so that a job that is run again takes the same ones.
    """
    results = job_results()
    if isinstance(source, StoredSource):
        stored_by = [f"created_at<={until}"] if until else []
        return {"structure_ids": structures_where(results.database, [*source.where, *stored_by])}
    if isinstance(source, HardSphereSource):
        kind: ConfigType = "hard_sphere"
        shared = {"builder": "hard_sphere", "seed": seed}
        cells = enumerate(draw_cells(source.cells(seed)))
        family = [(cell.atoms, {**shared, "cell": place, "formula": cell.formula}) for place, cell in cells]
    else:
        kind = "crystal"
        family = [each for spec in source.crystals for each in crystal_family(spec)]
    documents, _, _ = store_family(results, family, kind, number, tags)
    return {"structure_ids": list(dict.fromkeys(document.id for document in documents))}


def domain_output(source: DomainSource) -> Output:
    """Return what the runs of a source write: a frame for each candidate."""
    every = steps_in(source.every_ps, source.timestep_fs, "every_ps")
    # a run that goes on from a restart file takes another path, so short runs begin again instead
    restart = max(every, _RESTART_EVERY)
    return Output(layers=0, profile_every=0, dump_every=every, series_every=min(50, every), restart_every=restart)


@in_category("md")
@dataclass
class DomainMaker(Maker):
    """Run melt-quench and crystallisation with a potential, and store frames as candidates.

    Examples
    --------
    >>> source = DomainSource(compositions=["Sb2Te3"], runs=2, n_atoms=80)
    >>> job = DomainMaker(source=source, iteration=1).make(potential_id, seed=1)
    """

    source: DomainSource
    name: str = "domain dynamics"
    iteration: int = 0
    tags: list[str] = field(default_factory=list)

    def work(self, potential_id: str, seed: int) -> SideBySideWork:
        """Return the runs of :meth:`make`."""
        source = self.source
        run = RunWork(source.protocol(seed), source.n_atoms, domain_output(source), potential_id)
        return SideBySideWork(run, source.runs * len(source.compositions))

    @job
    def make(self, potential_id: str, seed: int) -> dict[str, Any]:
        """Run, and store the frames; return `structure_ids`, `trajectory_ids`.

        A job that is killed or stopped by its walltime goes on with what is left.
        """
        results, settings = job_results(), find_project().settings
        directory = work_directory(results, "domain")
        files = link_potential(results, results.get(Potential, potential_id), directory)
        engine, stages = lammps_engine(settings, n_ranks=1), self.source.stages
        options = RunOptions(
            create_velocities_K=first_temperature(stages), output=domain_output(self.source),
            limits=Limits(max_temperature_K=20_000.0),
        )  # fmt: skip
        runs: dict[tuple[str, int], str] = {}

        def prepare(run: tuple[str, int]) -> Callable[[], ProtocolResult]:
            formula, index = run
            start = generate(self.source.start(formula, seed_of(seed, formula)), index)
            protocol = self.source.protocol(seed_of(seed, formula, index))
            folder = directory / f"{formula}-{index + 1:03d}"
            return partial(
                run_protocol, engine, files, start, protocol, folder, options, deadline=job_deadline(settings)
            )

        def store(run: tuple[str, int], result: ProtocolResult) -> None:
            runs[run] = self._store(results, potential_id, run, result, seed)

        wanted = [(formula, index) for formula in self.source.compositions for index in range(self.source.runs)]
        if not run_side_by_side(wanted, prepare, store, directory, cores(), job_deadline(settings)):
            return continuation(self.make(potential_id, seed))
        made = [id for run in wanted for id in self._frames(results, results.get(Trajectory, runs[run]))]
        return {"structure_ids": list(dict.fromkeys(made)), "trajectory_ids": [runs[run] for run in wanted]}

    def _store(
        self, results: Results, potential_id: str, run: tuple[str, int], result: ProtocolResult, seed: int
    ) -> str:
        formula, index = run
        spec = self.source.start(formula, seed_of(seed, formula))
        start, _ = store_random_start(results, spec, ["domain start"], index)
        protocol = self.source.protocol(seed_of(seed, formula, index))
        name = f"domain {formula} {index + 1}"
        return record(
            results, result, protocol, potential_id, "melt_quench", start.id,
            run=name, name=name, tags=[f"domain iter-{self.iteration}"],
        ).id  # fmt: skip

    def _frames(self, results: Results, run: Trajectory) -> list[str]:
        """Store the frames of a run as structures, up to the first in which a pair has collapsed; return their ids."""
        origin, documents = origin_of(results, run, "melt_quench"), []
        for found in iter_trajectory(results, run):
            if not found.step:
                continue
            floors = contact_floors(found.atoms.get_chemical_symbols(), self.source.material.floors_A)
            if not contacts(found.atoms, floors).is_sound:
                break
            time_ps = round(found.step * run.timestep_fs * 1e-3, 6)
            source = {
                "builder": "domain", "trajectory_id": run.id, "step": found.step, "time_ps": time_ps,
                "potential_id": run.potential_id,
            }  # fmt: skip
            documents.append(derived(results, found.atoms, origin, source, self.tags, self.iteration))
        results.add_many(documents)
        return [document.id for document in documents]


@in_category("md")
@job(name="cut cells")
def cut_cells(source: CycleSource, cycle_id: str, potential_id: str, number: int, tags: list[str]) -> dict[str, Any]:
    """Cut cells out of the frames of a device cycle around atoms on which the potential extrapolates.

    Returns `structure_ids`; none where no atom has a grade in the window.
    """
    results, settings = job_results(), find_project().settings
    potential = results.get(Potential, potential_id)
    cut = CutSettings(source.gamma, source.max_atoms)
    ids: list[str] = []
    for run in results.find(Trajectory, {"cycle_id": cycle_id}, sort=[("operation_index", 1)]):
        frames = iter_trajectory(results, run, source.every)
        try:
            cells, _ = choose_clusters(results, settings, potential, frames, cut, source.number, cores())
        except NothingInWindowError:  # nothing to learn from this operation
            continue
        documents = cluster_candidates(results, potential, cells, run, cut.radius(potential), tags, number)
        results.add_many(documents)
        ids += [document.id for document in documents]
    return {"structure_ids": list(dict.fromkeys(ids))}
