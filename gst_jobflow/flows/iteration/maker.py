"""Jobs of a training protocol: each iteration is a workflow, and its last job decides whether another one follows."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jobflow import Flow, Job, Response, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import DataError
from gst_jobflow.base.resources import Resources, request_by_category
from gst_jobflow.base.settings import Project, find_project
from gst_jobflow.datasets.create import create_dataset
from gst_jobflow.datasets.members import load_members
from gst_jobflow.datasets.spec import DatasetSpec
from gst_jobflow.datasets.table import texts_of
from gst_jobflow.documents import Dataset, Potential, Structure, Study, derive_id
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.fitting.work import FitWork
from gst_jobflow.flows.fit import FitFlowMaker
from gst_jobflow.flows.iteration.candidates import Place, candidates_from
from gst_jobflow.flows.iteration.choice import choose_structures, composition_of, largest_grades
from gst_jobflow.flows.iteration.plan import IterationPlan
from gst_jobflow.flows.iteration.sources import Source, seed_of
from gst_jobflow.flows.robustness import RobustnessMaker
from gst_jobflow.flows.search import HyperoptMaker
from gst_jobflow.flows.structures import dealt_out
from gst_jobflow.flows.study import close_study
from gst_jobflow.hyperopt.plan import SearchPlan, preset
from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.labelling.work import LabelWork
from gst_jobflow.launch.keys import STUDY_KEY
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import launchpad
from gst_jobflow.store.context import job_results
from gst_jobflow.store.work import declare_work

PartT = TypeVar("PartT", bound=Job | Flow)
STEPS = ("candidates", "choose", "label", "dataset", "fit", "robustness", "decide")
"""Steps of an iteration, in order; each can wait for an approval."""


@dataclass
class IterationFlow:
    """Workflow of one iteration, with the uuids of the jobs of each step."""

    flow: Flow
    uuids: dict[str, list[str]] = field(default_factory=dict)


def new_study(plan: IterationPlan, fingerprint: str, first: int, begin: dict[str, Any], **more: Any) -> Study:
    """Return the document of a protocol before anything has run.

    Parameters
    ----------
    fingerprint
        Method of the labels, which must not change.
    first
        Number of the first iteration; above 0 for one that branches off another protocol.
    begin
        `dataset_id`, `potential_id` and `test_dataset_id` of what the first iteration builds on; None: nothing.
    more
        `pause_before` and `ask`, which hold for all iterations.
    """
    numbers = range(first, plan.number_of_iterations)
    written = {"plan": plan.model_dump(mode="json"), "fingerprint": fingerprint, "first": first, "begin": begin, **more}
    table = [{"iteration": number, "state": "waiting"} for number in numbers]
    return Study(id=uuid.uuid4().hex, name=plan.name, kind="iteration", plan=written, table=table)


def iteration_plan(study: Study) -> IterationPlan:
    """Return the plan of a study."""
    return IterationPlan.model_validate(study.plan["plan"])


def backend_for(plan: IterationPlan, project: Project) -> LabelBackend:
    """Return the backend of all labels of a plan."""
    return backend_of(plan.labels.backend, project, plan.labels.options, plan.material)


def submit_iteration(project: Project, study: Study, number: int) -> str:
    """Submit an iteration unless it is on the launchpad already; return a description; raises as `iteration_flow`."""
    made = iteration_flow(study, number, backend_for(iteration_plan(study), project))
    metadata = {STUDY_KEY: study.id, "iteration": number}
    known = {f"metadata.{key}": value for key, value in metadata.items()}
    if launchpad(project).workflows.find_one(known, {"nodes": 1}) is None:
        asked = {name or None: Resources(**values) for name, values in study.plan.get("ask", {}).items()}
        request_by_category(made.flow, asked)
        paused = [uuid for step in study.plan.get("pause_before", []) for uuid in made.uuids.get(step, [])]
        ids = submit(made.flow, project, metadata, paused)
        fw_ids = sorted({*study.workflow_ids, *ids.values()})
        Results.open(project).update("studies", study.id, {"workflow_ids": fw_ids})
    return f"iteration {number} of {study.name}"


def iteration_flow(study: Study, number: int, backend: LabelBackend) -> IterationFlow:
    """Build the workflow of an iteration; DataError if the method of the backend is not that of the study."""
    plan, fingerprint = iteration_plan(study), backend.method().fingerprint()
    if fingerprint != study.plan["fingerprint"]:
        raise DataError(
            f"labels would now be of {fingerprint}, those of study {study.id} are of {study.plan['fingerprint']}",
            "labels of different methods do not mix: restore the settings and the version of the program",
        )
    return _Builder(study, plan, number, backend).build()


def settings_search(plan: IterationPlan) -> tuple[SearchPlan, FitConfig]:
    """Return the search of the settings of a plan's fit, and the fit that it varies."""
    assert plan.fit.search is not None  # else there is none
    space, fit = preset(plan.fit.search.preset, plan.fit.config(plan.all_elements))
    fits = plan.fit.search.fits or space.n_fits
    return space.model_copy(update={"n_fits": fits, "n_start": min(space.n_start, fits)}), fit


class _Builder:
    """Builds the jobs of one iteration, step by step."""

    def __init__(self, study: Study, plan: IterationPlan, number: int, backend: LabelBackend) -> None:
        self.study, self.plan, self.number, self.backend = study, plan, number, backend
        self.name = f"{plan.name} iter-{number}"
        self.tags = [f"study:{study.id}", f"iter-{number}"]
        self.jobs: list[Job | Flow] = []
        self.steps: dict[str, list[str]] = {}

    def build(self) -> IterationFlow:
        begin = begin_iteration(self.study.id, self.number)
        begin.set_uuid(str(uuid.UUID(derive_id("iteration", self.study.id, self.number))))
        begin.name = f"{self.name}: begin"
        self.jobs.append(begin)
        candidates = self._candidates(begin)
        chosen = self._add("choose", choose_labels(self.study.id, self.number, begin.output, candidates))
        made = [each.output for each in self._labels(chosen)]
        dataset = self._add("dataset", grow_dataset(self.study.id, self.number, begin.output, made))
        potential_id, spread = self._fit(dataset)
        parts: dict[str, Any] = {
            "chosen": chosen.output, "labels": made, "dataset": dataset.output,
            "potential_id": potential_id, "spread": spread,
            "robustness": self._robustness(potential_id), "gamma": self._gamma(potential_id, candidates),
        }  # fmt: skip
        end = self._add("decide", end_iteration(self.study.id, self.number, parts))
        return IterationFlow(Flow(self.jobs, output=end.output, name=self.name), self.steps)

    def _add(self, step: str, part: PartT) -> PartT:
        if isinstance(part, Job):
            part.name = f"{self.name}: {part.name}"
        self.jobs.append(part)
        self.steps.setdefault(step, []).extend([part.uuid] if isinstance(part, Job) else part.job_uuids)
        return part

    def _candidates(self, begin: Job) -> list[Any]:
        ids = []
        for place, source in enumerate(self.plan.steps[self.number]):
            at = Place(self.number, place, seed_of(self.plan.seed, self.number, place), self.tags)
            jobs = candidates_from(source, at, begin.output)
            for each in jobs:
                self._add("candidates", each)
            ids.append(jobs[-1].output["structure_ids"])
        return ids

    def _labels(self, chosen: Job) -> list[Job]:
        number = self.plan.labels.jobs
        planned = self.plan.most_labels(self.number)
        jobs = []
        for chunk in range(number if self.plan.steps[self.number] else 0):
            label = LabelMaker(self.backend, name=f"label {chunk + 1}").make(chosen.output["chunks"][chunk])
            declare_work(label, LabelWork(self.backend, [], planned=len(range(planned)[chunk::number])))
            jobs.append(self._add("label", label))
        return jobs

    def _fit(self, dataset: Job) -> tuple[Any, Any]:
        """Add the fit; return references to the id of its potential, and to the spread of an ensemble."""
        settings = self.plan.fit
        dataset_id: Any = dataset.output["dataset_id"]
        search = settings.search
        if search is not None and self.number in search.iterations:
            found = self._add("fit", search_settings(self.study.id, self.number, dataset_id))
            space, fit = settings_search(self.plan)
            declare_work(found, FitWork(fit, number=space.n_fits))
            best = self._add("fit", take_best(self.study.id, found.output["search_id"]))
            if settings.upfit_kappa is None:
                return best.output["potential_id"], None
            upfit = upfit_of(self.name, best.output["potential_id"], dataset_id, settings.upfit_kappa, self.tags)
            declare_work(self._add("fit", upfit), FitWork(fit))
            return upfit.output["potential_id"], None
        held = self.study.plan.get("fit_config")
        config = FitConfig.model_validate(held) if held else self.plan.fit.config(self.plan.all_elements)
        maker = FitFlowMaker(
            potential_name=self.name, config=config, first_guess=settings.first_guess,
            upfit_kappa=settings.upfit_kappa, ensemble=settings.ensemble, tags=self.tags,
        )  # fmt: skip
        flow = self._add("fit", maker.make(dataset_id))
        if settings.ensemble < 2:
            return flow.output["potential_id"], None
        stages = (len(flow.jobs) - 1) // settings.ensemble
        return flow.jobs[stages - 1].output["potential_id"], flow.output["force_spread_meV_per_A"]

    def _robustness(self, potential_id: Any) -> Any:
        if self.plan.robustness is None:
            return None
        maker = RobustnessMaker(
            study_name=f"{self.name} robustness", plan=self.plan.robustness, gate=self.plan.gate.success,
            n_jobs=self.plan.robustness_jobs,
        )  # fmt: skip
        return self._add("robustness", maker.make([potential_id])).output

    def _gamma(self, potential_id: Any, candidates: list[Any]) -> Any:
        if self.plan.gate.gamma is None:
            return None
        return self._add("robustness", grade_candidates(potential_id, candidates, self.plan.gate.gamma.quantile)).output


@job(name="begin")
def begin_iteration(study_id: str, number: int) -> dict[str, Any]:
    """Mark an iteration as running; return what it builds on: `potential_id`, `dataset_id`, `robustness_id`."""
    results = job_results()
    study = results.get(Study, study_id)
    place = number - study.plan["first"]
    values = {"state": "running", f"table.{place}.state": "running"}
    results.update("studies", study_id, values, {f"table.{place}.state": "finished"})
    before = study.table[place - 1] if place else study.plan["begin"]
    return {key: before.get(key) for key in ("potential_id", "dataset_id", "robustness_id")}


@in_category("md")
@job(name="choose")
def choose_labels(
    study_id: str, number: int, before: dict[str, Any], candidates: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Choose what is labelled among the candidates of each source.

    Returns `structure_ids`, the same in `chunks` for labelling jobs, and `by_source`: rows of source, composition,
    number of candidates and of those chosen.
    """
    results = job_results()
    study = results.get(Study, study_id)
    plan = iteration_plan(study)
    potential = results.get(Potential, before["potential_id"]) if before["potential_id"] else None
    chosen: dict[str, Structure] = {}
    rows: list[dict[str, Any]] = []
    for place, (source, ids) in enumerate(zip(plan.steps[number], candidates, strict=True)):
        found = list(results.get_many(Structure, list(dict.fromkeys(ids))))
        seed = seed_of(plan.seed, number, place, "choice")
        kept = choose_structures(results, found, source.choose, potential, seed, source.formulas)
        rows += _counts(source, found, kept)
        chosen |= {each.id: each for each in kept}
    at = f"table.{number - study.plan['first']}"
    results.update("studies", study_id, {f"{at}.by_source": rows}, {f"{at}.state": "finished"})
    return {**dealt_out(chosen.values(), plan.labels.jobs), "by_source": rows}


def _counts(source: Source, found: Sequence[Structure], kept: Sequence[Structure]) -> list[dict[str, Any]]:
    """Return the numbers of candidates and of those chosen, by composition."""
    all_of = Counter(composition_of(each, source.formulas) for each in found)
    chosen = Counter(composition_of(each, source.formulas) for each in kept)
    return [
        {"source": source.kind, "composition": formula, "candidates": number, "chosen": chosen[formula]}
        for formula, number in sorted(all_of.items())
    ]


@job(name="dataset")
def grow_dataset(
    study_id: str, number: int, before: dict[str, Any], labels: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Make the dataset of an iteration from the labels of the one before and new ones; return `dataset_id`, `counts`.

    If no label has converged, or a structure to train on is of a group that is tested, that is a DataError.
    """
    results = job_results()
    study = results.get(Study, study_id)
    plan, fingerprint, parent_id = iteration_plan(study), study.plan["fingerprint"], before["dataset_id"]
    spec = plan.dataset_spec(
        number, parent_id, study.plan["begin"].get("test_dataset_id"), backend_for(plan, find_project())
    )
    ids = [id for part in labels for id in part["structure_ids"]]
    if parent_id is not None:
        ids += texts_of(load_members(results, results.get(Dataset, parent_id)).structure_ids)
    # a plan names weights for all its iterations, and some types come only later
    kinds = _config_types(results, ids, spec, fingerprint)
    weights = {kind: weight for kind, weight in spec.config_type_weights.items() if kind in kinds}
    spec = spec.model_copy(update={"config_type_weights": weights})
    made = create_dataset(results, f"{plan.name} iter-{number}", fingerprint, spec, structure_ids=ids).dataset
    return {"dataset_id": made.id, "counts": made.counts}


def _config_types(results: Results, ids: list[str], spec: DatasetSpec, fingerprint: str) -> set[str]:
    """Return the config types of the labels that will be members."""
    where: dict[str, Any] = {"structure_id": {"$in": ids}, "fingerprint": fingerprint, "state": "converged"}
    if spec.max_force_eV_A is not None:
        where["max_force_eV_A"] = {"$lte": spec.max_force_eV_A}
    found = set(results.database["labels"].distinct("config_type", where))
    if spec.test_dataset_id is not None:
        found |= set(results.get(Dataset, spec.test_dataset_id).counts_by_config_type.get("test", {}))
    return found


@job(name="search of the fit's settings")
def search_settings(study_id: str, number: int, dataset_id: str) -> Any:
    """Search the settings of the fit on the dataset of this iteration; the next job waits for all of its fits."""
    results = job_results()
    study = results.get(Study, study_id)
    plan = iteration_plan(study)
    space, fit = settings_search(plan)
    # the same id in every attempt of this job
    search_id = derive_id("iteration search", study_id, number)
    maker = HyperoptMaker(plan=space, name=f"{plan.name} iter-{number} search", fit=fit, study_id=search_id)
    results.add(maker.study(dataset_id))
    return Response(output={"search_id": search_id}, detour=maker.make())


@job(name="best settings")
def take_best(study_id: str, search_id: str) -> dict[str, Any]:
    """Keep the settings of the best fit for later iterations; return its `potential_id`."""
    results = job_results()
    search = results.get(Study, search_id)
    if not search.outcome.get("best_potential_id"):
        raise DataError(f"no fit of search {search.name} succeeded", f"gst report study {search_id} shows why")
    best = results.get(Potential, search.outcome["best_potential_id"])
    results.update("studies", study_id, {"plan.fit_config": best.config})
    return {"potential_id": best.id}


@job(name="upfit")
def upfit_of(name: str, potential_id: str, dataset_id: str, kappa: float, tags: list[str]) -> Any:
    """Continue a fit with a smaller share of forces in its loss."""
    config = FitConfig.model_validate(job_results().get(Potential, potential_id).config).upfit(kappa)
    fit = FitMaker(potential_name=f"{name}-upfit", config=config, tags=tags).make(dataset_id, potential_id)
    return Response(replace=fit)


@in_category("md")
@job(name="grade candidates")
def grade_candidates(potential_id: str, candidates: Sequence[Sequence[str]], quantile: float) -> float | None:
    """Return a quantile of the largest extrapolation grades of all candidates by the new potential."""
    results = job_results()
    ids = list(dict.fromkeys(id for part in candidates for id in part))
    if not ids:
        return None
    structures = list(results.get_many(Structure, ids))
    return float(np.quantile(largest_grades(results, structures, results.get(Potential, potential_id)), quantile))


@job(name="decide")
def end_iteration(study_id: str, number: int, parts: dict[str, Any]) -> dict[str, Any]:
    """Write the row of an iteration, judge it by the gate, and submit the next one or end the protocol.

    Returns `study_id`, `iteration`, `state`, `unmet`: conditions of the gate that are not met.
    """
    results, project = job_results(), find_project()
    study = results.get(Study, study_id)
    plan, place = iteration_plan(study), number - study.plan["first"]
    row = {**study.table[place], **measured_row(results, parts), "iteration": number, "state": "finished"}
    unmet = plan.gate.unmet(row)
    row["unmet"] = unmet
    results.update("studies", study_id, {f"table.{place}": row})
    is_met, is_last = not plan.gate.is_open and not unmet, number + 1 == plan.number_of_iterations
    if is_met or is_last:
        _end_study(results, study, place, row, is_met)
        state = "gate met" if is_met else "last iteration done"
    else:
        submit_iteration(project, results.get(Study, study_id), number + 1)
        state = "next iteration submitted"
    return {"study_id": study_id, "iteration": number, "state": state, "unmet": unmet}


def measured_row(results: Results, parts: dict[str, Any]) -> dict[str, Any]:
    """Return what an iteration measured: labels, dataset, errors, robustness, grades, spread."""
    potential = results.get(Potential, parts["potential_id"])
    counts: Counter[str] = Counter()
    for part in parts["labels"]:
        counts.update({key: part[key] for key in ("converged", "failed", "known")})
    row = {
        "by_source": parts["chosen"]["by_source"],
        "chosen": len(parts["chosen"]["structure_ids"]),
        "labels_converged": counts["converged"],
        "labels_failed": counts["failed"],
        "labels_known": counts["known"],
        "dataset_id": parts["dataset"]["dataset_id"],
        **parts["dataset"]["counts"],
        "potential_id": potential.id,
        "potential": potential.name,
        "functions": potential.n_functions,
        "gamma": parts["gamma"],
        "spread_meV_per_A": parts["spread"],
    }
    if "test" in potential.rmse:
        row |= potential.rmse["test"].model_dump()
        by_type = potential.rmse_by_config_type.get("test", {})
        row["rmse_by_config_type"] = {kind: errors.model_dump() for kind, errors in by_type.items()}
    return row | _robustness_of(parts["robustness"])


def _robustness_of(found: dict[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return {}
    of_all = next(row for row in found["table"] if row["composition"] == "all")
    return {
        "robustness_id": found["study_id"],
        "success": of_all["fraction"],
        "success_low": of_all["low"],
        "success_high": of_all["high"],
        "runs": of_all["runs"],
        "closest_A": of_all["closest_A"],
        "closest_pair": of_all["closest_pair"],
        "first_failure_ps": of_all["first_failure_ps"],
    }


def _end_study(results: Results, study: Study, place: int, row: dict[str, Any], is_met: bool) -> None:
    """Write outcome, members and page of a protocol."""
    rows = [*study.table[:place], row]
    members = [
        {"collection": collection, "id": each[f"{name}_id"], "role": f"{name} {each['iteration']}"}
        for each in rows
        for name, collection in (("dataset", "datasets"), ("potential", "potentials"), ("robustness", "studies"))
        if each.get(f"{name}_id")
    ]
    outcome = {
        "ended_by": "gate" if is_met else "number of iterations",
        "gate_met": is_met,
        "iterations": len(rows),
        "potential_id": row["potential_id"],
        "dataset_id": row["dataset_id"],
        "unmet": row["unmet"],
    }
    close_study(results, study.id, {"state": "finished", "members": members, "outcome": outcome})
