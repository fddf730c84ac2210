"""Submit a flow with its resources, or estimate its cost and check the budget."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer
from jobflow import Flow, Job

from gst_jobflow.base.resources import request_by_category
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.common import global_options, print_table, say
from gst_jobflow.launch.workflow import check_size, check_workflow_file, submit, write_workflow
from gst_jobflow.store.work import ExpectedCost

Estimate = Annotated[bool, typer.Option("--estimate", help="Estimate the cost and submit nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Submit even above launch.budget_core_hours.")]

_SHOWN = 12


def submit_flow(
    flow: Flow | Job,
    project: Project,
    what: str,
    *,
    only_estimate: bool = False,
    yes: bool = True,
    elements: Collection[str] = (),
) -> None:
    """Submit a flow, or print its estimated cost; refuse a flow above the budget or whose programs are missing.

    Parameters
    ----------
    what
        Description of the work for the user.
    yes
        Ignore the budget.
    elements
        Elements that the flow labels.

    Raises
    ------
    InputError
        The cost is above `launch.budget_core_hours`, or unknown.
    MissingProgramError
        This machine, on which the jobs run, lacks a program.
    """
    check_flow(flow, project, show=only_estimate, yes=yes, elements=elements)
    target = global_options().workflow_file
    if not only_estimate and target is not None:
        write_workflow(flow, project, target)
        say(f"wrote {what}; next: lpad add {target}")
    elif not only_estimate:
        submit(flow, project)
        say(f"submitted {what}; next: gst launch")


def check_flow(flow: Flow | Job, project: Project, *, show: bool, yes: bool, elements: Collection[str] = ()) -> None:
    """Print the cost of a flow if asked for, else check size, `--to` and programs; raises as `submit_flow`.

    It checks the budget unless `yes`. Call it before anything is stored.
    """
    request_by_category(flow, global_options().resources)
    budget = project.settings.launch.budget_core_hours
    if show or (budget is not None and not yes):
        from gst_jobflow.flows.estimate import check_budget, estimate

        costs = estimate(flow, project)
        if show:
            _show(costs)
        if not yes:
            check_budget(costs, budget)
    if not show:
        from gst_jobflow.flows.machine import check_machine

        check_size(flow)
        if (target := global_options().workflow_file) is not None:
            check_workflow_file(target)
        check_machine(flow, project, elements)


def _show(costs: list[ExpectedCost]) -> None:
    if not costs:
        say("no fits, labels or dynamics: there is no estimate")
        return

    def number(value: float | None) -> str:
        return "unknown" if value is None else f"{value:,.3g}"

    def total(known: list[float]) -> str:
        return number(sum(known) if known else None)

    rows: list[tuple[object, ...]] = [
        (cost.name, cost.work, cost.cores, number(cost.core_hours), number(cost.wall_h), cost.segments or "unknown",
         number(cost.disk_GB), cost.basis)
        for cost in costs[:_SHOWN]
    ]  # fmt: skip
    if len(costs) > _SHOWN:
        rows.append((f"… and {len(costs) - _SHOWN} more", "", "", "", "", "", "", ""))
    known = [cost.core_hours for cost in costs if cost.core_hours is not None]
    disk = [cost.disk_GB for cost in costs if cost.disk_GB is not None]
    segments = sum(cost.segments or 0 for cost in costs)
    missing = f"{len(costs) - len(known)} unknown" if len(known) < len(costs) else ""
    rows.append(("total", "", "", total(known), "", segments or "unknown", total(disk), missing))
    print_table(rows, ["job", "work", "cores", "core hours", "wall h", "segments", "disk GB", "from"])
