"""`gst submit hyperopt`: search the settings of a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobflow import Flow

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import open_project, read_yaml
from gst_jobflow.cli.fit_options import fit_config
from gst_jobflow.cli.option_group import argument, option, with_options
from gst_jobflow.cli.submit.options import read_config
from gst_jobflow.cli.submit.submission import Estimate, Yes, check_flow, submit_flow
from gst_jobflow.documents import Dataset, Study
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.flows.search import HyperoptMaker, check_dataset, reopen
from gst_jobflow.hyperopt import plan as plans
from gst_jobflow.hyperopt.plan import SearchPlan, base_fit
from gst_jobflow.hyperopt.rows import ENDED
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

Prepared = tuple[Flow, str, Callable[[], object]]
"""The flow of a search, its description, and a function that stores its study."""


@dataclass(frozen=True)
class SearchOptions:
    """Options that replace fields of a preset or file; None: not given."""

    fits: int | None = option("Total number of fits.", "--fits", "-n")
    start: int | None = option("Fits at evenly spread points before the first proposal.")
    at_once: int | None = option("Number of fits at once.")
    alpha: float | None = option("Loss: alpha * energy RMSE (meV/atom) + (1 - alpha) * force RMSE (meV/Å).")

    def over(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a plan with those of the command line."""
        named = {"n_fits": self.fits, "n_start": self.start, "at_once": self.at_once}
        found = {**values, **{key: value for key, value in named.items() if value is not None}}
        if self.alpha is not None:
            found["objective"] = {**(values.get("objective") or {}), "alpha": self.alpha}
        return found


@with_options(SearchOptions, "asked")
def command(
    dataset_id: str | None = argument("Id or name of a dataset with a test set."),
    preset: str | None = option("xpot-gst: four fields, 32 fits of which 8 explore."),
    space: Path | None = option("YAML file: fields with low, high, scale or choices."),
    fit: str = option("Preset of the fits: gst-ace-24, small or linear.", default="gst-ace-24"),
    config: Path | None = option("YAML file with fields that replace the preset's."),
    asked: SearchOptions = SearchOptions(),
    resume: str | None = option("Id or name of a search to continue; --fits may be larger."),
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
    if resume is not None:
        settings = (dataset_id, preset, space, config, asked.start, asked.at_once, asked.alpha)
        if any(each is not None for each in settings):
            raise InputError(
                "a continued search keeps its settings", "with --resume give only --fits, or start a new one"
            )
        flow, what, store = _continued(results, resume, asked.fits)
    else:
        fit_of = partial(fit_config, preset=fit, values=read_config(config))
        flow, what, store = _prepared(results, dataset_id, preset, space, fit_of, asked, name)
    check_flow(flow, project, show=estimate, yes=yes)
    if not estimate:
        store()
        submit_flow(flow, project, what)


def _prepared(
    results: Results,
    dataset_id: str | None,
    preset: str | None,
    space: Path | None,
    fit_of: Callable[[tuple[str, ...]], FitConfig],
    asked: SearchOptions,
    name: str,
) -> Prepared:
    """Check a new search; `fit_of` returns the base fit for the elements of a dataset."""
    if dataset_id is None:
        raise InputError("no dataset to fit to", "gst query datasets lists ids; gst dataset create makes one")
    if (preset is None) == (space is None):
        raise InputError("no search space", "give either --preset xpot-gst or --space FILE.yaml")
    dataset = get_located(results, Dataset, dataset_id)
    plan, fit = _plan(preset, space, fit_of(tuple(dataset.elements)), asked)
    check_dataset(dataset, fit)
    maker = HyperoptMaker(plan=plan, fit=fit, name=name)
    store = partial(results.add, maker.study(dataset.id))
    what = f"search {maker.study_id}: {counted(plan.n_fits, 'fit')} to dataset {dataset.name}, {plan.at_once} at once"
    return maker.make(dataset_id=dataset.id), what, store


def _plan(preset: str | None, file: Path | None, fit: FitConfig, asked: SearchOptions) -> tuple[SearchPlan, FitConfig]:
    if file is not None:
        content = read_yaml(file)
        if "fields" not in content:
            raise InputError(
                f"{file} names no fields to search", "write 'fields:' and below it names with their ranges"
            )
        values = {"space": {"fields": content.pop("fields")}, **content}
        return checked(SearchPlan, asked.over(values), str(file)), fit
    assert preset is not None  # one of the two is given
    plan, fit = plans.preset(preset, fit)
    return checked(SearchPlan, asked.over(plan.model_dump(mode="json"))), fit


def _continued(results: Results, study_id: str, fits: int | None) -> Prepared:
    """Reopen a search that ended or was cancelled, with more fits or those that are left."""
    study = get_located(results, Study, study_id)
    if study.kind != "hyperopt":
        raise InputError(f"study {study_id} is of kind {study.kind}", "gst query studies -w kind=hyperopt")
    n_fits = fits or len(study.table)
    plan = reopen(results, study, n_fits, store=False)
    maker = HyperoptMaker(plan=plan, fit=base_fit(study), name=study.name, study_id=study.id)
    done = [row["trial"] for row in study.table if row["state"] in ENDED]
    flow, what = maker.make(done, study.plan["dataset_id"]), counted(plan.n_fits - len(done), "more fit")
    return flow, f"search {study.id}: {what}", partial(reopen, results, study, n_fits)
