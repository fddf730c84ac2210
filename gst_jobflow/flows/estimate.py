"""Cost of a flow before it runs: core hours, segments and disk, from what this project has measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jobflow import Flow, Job

from gst_jobflow.base.categories import category_of
from gst_jobflow.base.cores import cores
from gst_jobflow.base.deadline import walltime_s
from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.pacemaker import CPU, pacemaker_runner
from gst_jobflow.base.resources import QUEUE_KEY, jobs_of
from gst_jobflow.base.settings import Project, Settings
from gst_jobflow.launch.configs import has_queue, resources
from gst_jobflow.store import Results
from gst_jobflow.store.work import Allotment, AssumedCosts, ExpectedCost, declared_work


def estimate(flow: Flow | Job, project: Project, assumed: AssumedCosts | None = None) -> list[ExpectedCost]:
    """Return the expected cost of each job of `flow` that computes; structures, datasets and pages count as nothing.

    Runs scale with atoms and steps, labels with a power of their atoms, fits with iterations, functions and atoms;
    relaxations are left out. Where nothing comparable was measured, they are as `assumed`, else None.
    """
    results, costs = Results.open(project), []
    known: dict[Any, Any] = {}
    for job in jobs_of(flow):
        work = declared_work(job)
        if work is not None or category_of(job) in ("fits", "md", "labels"):
            allotment = _allotment(job, project, results, known, assumed or AssumedCosts())
            costs.append(work.cost(allotment) if work else allotment.expected("", "this kind of job has no estimate"))
    return costs


def check_budget(costs: list[ExpectedCost], budget_core_hours: float | None) -> None:
    """Refuse what costs more than the budget, or an unknown amount (InputError)."""
    check_total([(f"{cost.name} is unknown ({cost.basis})", cost.core_hours) for cost in costs], budget_core_hours)


def check_total(costs: Sequence[tuple[str, float | None]], budget_core_hours: float | None) -> None:
    """Refuse named core hours that are unknown or add up to more than the budget; see `check_budget`."""
    if budget_core_hours is None:
        return
    fix = "make it smaller, raise launch.budget_core_hours, or pass --yes"
    if unknown := [name for name, hours in costs if hours is None]:
        raise InputError(f"the cost of {unknown[0]}, and there is a budget", fix)
    total = sum(hours or 0.0 for _, hours in costs)
    if total > budget_core_hours:
        raise InputError(f"it would cost about {total:,.3g} core hours; the budget is {budget_core_hours:,.3g}", fix)


def _allotment(job: Job, project: Project, results: Results, known: dict[Any, Any], assumed: AssumedCosts) -> Allotment:
    """Return the cores and the walltime of a job: what it requests from a queue, or this machine's."""
    profile, number = project.settings.profile, cores()
    has_gpu = partial(_gpu_for_fits, project.settings)
    walltime: Any = project.settings.launch.walltime
    if queued := has_queue(profile):
        general = resources(project, category_of(job) or "analysis").queueadapter()
        asked = {**general, **job.config.manager_config.get(QUEUE_KEY, {})}
        ranks = asked.get("ntasks") or (asked.get("ntasks_per_node") or 1) * (asked.get("nodes") or 1)
        has_gpu = partial(bool, asked.get("gpus_per_node"))
        number, walltime = int(ranks) * int(asked.get("cpus_per_task") or 1), asked.get("walltime") or walltime
    limit_s = walltime_s(str(walltime)) if walltime else None
    return Allotment(job.name, number, limit_s, profile, queued, has_gpu, results, known, assumed)


def _gpu_for_fits(settings: Settings) -> bool:
    """Return whether fits on this machine run on a GPU."""
    try:
        return pacemaker_runner(settings).device() != CPU
    except MissingProgramError:
        return False
