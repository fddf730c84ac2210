"""`gst submit robustness`: count how many hot melts a potential survives."""

from __future__ import annotations

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import check_name, open_project
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.options import PlanFile, read_plan
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.potential_files import check_kind
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.flows.robustness import RobustnessMaker, check_potentials
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import locate


def command(
    potentials: list[str] | None = argument("Ids or names of the potentials to compare."),
    compositions: str | None = option(
        "Formulas of the material; for Ge-Sb-Te: GeTe,Sb2Te3. Default: its compositions."
    ),
    runs: int | None = option("Runs at each composition (10)."),
    atoms: int | None = option("Atoms in the cell (1000)."),
    temperature: float | None = option("Temperature, K (3000)."),
    duration_ps: float | None = option("Duration of a run, ps (500)."),
    seed: int | None = option("Seed of starts, velocities and thermostats (1)."),
    config: PlanFile = None,
    gate: float | None = option(
        "Stop testing a potential that cannot reach this success fraction any more.", min=0, max=1
    ),
    jobs: int = option("Jobs that share the runs; each has one run at a time on each of its cores.", default=1, min=1),
    name: str = option("Name of the study.", default="robustness"),
    show_config: bool = flag("Print all fields, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Count how many hot melts from random starts a potential survives: no lost atoms, no collapsed pair.

    Several potentials share starts and seeds. The defaults are the paper's protocol: 1,000 atoms, 3,000 K, 500 ps.

    Example: gst submit robustness 81b2… 6c0e… --compositions Sb2Te3 --atoms 200 --duration-ps 20
    """
    check_name(name)
    over = {"runs": runs, "n_atoms": atoms, "temperature_K": temperature, "duration_ps": duration_ps, "seed": seed}
    plan = read_plan(RobustnessPlan, config, compositions, **over)
    if show_config:
        typer.echo(as_commented_yaml(plan), nl=False)
        return
    if not potentials:
        raise InputError("which potentials?", "give ids or names; gst query potentials lists them")
    project = open_project()
    results = Results.open(project)
    found = [results.get(Potential, locate(results.database, each, "potentials")[1]) for each in potentials]
    for each in found:
        check_kind(each)
    check_potentials(plan, found)
    ids = list(dict.fromkeys(each.id for each in found))
    total = len(ids) * len(plan.compositions) * plan.runs
    flow = RobustnessMaker(study_name=name, plan=plan, gate=gate, n_jobs=jobs).make(ids)
    shared = counted(min(jobs, total), "job")
    what = f"{counted(total, 'run')} of {plan.n_atoms} atoms over {plan.duration_ps:g} ps in {shared}"
    submit_flow(flow, project, what, only_estimate=estimate, yes=yes)
