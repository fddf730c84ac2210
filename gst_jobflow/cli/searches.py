"""Prepare searches for `gst submit hyperopt`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobflow import Flow

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import read_yaml
from gst_jobflow.documents import Dataset, Study
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.flows.search import HyperoptMaker, check_dataset, reopen
from gst_jobflow.hyperopt import plan as plans
from gst_jobflow.hyperopt.plan import SearchPlan, base_fit
from gst_jobflow.hyperopt.rows import ENDED
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


@dataclass(frozen=True)
class SearchOverrides:
    """Options of the command line that replace those of a preset or file; None: not given."""

    fits: int | None = None
    start: int | None = None
    at_once: int | None = None
    alpha: float | None = None

    def over(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a plan with those of the command line."""
        named = {"n_fits": self.fits, "n_start": self.start, "at_once": self.at_once}
        found = {**values, **{key: value for key, value in named.items() if value is not None}}
        if self.alpha is not None:
            found["objective"] = {**(values.get("objective") or {}), "alpha": self.alpha}
        return found


def prepare(
    results: Results,
    dataset_id: str | None,
    preset: str | None,
    space: Path | None,
    fit_of: Callable[[tuple[str, ...]], FitConfig],
    overrides: SearchOverrides,
    name: str,
) -> tuple[Flow, str, Callable[[], object]]:
    """Check a new search; return its flow, its description, and a function that stores its study.

    Parameters
    ----------
    fit_of
        Returns the base fit for the elements of a dataset.

    Raises
    ------
    InputError
        The options are incomplete or contradictory.
    """
    if dataset_id is None:
        raise InputError("no dataset to fit to", "gst query datasets lists ids; gst dataset create makes one")
    if (preset is None) == (space is None):
        raise InputError("no search space", "give either --preset xpot-gst or --space FILE.yaml")
    dataset = get_located(results, Dataset, dataset_id)
    plan, fit = _plan(preset, space, fit_of(tuple(dataset.elements)), overrides)
    check_dataset(dataset, fit)
    maker = HyperoptMaker(plan=plan, fit=fit, name=name)
    store = partial(results.add, maker.study(dataset.id))
    what = f"search {maker.study_id}: {counted(plan.n_fits, 'fit')} to dataset {dataset.name}, {plan.at_once} at once"
    return maker.make(dataset_id=dataset.id), what, store


def _plan(
    preset: str | None, file: Path | None, fit: FitConfig, overrides: SearchOverrides
) -> tuple[SearchPlan, FitConfig]:
    if file is not None:
        content = read_yaml(file)
        if "fields" not in content:
            raise InputError(
                f"{file} names no fields to search", "write 'fields:' and below it names with their ranges"
            )
        values = {"space": {"fields": content.pop("fields")}, **content}
        return checked(plans.SearchPlan, overrides.over(values), str(file)), fit
    assert preset is not None  # one of the two is given
    plan, fit = plans.preset(preset, fit)
    return checked(plans.SearchPlan, overrides.over(plan.model_dump(mode="json"))), fit


def go_on(
    results: Results, study_id: str, overrides: SearchOverrides, others: Sequence[Any]
) -> tuple[Flow, str, Callable[[], object]]:
    """Continue a search that ended or was cancelled; return what `prepare` does.

    Raises
    ------
    InputError
        An option other than the number of fits is given, or nothing is left to do.
    """
    if any(other is not None for other in (*others, overrides.start, overrides.at_once, overrides.alpha)):
        raise InputError("a continued search keeps its settings", "with --resume give only --fits, or start a new one")
    study = get_located(results, Study, study_id)
    if study.kind != "hyperopt":
        raise InputError(f"study {study_id} is of kind {study.kind}", "gst query studies -w kind=hyperopt")
    n_fits = overrides.fits or len(study.table)
    plan = reopen(results, study, n_fits, store=False)
    maker = HyperoptMaker(plan=plan, fit=base_fit(study), name=study.name, study_id=study.id)
    done = [row["trial"] for row in study.table if row["state"] in ENDED]
    flow, what = maker.make(done, study.plan["dataset_id"]), counted(plan.n_fits - len(done), "more fit")
    return flow, f"search {study.id}: {what}", partial(reopen, results, study, n_fits)
