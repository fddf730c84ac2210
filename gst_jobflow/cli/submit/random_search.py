"""`gst submit random-search`: relax random cells under pressure, and choose structures for labels."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import IterationOption, TagOption, open_project
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.submit.options import PlanFile, read_plan
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.potential_files import check_kind, check_knows_elements
from gst_jobflow.flows.random_search import RandomSearchMaker
from gst_jobflow.selection.random_search import RandomSearchPlan
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


def command(
    potential: Annotated[str | None, typer.Argument(help="Id or name of the potential.")] = None,
    compositions: Annotated[
        str | None,
        typer.Option(help="Formulas of the material; for Ge-Sb-Te: GeTe,Ge1Sb2Te4. Default: its compositions."),
    ] = None,
    cells: Annotated[int | None, typer.Option(help="Cells to draw and relax (200).")] = None,
    number: Annotated[int | None, typer.Option("--number", "-N", help="Structures to choose for labels (50).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of cells, pressures and choice (1).")] = None,
    config: PlanFile = None,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print all fields, and submit nothing.")] = False,
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
