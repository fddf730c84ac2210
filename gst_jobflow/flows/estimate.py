"""What a flow will cost before it runs: core hours, segments and disk, from what this project has measured.

Nothing is made up: where neither this potential nor another one has moved atoms here, the answer is that nobody knows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.categories import category_of
from gst_jobflow.base.deadline import walltime_s
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import QUEUE_KEY
from gst_jobflow.devices.branch import check_state, geometry_of_state
from gst_jobflow.devices.cell import barrier_spec, device_counts
from gst_jobflow.devices.cell_maker import melt_quench_stages
from gst_jobflow.devices.cycle import CycleMaker, run_operation
from gst_jobflow.devices.heating import Geometry, geometry_of_spec
from gst_jobflow.devices.operations import on_cell
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.documents import Structure, Trajectory
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.disk import forecast_bytes
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.flows.aimd import AimdMaker
from gst_jobflow.labelling.cost import CostModel, cost_model
from gst_jobflow.labelling.cp2k_md import md_method
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.launch.configs import CLUSTERS, resources
from gst_jobflow.launch.workflow import jobs_of
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from jobflow import Flow, Job

    from gst_jobflow.base.settings import Project

_NEWEST = 40
"""Runs that a speed is taken from."""


@dataclass(frozen=True)
class Cost:
    """What one job is expected to take.

    `core_hours`, `wall_h`, `segments` and `disk_GB` are None where nothing was measured.
    """

    name: str
    work: str
    cores: int
    core_hours: float | None = None
    wall_h: float | None = None
    segments: int | None = None
    disk_GB: float | None = None
    basis: str = ""


@dataclass(frozen=True)
class Speed:
    """What was measured: core microseconds for an atom and step, bytes for an atom and frame, and of what."""

    core_us: float
    frame_bytes: float | None
    basis: str


@dataclass(frozen=True)
class Work:
    """Molecular dynamics that one job has to do."""

    name: str
    n_atoms: int
    n_steps: int

    def core_hours(self, core_us: float) -> float:
        """What it takes at so many core microseconds for an atom and step."""
        return self.n_atoms * self.n_steps * core_us * 1e-6 / 3600


def work_of(plan: CyclePlan) -> list[Work]:
    """Return what a programme with a cell has to compute: the barrier's melt-quench, then each operation.

    Raises
    ------
    InputError
        The programme has no cell, or an operation does not fit it.
    """
    if plan.cell is None:
        raise InputError(f"programme '{plan.name}' has no cell", "give one that makes its cell")
    barrier = Protocol(name="melt_quench", stages=plan.barrier or melt_quench_stages())
    cell = _Cell(geometry_of_spec(plan.cell), sum(device_counts(plan.cell).values()), "")
    runs = [(barrier, barrier_spec(plan.cell).n_atoms), *(run[:2] for run in _planned(plan, cell))]
    return [Work(protocol.name, n_atoms, protocol.total_steps) for protocol, n_atoms in runs]


def estimate(flow: Flow | Job, project: Project) -> list[Cost]:
    """Return the cost of each job of `flow` that computes; structures, datasets and pages count as nothing.

    A run is taken to scale with atoms, steps and cores as those that were measured, labels with a power of their atoms,
    relaxations are left out, and a fit has no estimate.
    """
    results = Results.open(project)
    operations: list[tuple[Protocol, int, Output]] = []
    potential_id = ""
    known: dict[str, CostModel] = {}
    costs = []
    for job in jobs_of(flow):
        maker = job.maker
        if isinstance(maker, MeltQuenchMaker) and maker.start is not None:
            protocol = Protocol(name="melt_quench", stages=maker.stages, seed=maker.seed)
            costs.append(_of_run(job, project, results, protocol, maker.start.n_atoms, maker.output))
        elif isinstance(maker, LabelMaker):
            costs.append(_of_labels(job, project, results, known))
        elif isinstance(maker, AimdMaker):
            costs.append(_of_dynamics(job, project, results))
        elif cell := _cell(job, results):
            # the jobs after it run them, in an order that mixes replicas
            operations, potential_id = list(_planned(job.function_args[0].plan, cell)), cell.potential_id
        elif operations and job.function.__name__ == run_operation.__name__:
            protocol, n_atoms, output = operations[job.function_args[1]]
            costs.append(_of_run(job, project, results, protocol, n_atoms, output, potential_id))
        elif category_of(job) in ("fits", "md", "labels"):
            costs.append(Cost(job.name, "", _cores(job, project), basis="this kind of job has no estimate"))
    return costs


def check_budget(costs: list[Cost], budget_core_hours: float | None) -> None:
    """Refuse what costs more than the budget.

    Raises
    ------
    InputError
        It does, or nobody knows.
    """
    if budget_core_hours is None:
        return
    fix = "make it smaller, raise launch.budget_core_hours, or say --yes"
    unknown = [cost for cost in costs if cost.core_hours is None]
    if unknown:
        raise InputError(f"nobody knows what {unknown[0].name} costs ({unknown[0].basis}), and there is a budget", fix)
    total = sum(cost.core_hours or 0.0 for cost in costs)
    if total > budget_core_hours:
        raise InputError(f"it would cost about {total:,.3g} core hours; the budget is {budget_core_hours:,.3g}", fix)


@dataclass(frozen=True)
class _Cell:
    """What the operations of a cycle run on."""

    geometry: Geometry
    n_atoms: int
    potential_id: str


def _cell(job: Job, results: Results) -> _Cell | None:
    """The cell that a job makes or goes on from; None of other jobs."""
    if not (job.function_args and isinstance(job.function_args[0], CycleMaker)):
        return None
    plan = job.function_args[0].plan
    if job.function.__name__ == "begin_from":
        run, before = check_state(results, job.function_args[2], None)
        return _Cell(geometry_of_state(results, run, before), run.n_atoms, str(run.potential_id))
    assert plan is not None and plan.cell is not None  # its flow could not have been made
    return _Cell(geometry_of_spec(plan.cell), sum(device_counts(plan.cell).values()), job.function_args[3])


def _planned(plan: CyclePlan, cell: _Cell) -> Iterator[tuple[Protocol, int, Output]]:
    for one in (planned.operation for planned in plan.planned()):
        protocol = Protocol(name=one.kind, stages=on_cell(one, cell.geometry).stages)
        yield protocol, cell.n_atoms, plan.output_of(one.output)


def _of_run(
    job: Job,
    project: Project,
    results: Results,
    protocol: Protocol,
    n_atoms: int,
    output: Output,
    potential_id: str | None = None,
) -> Cost:
    potential = potential_id or str((*job.function_args, *job.function_kwargs.values())[0])
    speed, cores = measured_speed(results, potential, project), _cores(job, project)
    work = f"{n_atoms:,} atoms × {protocol.total_steps:,} steps"
    measured = speed.frame_bytes if speed else None
    disk_GB = forecast_bytes(protocol, n_atoms, output, measured=measured) / 1e9
    if speed is None:
        basis = "no run of molecular dynamics has been measured here: run a short one first"
        return Cost(job.name, work, cores, disk_GB=disk_GB, basis=basis)
    core_hours = Work(job.name, n_atoms, protocol.total_steps).core_hours(speed.core_us)
    wall_h = core_hours / cores
    return Cost(job.name, work, cores, core_hours, wall_h, _segments(job, project, wall_h), disk_GB, speed.basis)


def _of_labels(job: Job, project: Project, results: Results, known: dict[str, CostModel]) -> Cost:
    assert isinstance(job.maker, LabelMaker)
    maker, ids = job.maker, (*job.function_args, *job.function_kwargs.values())[0]
    cores = _cores(job, project)
    needed = min(getattr(maker.backend, "cores", None) or cores, cores)
    number = len(ids) if isinstance(ids, list) else 0
    fingerprint = maker.backend.method().fingerprint()
    if fingerprint not in known:
        known[fingerprint] = cost_model(results.database, maker.backend)
    model, work = known[fingerprint], f"{number:,} labels"
    if model.one_atom_s is None or not number:
        return Cost(job.name, work, cores, basis="no label of this method has been computed here: label a few first")
    cells = results.database["structures"].find({"_id": {"$in": ids}}, {"n_atoms": 1})
    sizes = [cell["n_atoms"] for cell in cells]
    # those that are not there yet are taken to be as large as those that were measured
    total_s = float(model.costs([*sizes, *[model.mean_atoms] * (number - len(sizes))]).sum())
    wall_h = total_s / max(1, cores // needed) / 3600
    basis = f"{model.n_measured} labels of this method, of {model.mean_atoms:.0f} atoms on average"
    return Cost(job.name, work, cores, total_s * needed / 3600, wall_h, _segments(job, project, wall_h), None, basis)


def _of_dynamics(job: Job, project: Project, results: Results) -> Cost:
    """Molecular dynamics from first principles: its steps, by those of the same method that were measured here."""
    maker: Any = job.maker
    cores = _cores(job, project)
    structure_id = next(iter((*job.function_args, *job.function_kwargs.values())), None)
    n_atoms = results.get(Structure, structure_id).n_atoms if structure_id else maker.start.n_atoms
    steps = maker.spec.total_steps
    work = f"{n_atoms:,} atoms × {steps:,} steps"
    method = md_method(maker.backend, maker.spec.dynamics)
    # a single point of the same method begins from nothing, a step from the one before
    model = cost_model(results.database, maker.backend, method, {"config_type": "aimd"})
    if model.one_atom_s is None:
        basis = "no dynamics of this method has been run here: run a short one first"
        return Cost(job.name, work, cores, basis=basis)
    needed = min(maker.backend.cores or cores, cores)
    wall_h = steps * float(model.costs([n_atoms])[0]) / 3600
    basis = f"{model.n_measured} steps of this method, of {model.mean_atoms:.0f} atoms on average"
    return Cost(job.name, work, cores, wall_h * needed, wall_h, _segments(job, project, wall_h), None, basis)


def measured_speed(results: Results, potential_id: str, project: Project) -> Speed | None:
    """Return the median speed of the newest runs of a potential on this profile, else of other ones; None: no run.

    Runs in a queue and runs on a workstation are told apart by their attempts.
    """
    for where, words in (({"potential_id": potential_id}, "this potential"), ({}, "other potentials")):
        wanted = {**where, "us_per_atom_step": {"$gt": 0}, "cost.cores": {"$gt": 0}}
        found = list(results.database["trajectories"].find(wanted).sort("created_at", -1).limit(_NEWEST))
        runs = [Trajectory.model_validate(run) for run in found]
        here = [run for run in runs if _was_queued(results, run) == (project.settings.profile in CLUSTERS)]
        for chosen, place in ((here, f"profile {project.settings.profile}"), (runs, "another profile")):
            if chosen:
                return _speed(chosen, f"{len(chosen)} {'run' if len(chosen) == 1 else 'runs'} of {words} on {place}")
    return None


def _speed(runs: list[Trajectory], basis: str) -> Speed:
    core_us = [run.us_per_atom_step * run.cost.cores for run in runs if run.us_per_atom_step and run.cost]
    frames = [
        sum(file.size_bytes for file in run.files if file.name.startswith("dump_")) / (run.n_frames * run.n_atoms)
        for run in runs
        if run.n_frames
    ]
    return Speed(statistics.median(core_us), statistics.median(frames) if frames else None, basis)


def _was_queued(results: Results, run: Trajectory) -> bool:
    where = {"job_uuid": run.job_uuid, "slurm_job_id": {"$ne": None}}
    return bool(run.job_uuid) and results.database["attempts"].find_one(where, {"_id": 1}) is not None


def _asked(job: Job, project: Project) -> dict[str, Any]:
    """What the job asks of a queue, by the names of FireWorks' adapter; empty where there is no queue."""
    if project.settings.profile not in CLUSTERS:
        return {}
    general = resources(project, category_of(job) or "analysis").queueadapter()
    return {**general, **job.config.manager_config.get(QUEUE_KEY, {})}


def _cores(job: Job, project: Project) -> int:
    from gst_jobflow.base.cores import cores

    asked = _asked(job, project)
    if not asked:
        return cores()
    ranks = asked.get("ntasks") or (asked.get("ntasks_per_node") or 1) * (asked.get("nodes") or 1)
    return int(ranks) * int(asked.get("cpus_per_task") or 1)


def _segments(job: Job, project: Project, wall_h: float) -> int:
    walltime = _asked(job, project).get("walltime") or project.settings.launch.walltime
    if not walltime:
        return 1
    # a tenth is left for starting, stopping and storing
    return max(1, math.ceil(wall_h * 3600 / (0.9 * walltime_s(str(walltime)))))
