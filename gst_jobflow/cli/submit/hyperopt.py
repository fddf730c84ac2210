"""`gst submit hyperopt`: search the settings of a fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gst_jobflow.cli.common import open_project
from gst_jobflow.cli.fit_options import fit_config
from gst_jobflow.cli.option_group import argument, option
from gst_jobflow.cli.searches import SearchOverrides, go_on, prepare
from gst_jobflow.cli.submit.options import read_config
from gst_jobflow.cli.submit.submission import Estimate, Yes, check_flow, submit_flow
from gst_jobflow.store import Results


def command(
    dataset_id: str | None = argument("Id of a dataset with a test set."),
    preset: str | None = option("xpot-gst: four fields, 32 fits of which 8 explore."),
    space: Path | None = option("YAML file: fields with low, high, scale or choices."),
    fit: str = option("Preset of the fits: gst-ace-24, small or linear.", default="gst-ace-24"),
    config: Path | None = option("YAML file with fields that replace the preset's."),
    fits: int | None = option("Total number of fits.", "--fits", "-n"),
    start: int | None = option("Fits at evenly spread points before the first proposal."),
    at_once: int | None = option("Number of fits at once."),
    alpha: float | None = option("Loss: alpha * energy RMSE (meV/atom) + (1 - alpha) * force RMSE (meV/Å)."),
    resume: str | None = option("Id of a search to continue; --fits may be larger."),
    name: str = option("Name of the search; its potentials are NAME 1, NAME 2, ….", default="search"),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Search the settings of a fit: evenly spread points first, then proposals of a Gaussian process.

    Each fit is a job and a potential. The file of --space may also hold n_fits, n_start, at_once, seed, objective
    (alpha, speed) and ending (target, patience).

    Example: gst submit hyperopt 4f0c… --preset xpot-gst --at-once 4
    """
    project = open_project()
    results = Results.open(project)
    asked = SearchOverrides(fits=fits, start=start, at_once=at_once, alpha=alpha)
    if resume is not None:
        flow, what, store = go_on(results, resume, asked, [dataset_id, preset, space, config])
    else:
        fit_of = partial(fit_config, preset=fit, values=read_config(config))
        flow, what, store = prepare(results, dataset_id, preset, space, fit_of, asked, name)
    check_flow(flow, project, show=estimate, yes=yes)
    if not estimate:
        store()
        submit_flow(flow, project, what)
