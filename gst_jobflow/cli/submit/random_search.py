"""`gst submit random-search`: relax random cells under pressure, and choose structures for labels."""

from __future__ import annotations

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import IterationOption, TagOption, open_project
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.options import PlanFile, read_plan
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.potential_files import check_kind, check_knows_elements
from gst_jobflow.flows.random_search import RandomSearchMaker
from gst_jobflow.selection.random_search import RandomSearchPlan
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


def command(
    potential: str | None = argument("Id or name of the potential."),
    compositions: str | None = option(
        "Formulas of the material; for Ge-Sb-Te: GeTe,Ge1Sb2Te4. Default: its compositions."
    ),
    cells: int | None = option("Cells to draw and relax (200)."),
    number: int | None = option("Structures to choose for labels (50).", "--number", "-N"),
    seed: int | None = option("Seed of cells, pressures and choice (1)."),
    config: PlanFile = None,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    show_config: bool = flag("Print all fields, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Search random structures: relax random cells under pressure, and choose structures for labels.

    Cells that collapse or do not converge are kept and marked: they show what the potential has to learn.

    Example: gst submit random-search GST-ACE --cells 400 --number 100 --tag iter-4
    """
    plan = read_plan(RandomSearchPlan, config, compositions, cells=cells, number=number, seed=seed)
    if show_config:
        typer.echo(as_commented_yaml(plan), nl=False)
        return
    if potential is None:
        raise InputError("which potential?", "give its id or name; gst query potentials lists them")
    project = open_project()
    found = get_located(Results.open(project), Potential, potential)
    check_kind(found)
    check_knows_elements(found, plan.elements, "choose --compositions of its elements")
    maker = RandomSearchMaker(plan=plan, iteration=iteration, tags=tag or [])
    what = f"random search of {plan.cells} cells, {plan.number} to choose"
    submit_flow(maker.make(found.id), project, what, only_estimate=estimate, yes=yes)
