"""`gst submit fit`: fit a potential to a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import typer

from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import check_name, chosen_material, open_project, parse_assignments
from gst_jobflow.cli.fit_options import MODELS, as_commented_yaml, fit_config, models, other_config
from gst_jobflow.cli.option_group import argument, flag, option, with_options
from gst_jobflow.cli.submit.options import ConfigFile, FitOption, read_config
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.fitting.maker import Config
from gst_jobflow.flows.fit import FitFlowMaker
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

_FITS = {"ace": "fit", "grace": "GRACE/FS fit"}


@dataclass(frozen=True, kw_only=True)
class AceOptions:
    """Options for ACE fits only."""

    preset: str | None = option("gst-ace-24 (size of the paper's), small or linear; default: the parent's, else small.")
    solver: str | None = option("pacemaker, or linear: P = 1 in seconds.")
    parent: str | None = option("Id or name of a potential to start from.")
    first_guess: bool = flag("Fit a linear potential first, and start from it.", "--first-guess")
    upfit: float | None = option(
        "Afterwards, upfit with force weight KAPPA; with --parent, run only the upfit.", metavar="KAPPA"
    )
    ensemble: int = option("Fit this many, which differ in seed and weights.", default=1, min=1)

    def check(self, model: str) -> None:
        """Refuse an unknown model, and these options for another one than ACE."""
        check_known("no model", model, models())
        given = asdict(self) | {"first_guess": self.first_guess or None, "ensemble": self.ensemble > 1 or None}
        if model != "ace" and (ace_only := [name for name, value in given.items() if value is not None]):
            raise InputError(
                f"{', '.join(f'--{name}' for name in ace_only).replace('_', '-')}: for ACE fits only",
                f"leave out what {model} lacks; --option sets its fields, e.g. seed=2 for another fit, and "
                f"gst submit fit --model {model} --show-config prints them",
            )


@with_options(AceOptions, "ace")
def command(
    dataset_id: str | None = argument("Id or name of the dataset."),
    name: str = option("Name of the potential.", default="potential"),
    config: ConfigFile = None,
    option: FitOption = None,
    model: str = option(
        f"{', '.join(models())}; all but ace have fields of their own, grace is GRACE/FS.", default="ace"
    ),
    ace: AceOptions = AceOptions(),
    show_config: bool = flag("Print all fields, and submit nothing.", "--show-config"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Fit a potential to a dataset: ACE with pacemaker, GRACE/FS with gracemaker, or the kind of a plugin.

    Examples: gst submit fit 4f0c… --preset gst-ace-24 --name GST-ACE --upfit 0.1; gst submit fit 4f0c… --solver linear;
    gst submit fit 4f0c… --parent 81b2… --upfit 0.05; gst submit fit --preset small --show-config > fit.yaml; gst submit
    fit 4f0c… --model grace --name GST-GRACE
    """
    check_name(name)
    values, options = read_config(config), parse_assignments(option or [], "--option")
    ace.check(model)

    def settings_for(elements: tuple[str, ...], start: Potential | None = None) -> Config:
        if model != "ace":
            return other_config(model, elements, values, options)
        found = fit_config(elements, ace.preset, start, values, options, ace.solver)
        return found.upfit(ace.upfit) if start is not None and ace.upfit is not None else found

    if show_config and dataset_id is None and ace.parent is None:
        typer.echo(as_commented_yaml(settings_for(chosen_material().elements)), nl=False)
        return
    if dataset_id is None:
        raise InputError("no dataset to fit to", "gst query datasets lists ids; gst dataset create makes one")
    project = open_project()
    results = Results.open(project)
    dataset = get_located(results, Dataset, dataset_id)
    start = None if ace.parent is None else get_located(results, Potential, ace.parent)
    chosen = settings_for(tuple(dataset.elements), start)
    if show_config:
        typer.echo(as_commented_yaml(chosen), nl=False)
        return
    maker = FitFlowMaker(potential_name=name, config=chosen, first_guess=ace.first_guess, ensemble=ace.ensemble)
    maker.plugin = model if model not in MODELS else ""
    maker.upfit_kappa = ace.upfit if start is None else None  # with a parent, the upfit is the only stage
    fits = f"{ace.ensemble} fits" if ace.ensemble > 1 else _FITS.get(model, f"{model} fit")
    what = f"{fits} {name} to dataset {dataset.name} ({counted(dataset.counts['train'], 'label')})"
    submit_flow(maker.make(dataset.id, start.id if start else None), project, what, only_estimate=estimate, yes=yes)
