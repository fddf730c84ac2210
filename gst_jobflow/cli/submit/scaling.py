"""`gst submit scaling`: measure speed and memory of potentials against ranks, nodes and atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import typer

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import check_name, chosen_material, open_project
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.options import read_config
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.evaluation.scaling import Mode, ScalingPlan
from gst_jobflow.flows.scaling import ScalingMaker, check_contestants, check_pair_lines, check_styles
from gst_jobflow.launch.configs import has_queue
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import locate


def command(
    mode: str = argument("weak, strong, size or memory.", default=...),
    potentials: list[str] | None = argument("Ids or names of the potentials to compare."),
    atoms: str | None = option("Atoms of the cells, e.g. 1000,10000; weak: of each node or rank."),
    ranks: str | None = option("MPI ranks on this machine, e.g. 1,2; default: all cores."),
    nodes: str | None = option("Nodes in a queue, e.g. 1,2,4,8."),
    ranks_per_node: int | None = option("MPI ranks of each node.", min=1),
    composition: str | None = option("Formula of the cell; default: the material's."),
    repeats: int | None = option("Timed runs of each point (3); the median counts.", min=1),
    seconds: float | None = option("Time of a run to aim at, s (5)."),
    steps: int | None = option("Steps of each run, instead of --seconds."),
    config: Path | None = option("YAML file with fields of the plan; its pair_styles are measured, too."),
    name: str = option("Name of the study.", default="scaling"),
    show_config: bool = flag("Print all fields, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Measure speed, memory and communication of potentials against ranks, nodes and atoms.

    The table has LAMMPS' own breakdown. A cell that does not fit into memory is a point of the curve. weak and strong
    vary ranks or nodes, size and memory the number of atoms.

    Example: gst submit scaling size 81b2… 6c0e… --atoms 1000,10000,100000 --ranks 1,2
    """
    check_name(name)
    check_known("there is no scaling study", mode, get_args(Mode))
    lists = {"n_atoms": ("--atoms", atoms), "ranks": ("--ranks", ranks), "nodes": ("--nodes", nodes)}
    given = {field: _numbers(option, text) for field, (option, text) in lists.items() if text is not None}
    others = {"ranks_per_node": ranks_per_node, "composition": composition, "repeats": repeats, "seconds": seconds,
              "n_steps": steps}  # fmt: skip
    plan = _plan(mode, config, given | {key: value for key, value in others.items() if value is not None})
    if show_config:
        typer.echo(as_commented_yaml(plan), nl=False)
        return
    project = open_project()
    results = Results.open(project)
    found = [results.get(Potential, locate(results.database, each, "potentials")[1]) for each in potentials or []]
    found = list({each.id: each for each in found}.values())
    check_contestants(plan, found)
    _check_machine(plan, project, found)
    points = len(plan.layouts) * len(plan.n_atoms)
    n_potentials = len(found) + len(plan.pair_styles)
    what = f"{counted(points, 'point')} of {counted(n_potentials, 'potential')} in {counted(len(plan.layouts), 'job')}"
    flow = ScalingMaker(study_name=name, plan=plan).make([each.id for each in found])
    submit_flow(flow, project, what, only_estimate=estimate, yes=yes)


def _plan(mode: str, config: Path | None, given: dict[str, Any]) -> ScalingPlan:
    values, where = read_config(config)
    values = {"material": chosen_material()} | values | {"mode": mode} | given
    if not values.get("ranks") and not values.get("nodes"):
        here = cores()
        powers = [2**power for power in range(here.bit_length()) if 2**power <= here]
        values["ranks"] = powers if mode in ("weak", "strong") else [here]
    if "n_atoms" not in values:
        raise InputError("how many atoms?", "give --atoms, for example 1000,10000,100000")
    return checked(ScalingPlan, values, where)


def _numbers(option: str, text: str) -> list[int]:
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{option} {text}: not positive whole numbers", f"for example {option} 1,2,4")
    return [int(part) for part in parts]


def _check_machine(plan: ScalingPlan, project: Project, potentials: list[Potential]) -> None:
    """Refuse ranks that this machine lacks, nodes outside a queue, and pair styles that its LAMMPS cannot run."""
    if has_queue(project.settings.profile):
        check_pair_lines(plan, None)
        return
    if plan.nodes:
        raise InputError(f"profile {project.settings.profile} has no queue and so no nodes", "give --ranks")
    if (most := max(plan.ranks)) > (here := cores()):
        raise InputError(
            f"{most} ranks are more than the {here} cores of this machine, so they would wait for each other",
            f"give --ranks of at most {here}, or use a project with a SLURM profile",
        )
    if plan.pair_styles or any(each.kind != "ace" for each in potentials):
        engine = lammps_engine(project.settings, n_ranks=1)
        check_styles(plan, potentials, engine)
        check_pair_lines(plan, engine)
