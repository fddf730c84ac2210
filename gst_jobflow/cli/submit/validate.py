"""`gst submit validate`: compare amorphous cells of potentials with dynamics from first principles."""

from __future__ import annotations

from typing import Any

import typer
from jobflow import Flow

from gst_jobflow.analysis.reference_frames import ReferenceFrames, find_reference_frames
from gst_jobflow.analysis.validation import ValidationPlan
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import check_name, open_project, say
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import argument, flag, option, with_options
from gst_jobflow.cli.reference_options import ReferenceOptions
from gst_jobflow.cli.submit.options import PlanFile, read_plan
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.dynamics.potential_files import check_kind, check_knows_elements
from gst_jobflow.flows.validation import ValidationMaker
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located
from gst_jobflow.structures.composition import atom_counts, elements_in


@with_options(ReferenceOptions, "reference")
def command(
    potentials: list[str] | None = argument("Ids or names of the potentials to compare."),
    compositions: str | None = option("Formulas, e.g. GeTe,Sb2Te3; default: those of all reference frames."),
    reference: ReferenceOptions = ReferenceOptions(),
    runs: int | None = option("Melt-quenches of each potential at each composition (3)."),
    atoms: int | None = option("Atoms in the cell; default: as the reference."),
    quench_ps: float | None = option("Duration of the quench, ps (20)."),
    temperature: float | None = option("Temperature of the compared frames, K (300)."),
    config: PlanFile = None,
    name: str = option("Name of the study.", default="validation"),
    show_config: bool = flag("Print all fields, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Compare melt-quenched amorphous cells with frames of first-principles dynamics, number by number.

    Partial g(r), bond angles, coordination, homopolar bonds, tetrahedra and bond-length ratio, with statistical errors.
    Without a reference, labelled structures of config type aimd are taken.

    Example: gst submit validate GST-ACE --compositions Ge2Sb2Te5 --trajectory aimd --after-ps 20 --runs 5
    """
    check_name(name)
    over: dict[str, Any] = {"runs": runs, "n_atoms": atoms, "quench_ps": quench_ps}
    plan = read_plan(ValidationPlan, config, compositions, **over, temperature_K=temperature)
    plan = plan.model_copy(update={"references": reference.over(plan.references)})
    if show_config:
        typer.echo(as_commented_yaml(plan), nl=False)
        return
    if not potentials:
        raise InputError("which potentials?", "give ids or names; gst query potentials lists them")
    project = open_project()
    flow, number = _flow(Results.open(project), potentials, plan, name)
    what = f"{counted(number, 'melt-quench', 'melt-quenches')} to compare"
    submit_flow(flow, project, what, only_estimate=estimate, yes=yes)


def _flow(results: Results, which: list[str], plan: ValidationPlan, name: str) -> tuple[Flow, int]:
    """Find potentials and references, check that they fit, and return the flow and the number of its melt-quenches."""
    found = list({each.id: each for each in (get_located(results, Potential, text) for text in which)}.values())
    _check_elements(found, plan.compositions)
    references = find_reference_frames(results, plan.references, plan.compositions)
    _check_elements(found, list(references))
    for each in references.values():
        plan.check_temperature(each)
        atom_counts(each.formula, plan.start(each, 0).n_atoms, "exact")
    _tell(results, found, references)
    flow = ValidationMaker(study_name=name, plan=plan).make([each.id for each in found], references)
    return flow, len(found) * len(references) * plan.runs


def _check_elements(potentials: list[Potential], compositions: list[str]) -> None:
    elements = elements_in(compositions)
    for each in potentials:
        check_kind(each)
        check_knows_elements(each, elements, "choose --compositions of its elements")


def _tell(results: Results, potentials: list[Potential], references: dict[str, ReferenceFrames]) -> None:
    """Say what the reference is, and which potentials were fitted to another method."""
    for each in references.values():
        frames, runs = counted(each.n_frames, "reference frame"), counted(len(each.runs), "run")
        say(f"{each.formula}: {frames} of {runs}, method {each.fingerprint}")
    methods = {each.fingerprint for each in references.values()}
    for potential in potentials:
        if potential.dataset_id and (own := results.get(Dataset, potential.dataset_id).fingerprint) not in methods:
            say(f"potential {potential.name} was fitted to labels of another method: {own}")
