"""Jobs of a search: each tries the point that earlier rows lead to, and writes its row into the study."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import GstError, InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.documents import Dataset, Potential, Study
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker, check_elements_of, fit_potential
from gst_jobflow.fitting.work import FitWork
from gst_jobflow.flows.study import close_study
from gst_jobflow.hyperopt import table
from gst_jobflow.hyperopt.plan import Ending, SearchPlan, base_fit, plan_of, trial_config
from gst_jobflow.hyperopt.propose import surrogate
from gst_jobflow.hyperopt.rows import ENDED, best_row, front, trial_uuid
from gst_jobflow.hyperopt.space import config_of
from gst_jobflow.launch.attempts import failure_class_here
from gst_jobflow.store import Results
from gst_jobflow.store.context import continuation, job_results, job_uuid
from gst_jobflow.store.work import declare_work

# failures that the next trial would meet, too, or that a user caused
_OF_THE_PLACE = ("missing_program", "database", "disk_full", "cancelled", "interrupted", "walltime", "no_progress")
# failures of memory or machine, after which recovery starts the trial once more
_ONCE_MORE = ("killed", "out_of_memory")


@dataclass
class HyperoptMaker(Maker):
    """Search the settings of a fit; those outside the space of the plan are the same in all fits.

    Examples
    --------
    >>> plan, fit = preset("xpot-gst", FitConfig.small())
    >>> maker = HyperoptMaker(plan, fit=fit)
    >>> results.add(maker.study("4f0c1d"))
    >>> flow = maker.make()
    """

    plan: SearchPlan
    name: str = "search"
    fit: FitConfig = field(default_factory=FitConfig.small)
    study_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def study(self, dataset_id: str) -> Study:
        """Return the document of the study before anything has run; InputError if the space does not suit the fit."""
        self.plan.space.check(self.fit)
        plan = {
            **self.plan.model_dump(mode="json", exclude_none=True),
            "fit": self.fit.model_dump(mode="json", exclude_none=True),
            "dataset_id": dataset_id,
        }
        return Study(
            id=self.study_id, name=self.name, kind="hyperopt", plan=plan, table=table.waiting_rows(self.plan.n_fits)
        )

    def make(self, done: Collection[int] = (), dataset_id: str | None = None) -> Flow:
        """Return the flow of a search whose study is stored: a job for each trial that is not done, and a final one.

        An estimate of its cost needs the dataset.
        """
        jobs: dict[int, Job] = {}
        for trial in range(self.plan.n_fits):
            if trial not in done:
                waits_for = [jobs[other].output for other in table.waits_for(self.plan, trial) if other in jobs]
                jobs[trial] = run_trial(self.study_id, trial, waits_for)
                jobs[trial].set_uuid(trial_uuid(self.study_id, trial))
                declare_work(jobs[trial], FitWork(self.fit, dataset_id))
                jobs[trial].name = f"{self.name}: fit {trial + 1} of {self.plan.n_fits}"
        end = end_search(self.study_id, [step.output for step in [*jobs.values()][-self.plan.at_once :]])
        end.name = f"{self.name}: page"
        return Flow([*jobs.values(), end], output=end.output, name=self.name)


@job
@in_category("fits")
def run_trial(study_id: str, trial: int, after: list[Any]) -> Any:
    """Fit with the values of a trial, after the trials with the outputs `after`, and write its row into the study."""
    results = job_results()
    results.update("studies", study_id, {"state": "running"}, {"state": "finished"})
    study = results.get(Study, study_id)
    if study.table[trial]["state"] in ("waiting", "running"):
        study = _begin(results, study, trial)
    if study.table[trial]["state"] == "running":
        ended = _fit(results, study, trial)
        if ended is None:
            return continuation(run_trial(study_id, trial, after))
        study = _write(results, study, trial, {**study.table[trial], **ended})
    return {key: study.table[trial].get(key) for key in ("trial", "state", "loss", "potential_id")}


@job
def end_search(study_id: str, after: list[Any]) -> dict[str, Any]:
    """Write the outcome of a search into its study, and the page."""
    results = job_results()
    return {"study_id": study_id, **end(results, results.get(Study, study_id))}


def _begin(results: Results, study: Study, trial: int) -> Study:
    """Write the values of a trial into the study, or that it is left out or impossible."""
    plan = plan_of(study)
    if reason := table.why_ended(plan, study.table, trial):
        return _write(_unspooled(results), study, trial, {"trial": trial, "state": "left out", "reason": reason})
    point = table.propose(plan, study.table, trial)
    row = {
        "trial": trial,
        "state": "running",
        "from": plan.start if trial < plan.n_start else "surrogate",
        "values": [point[name] for name in plan.space.names],
    }
    try:
        config_of(base_fit(study), point)
    except InputError as error:
        row.update(state="failed", failure_class="bad_input", reason=error.message[:500])
    return _write(results, study, trial, row)


def _fit(results: Results, study: Study, trial: int) -> dict[str, Any] | None:
    """Return the row of a trial after its fit, None if it goes on in another job; raise what is not its fault."""
    plan = plan_of(study)
    maker = FitMaker(potential_name=f"{study.name} {trial + 1}", config=trial_config(study, trial))
    try:
        potential = fit_potential(maker, study.plan["dataset_id"])
    except GstError as error:
        return _failed(results, error)
    if potential is None:
        return None
    values: dict[str, Any] = {"potential_id": potential.id, "n_functions": potential.n_functions}
    if potential.cost is not None:
        values["wall_s"] = potential.cost.wall_s
    return {**values, **table.outcome(plan.objective, potential.rmse.get("test"), _cost(plan, potential))}


def _cost(plan: SearchPlan, potential: Potential) -> float | None:
    if plan.objective.speed == "measured" and potential.speed is not None:
        return potential.speed.us_per_atom_step
    return float(potential.n_functions) if plan.objective.speed == "functions" else None


def _failed(results: Results, error: GstError) -> dict[str, Any]:
    """Return the row of a failed fit; raise the error again if it is not the fit's fault or may pass."""
    kind = failure_class_here(error)
    if kind in _OF_THE_PLACE:
        raise error
    before = {"job_uuid": job_uuid(), "failure_class": kind}
    if kind in _ONCE_MORE and results.database["attempts"].count_documents(before) == 0:
        raise error
    return {"state": "failed", "failure_class": kind, "reason": error.message[:500]}


def _write(results: Results, study: Study, trial: int, row: dict[str, Any]) -> Study:
    """Write a row; a late one from a manifest does not replace a finished one."""
    path = f"table.{trial}"
    unless = None if row["state"] == "finished" else {f"{path}.state": "finished"}
    results.update("studies", study.id, {path: row}, unless)
    rows = [*study.table[:trial], row, *study.table[trial + 1 :]]
    return study.model_copy(update={"table": rows})


def _unspooled(results: Results) -> Results:
    """Return results without a manifest, from which a late ending could end a search that was resumed."""
    return Results(results.database, results.artifacts)


def reopen(results: Results, study: Study, n_fits: int, *, store: bool = True) -> SearchPlan:
    """Resume a search that ended or was cancelled, up to `n_fits` fits; drop its ending conditions if they were met.

    Without `store` only the plan is returned. A search that is running, or has no fits left to do, is an InputError.
    """
    uuids = [trial_uuid(study.id, trial) for trial in range(len(study.table))]
    open_states = {"$in": ["READY", "WAITING", "RUNNING", "RESERVED", "PAUSED"]}
    if results.database["fireworks"].find_one({"spec._tasks.job.uuid": {"$in": uuids}, "state": open_states}):
        raise InputError(f"search {study.id} has jobs on the launchpad", "gst launch lets them run")
    kept = [row for row in study.table if row["state"] in ENDED]
    most = max((row["trial"] + 1 for row in kept), default=0)
    if n_fits < most or n_fits == len(kept):
        raise InputError(
            f"search {study.id} has done {counted(len(kept), 'fit')}", f"give a larger number: --fits {most + 8}"
        )
    rows = table.waiting_rows(n_fits)
    for row in kept:
        rows[row["trial"]] = row
    changes: dict[str, Any] = {"n_fits": n_fits}
    if any(row["state"] == "left out" for row in study.table):
        changes["ending"] = Ending().model_dump(mode="json", exclude_none=True)
    plan = checked(SearchPlan, {**plan_of(study).model_dump(mode="json"), **changes})
    values: dict[str, Any] = {"table": rows, "state": "running", "outcome": {}, "finished_at": None}
    values |= {f"plan.{key}": value for key, value in changes.items()}
    if store:
        results.update("studies", study.id, values)
    return plan


def end(results: Results, study: Study) -> dict[str, Any]:
    """Write best fit, front, surrogate, members and page of a search."""
    outcome = search_outcome(study)
    members = [{"collection": "datasets", "id": study.plan["dataset_id"], "role": "dataset"}]
    for row in study.table:
        if row.get("potential_id"):
            members.append({"collection": "potentials", "id": row["potential_id"], "role": f"fit {row['trial'] + 1}"})
    state = "finished" if best_row(study.table) else "failed"
    close_study(_unspooled(results), study.id, {"state": state, "members": members, "outcome": outcome})
    return {key: outcome.get(key) for key in ("best_trial", "best_loss", "best_potential_id")}


def search_outcome(study: Study) -> dict[str, Any]:
    """Return the outcome of a search so far: numbers of fits, the best, the front, and the surrogate."""
    plan, rows = plan_of(study), study.table
    best = best_row(rows)
    ended = [row for row in rows if row["state"] in ENDED]
    content: dict[str, Any] = {
        "n_finished": sum(row["state"] == "finished" for row in rows),
        "n_failed": sum(row["state"] == "failed" for row in rows),
        "ended_by": rows[-1]["reason"] if rows[-1]["state"] == "left out" else "number of fits",
    }
    if best is not None:
        content |= {"best_trial": best["trial"], "best_loss": best["loss"], "best_potential_id": best["potential_id"]}
    if plan.objective.speed != "none":
        content["front"] = front(rows)
    known = table.known_points(plan, ended, len(rows))
    if sum(each.loss is not None for each in known) >= 2:
        seed = plan.seed + len(rows)
        content["surrogate"] = {**surrogate(plan.space, known, seed).describe(), "seed": seed}
    return content


def check_dataset(dataset: Dataset, fit: FitConfig) -> None:
    """Refuse data without a test set or without an element of the fit (InputError)."""
    if not dataset.counts.get("test"):
        raise InputError(
            f"dataset {dataset.id} has no test set, whose errors a search minimises", "make it with a test fraction"
        )
    check_elements_of(dataset, fit.elements)
