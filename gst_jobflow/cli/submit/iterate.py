"""`gst submit iterate`: grow a dataset and a potential in iterations, until a gate is met."""

from __future__ import annotations

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.settings import Project
from gst_jobflow.base.shipped import yaml_mapping
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import check_name, chosen_material, global_options, open_project, print_table, say
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.submission import Estimate, Yes
from gst_jobflow.documents import Study
from gst_jobflow.flows.estimate import check_total
from gst_jobflow.flows.iteration.begin import StepForecast, check_all, forecast, starting_point
from gst_jobflow.flows.iteration.maker import (
    STEPS,
    backend_for,
    iteration_flow,
    iteration_plan,
    new_study,
    submit_iteration,
)
from gst_jobflow.flows.iteration.plan import PLANS, IterationPlan
from gst_jobflow.flows.machine import check_machine
from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.store import Results
from gst_jobflow.store.work import AssumedCosts


def command(
    plan: str | None = argument("YAML file of a plan, or the name of a shipped one."),
    preset: str | None = option("A shipped plan: gst-ace-24 or iterate-small."),
    name: str | None = option("Name of the study and its potentials; else the plan's."),
    pause_before: list[str] | None = option(f"Wait for gst approve before this step (repeatable): {', '.join(STEPS)}."),
    branch: str | None = option("Go on after iteration N (from 0) of another study.", "--from", metavar="STUDY:N"),
    show_config: bool = flag("Print the plan, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Grow a dataset and a potential in iterations: candidates, choice, labels, dataset, fit, robustness, gate.

    Each iteration is a workflow; its last job submits the next one, until the gate is met or the plan ends. gst report
    shows all iterations in a table and figures.

    Examples: gst submit iterate iterate-small; gst submit iterate my-plan.yaml --pause-before label
    """
    if global_options().workflow_file is not None:
        raise InputError("--to: iterations submit one another", "leave --to out; --pause-before holds steps back")
    text = PLANS.text(_which(plan, preset))
    if show_config:
        typer.echo(text, nl=False)
        return
    wanted = _read(text, str(plan or preset), name)
    steps = _steps(pause_before)
    project = open_project()
    results = Results.open(project)
    backend = backend_for(wanted, project)
    fingerprint = backend.method().fingerprint()
    first, begin = starting_point(results, wanted, fingerprint, branch)
    asked = {key or "": value.model_dump(exclude_none=True) for key, value in global_options().resources.items()}
    found = {"fit_config": begin.pop("fit_config")} if "fit_config" in begin else {}
    study = new_study(wanted, fingerprint, first, begin, ask=asked, pause_before=steps, **found)
    check_all(study, backend)
    _weigh(study, backend, project, only_estimate=estimate, yes=yes)
    if not estimate:
        check_machine(iteration_flow(study, first, backend).flow, project, wanted.all_elements)
        results.add(study)
        submit_iteration(project, study, first)
        say(f"submitted iteration {first} of {wanted.name}, study {study.id}; next: gst launch")


def _steps(names: list[str] | None) -> list[str]:
    for name in names or []:
        if name not in STEPS:
            raise InputError(f"--pause-before {name}: no such step", nearest(name, STEPS))
    return names or []


def _weigh(study: Study, backend: LabelBackend, project: Project, *, only_estimate: bool, yes: bool) -> None:
    """Print the expected cost if it is asked for, and refuse one above the budget unless `yes`."""
    budget = project.settings.launch.budget_core_hours
    if not only_estimate and (budget is None or yes):
        return
    costs = list(forecast(study, backend, project))
    if only_estimate:
        _show(costs, iteration_plan(study).assumed)
    if not yes:
        named = [(f"{cost.step} of iteration {cost.iteration} is unknown", cost.core_hours) for cost in costs]
        check_total(named, budget)


def _which(plan: str | None, preset: str | None) -> str:
    if (plan is None) == (preset is None):
        raise InputError("which plan?", "give a YAML file, or --preset iterate-small; --show-config prints one")
    return str(plan or preset)


def _read(text: str, where: str, name: str | None) -> IterationPlan:
    content = yaml_mapping(text, where, "; --show-config prints an example")
    if name is not None:
        content["name"] = name
    plan = checked(IterationPlan, {"material": chosen_material(), **content}, where)
    check_name(plan.name)
    return plan


def _show(costs: list[StepForecast], assumed: AssumedCosts) -> None:
    """Print the expected cost by iteration and step, and the sums."""
    rows = [
        [cost.iteration, cost.step, cost.work, _number(cost.core_hours), _number(cost.disk_GB), cost.basis]
        for cost in costs
    ]
    known = [cost.core_hours for cost in costs if cost.core_hours is not None]
    unknown = f"{len(costs) - len(known)} unknown" if len(known) < len(costs) else ""
    labels, disk_GB = sum(cost.labels for cost in costs), sum(cost.disk_GB for cost in costs)
    total = ["total", "", f"up to {labels:,} labels", _number(sum(known) if known else None), _number(disk_GB), unknown]
    print_table([*rows, total], ["iteration", "step", "work", "core hours", "disk GB", "from"])
    if any(cost.basis == assumed.basis for cost in costs):
        say(f"assumed, as it was not measured here: {assumed.source}")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.3g}"
