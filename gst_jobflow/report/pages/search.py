"""Build the section of a page on a hyperparameter search: convergence, effect of each field, all fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gst_jobflow.base.words import counted
from gst_jobflow.documents import Study
from gst_jobflow.hyperopt.effects import Effect, effects
from gst_jobflow.hyperopt.plan import SearchPlan, plan_of
from gst_jobflow.hyperopt.rows import ENDED, best_row
from gst_jobflow.report import words
from gst_jobflow.report.figures.search import convergence, cost_name, dependence, pareto_front
from gst_jobflow.report.pages.elements import PagePart, Table, page_figures
from gst_jobflow.store import Results


def search_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield progress, best fits and all fits; with `results`, also figures and the surrogate, which takes a while."""
    plan = plan_of(study)
    part = PagePart("Search", _sentence(study, plan), _best(study, plan))
    if results is None:
        yield part
    else:
        yield from _with_effects(study, plan, part)
    yield PagePart("All fits", table=_table(study, plan), style="ids")


def _with_effects(study: Study, plan: SearchPlan, part: PagePart) -> Iterator[PagePart]:
    found = [] if plan.objective.speed != "none" else effects(plan, study.table)
    so_far = "Loss of each fit and the best so far: evenly spread points first, then proposals."
    drawn = [(convergence(study, plan), so_far, "Loss against number of the fit")]
    if plan.objective.speed != "none":
        caption = "Loss against cost; the line joins fits that no other fit beats in both."
        drawn.append((pareto_front(study, plan), caption, "Pareto front"))
    for effect in found:
        caption = f"{effect.name}: expected loss, averaged over the other fields, and the finished fits."
        drawn.append((dependence(study, plan, effect), caption, f"Partial dependence on {effect.name}"))
    part.figures = page_figures(*drawn)
    yield part
    yield PagePart("What was searched", table=_space(plan, found))
    yield PagePart(text=_surrogate(found), soft=True)


def _sentence(study: Study, plan: SearchPlan) -> str:
    states = [row["state"] for row in study.table]
    alpha = plan.objective.alpha
    text = (
        f"{sum(state in ENDED for state in states)} of {counted(len(states), 'fit')} are done, {plan.at_once} at "
        f"once; {plan.n_start} start from points of a {plan.start.capitalize()} sequence. The search minimises "
        f"{alpha:g} · energy RMSE (meV/atom) + {1 - alpha:g} · force RMSE (meV/Å) of the test set. Seed {plan.seed}."
    )
    if failed := states.count("failed"):
        text += f" {counted(failed, 'fit')} failed and counted as the worst finished fit."
    if ended := study.outcome.get("ended_by"):
        text += f" Stop criterion: {ended}."
    return text


def _best(study: Study, plan: SearchPlan) -> Table:
    """Tabulate the best fit of the start and the best of all."""
    rows = []
    for name, part in (("best of the start", study.table[: plan.n_start]), ("best of all", study.table)):
        best = best_row(part)
        if best is not None:
            values = [words.number(value) for value in best["values"]]
            rows.append([name, str(best["trial"] + 1), *_numbers(best), *values])
    columns = ["", "fit", "loss", "energy (meV/atom)", "forces (meV/Å)", *plan.space.names]
    return Table(columns, rows, frozenset(range(1, len(columns))))


def _numbers(row: Mapping[str, Any]) -> list[str]:
    return [words.number(row.get(key)) for key in ("loss", "energy_meV_per_atom", "force_meV_per_A")]


def _space(plan: SearchPlan, found: list[Effect]) -> Table:
    scales = {effect.name: effect.length_scale for effect in found}
    rows = []
    for field in plan.space.fields:
        choices = field.choices is not None
        extent = ", ".join(map(str, field.choices or ())) if choices else f"{field.low:g} to {field.high:g}"
        scale = words.number(scales.get(field.field), 2)
        rows.append([field.field, extent, "choices" if choices else field.scale, scale])
    return Table(["field", "range", "scale", "length scale"], rows, frozenset({3}))


def _surrogate(found: list[Effect]) -> str:
    if not found:
        return "The Gaussian process needs more fits to estimate the effect of each field."
    return (
        "Length scales of the Gaussian process are in units of the range: the shorter, the more a field matters; "
        "near 10, no effect was found."
    )


def _table(study: Study, plan: SearchPlan) -> Table:
    names = plan.space.names
    costs = plan.objective.speed != "none"
    rows = []
    for row in study.table:
        values = [words.number(value) for value in row.get("values", [None] * len(names))]
        cost = [words.number(row.get("cost"))] if costs else []
        remark = row.get("reason") or row.get("potential_id") or ""
        rows.append([str(row["trial"] + 1), row["state"], row.get("from", ""), *values, *_numbers(row), *cost, remark])
    cost_column = [cost_name(plan)] if costs else []
    columns = ["fit", "state", "from", *names, "loss", "energy (meV/atom)", "forces (meV/Å)", *cost_column, "potential"]
    return Table(columns, rows, frozenset({0, *range(3, len(columns) - 1)}))
