"""Check a plan against the database before its first iteration is submitted, and forecast its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import jobs_of
from gst_jobflow.base.settings import Project
from gst_jobflow.datasets.members import load_members
from gst_jobflow.datasets.table import ids_of, texts_of
from gst_jobflow.documents import Dataset, Potential, Study
from gst_jobflow.dynamics.potential_files import check_graded, check_kind, check_knows_elements
from gst_jobflow.flows.estimate import estimate
from gst_jobflow.flows.iteration.maker import STEPS, iteration_flow, iteration_plan
from gst_jobflow.flows.iteration.plan import IterationPlan
from gst_jobflow.flows.iteration.sources import HardSphereSource, SearchSource, StoredSource
from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.selection.random_search import draw_cells
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located
from gst_jobflow.store.query import structures_where
from gst_jobflow.store.work import ExpectedCost
from gst_jobflow.structures.composition import elements_in

_NAMED = 3


def starting_point(
    results: Results, plan: IterationPlan, fingerprint: str, branch: str | None
) -> tuple[int, dict[str, Any]]:
    """Return the number of the first iteration, and the ids of what it builds on.

    `branch`, `STUDY:N`, goes on after iteration N of another protocol; None: from the beginning.

    Raises
    ------
    InputError
        Something does not exist, is of another method or other elements, or the test set would be trained on.
    """
    first, begin = (0, _named(results, plan)) if branch is None else _branch(results, plan, branch)
    if plan.test.dataset is not None:
        begin["test_dataset_id"] = get_located(results, Dataset, plan.test.dataset).id
    for what in ("dataset_id", "test_dataset_id"):
        if begin.get(what):
            _check_dataset(results.get(Dataset, begin[what]), plan, fingerprint)
    _check_test_set(results, plan, first, begin)
    if begin.get("potential_id"):
        potential = results.get(Potential, begin["potential_id"])
        check_kind(potential)
        sources = plan.steps[first]
        used = elements_in([formula for each in sources if each.needs_potential for formula in each.formulas])
        check_knows_elements(potential, used, "choose compositions of its elements, or another potential")
        graded = [each for each in sources if each.kind == "cycle" or each.choose.gamma or each.choose.by == "gamma"]
        if graded:
            check_graded(
                potential, "start from an ACE potential; or choose by: diverse, without gamma and without cycles"
            )
    return first, begin


def _named(results: Results, plan: IterationPlan) -> dict[str, Any]:
    begin: dict[str, Any] = {}
    if plan.start.dataset is not None:
        begin["dataset_id"] = get_located(results, Dataset, plan.start.dataset).id
    if plan.start.potential is not None:
        begin["potential_id"] = get_located(results, Potential, plan.start.potential).id
    return begin


def _branch(results: Results, plan: IterationPlan, branch: str) -> tuple[int, dict[str, Any]]:
    name, _, number = branch.rpartition(":")
    if not name or not number.isdecimal():
        raise InputError(f"--from {branch}: not STUDY:ITERATION", "for example --from gst-ace-24:2")
    study = get_located(results, Study, name)
    if study.kind != "iteration":
        raise InputError(
            f"study {study.name} has no iterations: its kind is {study.kind}", "gst query studies -w kind=iteration"
        )
    rows = {row["iteration"]: row for row in study.table}
    row = rows.get(int(number), {})
    if row.get("state") != "finished":
        done = [str(each) for each, one in rows.items() if one["state"] == "finished"]
        known = f"finished are {', '.join(done)}" if done else "none is finished"
        raise InputError(f"study {study.name} has no finished iteration {number}", known)
    if int(number) + 1 >= plan.number_of_iterations:
        raise InputError(
            f"the plan has {plan.number_of_iterations} iterations: none is left after iteration {number}",
            "add iterations to it, or branch off an earlier one",
        )
    begin = {key: row.get(key) for key in ("dataset_id", "potential_id", "robustness_id")}
    begin |= {"branch_of": study.id, "after": int(number)}
    # settings that its search found hold for what follows
    return int(number) + 1, begin | ({"fit_config": found} if (found := study.plan.get("fit_config")) else {})


def _check_dataset(dataset: Dataset, plan: IterationPlan, fingerprint: str) -> None:
    if more := sorted(set(dataset.elements) - set(plan.all_elements)):
        raise InputError(
            f"dataset {dataset.name} has {', '.join(more)}, which the fits of the plan have not", "name it in elements"
        )
    if dataset.fingerprint != fingerprint:
        raise InputError(
            f"dataset {dataset.name} is of method {dataset.fingerprint}, the plan's labels are of {fingerprint}",
            "energies of different methods do not compare: set labels.backend and its options to those of the dataset",
        )


def _check_test_set(results: Results, plan: IterationPlan, first: int, begin: dict[str, Any]) -> None:
    """Refuse a test set whose groups are trained on, as far as is known before anything runs."""
    if not begin.get("test_dataset_id"):
        return
    given = load_members(results, results.get(Dataset, begin["test_dataset_id"]))
    tested = given.take(given.test)
    groups: list[str] = []
    if begin.get("dataset_id"):
        before = load_members(results, results.get(Dataset, begin["dataset_id"]))
        groups += texts_of(before.groups[~np.isin(before.label_ids, tested.label_ids)])
    for source in (source for sources in plan.steps[first:] for source in sources):
        if isinstance(source, StoredSource):
            ids = structures_where(results.database, source.where)
            new = texts_of(ids_of(ids)[~np.isin(ids_of(ids), tested.structure_ids)]) if ids else []
            found = results.database["structures"].find({"_id": {"$in": new}}, {"group": 1})
            groups += [each.get("group") or each["_id"] for each in found]
    shared = sorted(set(groups) & set(texts_of(tested.groups)))
    if shared:
        raise InputError(
            f"{len(shared)} groups are in the test set and would be trained on: {', '.join(shared[:_NAMED])}",
            "leave them out of the sources, or choose another test set",
        )


def check_all(study: Study, backend: LabelBackend) -> None:
    """Build every iteration and draw a cell of each source, to refuse now (InputError) what would fail later."""
    plan = iteration_plan(study)
    plan.dataset_spec(0, None, None, backend)
    for number in (row["iteration"] for row in study.table):
        iteration_flow(study, number, backend)
        for source in plan.steps[number]:
            if isinstance(source, HardSphereSource):
                draw_cells(source.cells(1).model_copy(update={"cells": len(source.compositions)}))
            elif isinstance(source, SearchSource):
                draw_cells(source.model_copy(update={"cells": len(source.compositions)}))


@dataclass(frozen=True)
class StepForecast:
    """Expected cost of one step of an iteration; None where it is unknown.

    `labels` counts the most that it may compute.
    """

    iteration: int
    step: str
    work: str
    labels: int
    core_hours: float | None
    disk_GB: float
    basis: str


def forecast(study: Study, backend: LabelBackend, project: Project) -> Iterator[StepForecast]:
    """Yield the expected cost of each step of all iterations that a plan may need."""
    plan = iteration_plan(study)
    for number in (row["iteration"] for row in study.table):
        made = iteration_flow(study, number, backend)
        jobs = {job.uuid: job for job in jobs_of(made.flow)}
        labels = plan.most_labels(number)
        for step in STEPS:
            steps = [jobs[uuid] for uuid in made.uuids.get(step, []) if uuid in jobs]
            costs = [cost for job in steps for cost in estimate(job, project, plan.assumed)]
            # choices cost little, and have no estimate
            if costs := [cost for cost in costs if cost.work]:
                yield _of_step(number, step, costs, labels if step == "label" else 0)


def _of_step(iteration: int, step: str, costs: list[ExpectedCost], labels: int) -> StepForecast:
    hours = [cost.core_hours for cost in costs if cost.core_hours is not None]
    alike = Counter(cost.work for cost in costs)
    words = "; ".join(f"{number} jobs of {work}" if number > 1 else work for work, number in alike.items())
    work = f"up to {labels:,} labels" if labels else words
    known = next((cost.basis for cost in costs if cost.core_hours is not None), costs[0].basis)
    disk_GB = sum(cost.disk_GB or 0.0 for cost in costs)
    return StepForecast(iteration, step, work, labels, sum(hours) if hours else None, disk_GB, known)
