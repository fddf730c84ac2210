"""The section of a page that shows a hyperparameter search: how it went on, what each field does, all fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.report import words
from gst_jobflow.report.elements import Table, figure_of
from gst_jobflow.report.figures import PANEL_IN, _canvas, _legend_below, _png, _styled, _ticks

if TYPE_CHECKING:
    from gst_jobflow.documents import Study
    from gst_jobflow.hyperopt.effects import Effect
    from gst_jobflow.hyperopt.plan import SearchPlan

_START, _PROPOSED, _BEST, _FAILED = "#88A0B8", "#00589C", "#C8451B", "#8A8A8A"


def section(study: Study) -> dict[str, Any]:
    """What the template shows of a search."""
    from gst_jobflow.hyperopt.effects import effects
    from gst_jobflow.hyperopt.plan import plan_of

    plan = plan_of(study)
    found = [] if plan.objective.speed != "none" else effects(plan, study.table)
    drawn = figure_of(
        convergence(study, plan),
        "Loss of each fit and the best so far; the first points are spread evenly, the others proposed.",
        "Loss against number of the fit",
    )
    if plan.objective.speed != "none":
        drawn += figure_of(
            front(study, plan), "Loss against cost; the line joins fits that no other beats in both.", "Pareto front"
        )
    for effect in found:
        drawn += figure_of(
            dependence(study, plan, effect),
            f"{effect.name}: expected loss, averaged over the other fields, and the fits that were done.",
            f"Partial dependence on {effect.name}",
        )
    return {
        "sentence": _sentence(study, plan),
        "best": _best(study, plan),
        "space": _space(plan, found),
        "surrogate": _surrogate(found),
        "table": _table(study, plan),
        "figures": drawn,
    }


def _sentence(study: Study, plan: SearchPlan) -> str:
    from gst_jobflow.hyperopt.rows import ENDED

    states = [row["state"] for row in study.table]
    alpha = plan.objective.alpha
    text = (
        f"{sum(state in ENDED for state in states)} of {words.counted(len(states), 'fit')} are done, {plan.at_once} at "
        f"once, {plan.n_start} of them at points of a {plan.start.capitalize()} sequence. Minimised is "
        f"{alpha:g} · energy RMSE (meV/atom) + {1 - alpha:g} · force RMSE (meV/Å) of the test set. Seed {plan.seed}."
    )
    if failed := states.count("failed"):
        text += f" {words.counted(failed, 'fit')} failed and counted as the worst that finished."
    if ended := study.outcome.get("ended_by"):
        text += f" It ended by: {ended}."
    return text


def _best(study: Study, plan: SearchPlan) -> Table:
    """The best of the start and the best of all, side by side."""
    from gst_jobflow.hyperopt.rows import best_row

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
        return "The Gaussian process needs more fits before it says what each field does."
    return (
        "Length scales of the Gaussian process are in widths of the range: the shorter, the more a field matters; "
        "those near 10 have no effect that it could tell."
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


def cost_name(plan: SearchPlan) -> str:
    """What the second objective is, with its unit."""
    return "basis functions" if plan.objective.speed == "functions" else "MD (µs/atom/step)"


@_styled
def convergence(study: Study, plan: SearchPlan) -> bytes | None:
    """Loss of each fit and the best so far."""
    done = [row for row in study.table if row["state"] == "finished"]
    if not done:
        return None
    figure = _canvas(*PANEL_IN)
    axes = figure.subplots()
    for name, colour, rows in (
        (plan.start.capitalize(), _START, [row for row in done if row["trial"] < plan.n_start]),
        ("proposed", _PROPOSED, [row for row in done if row["trial"] >= plan.n_start]),
    ):
        axes.plot(
            [row["trial"] + 1 for row in rows], [row["loss"] for row in rows], "o", ms=5, color=colour, label=name
        )
    numbers = [row["trial"] + 1 for row in done]
    axes.step(numbers, np.minimum.accumulate([row["loss"] for row in done]), where="post", color=_BEST, label="best")
    failed = [row["trial"] + 1 for row in study.table if row["state"] == "failed"]
    if failed:
        axes.plot(failed, [max(row["loss"] for row in done)] * len(failed), "x", color=_FAILED, label="failed")
    losses = [row["loss"] for row in done]
    if max(losses) > 10 * min(losses):
        axes.set_yscale("log")
    axes.set(xlabel="fit", ylabel="loss", title="Convergence")
    axes.xaxis.set_major_locator(_ticks(9, integer=True))
    _legend_below(figure, axes)
    return _png(figure)


@_styled
def dependence(study: Study, plan: SearchPlan, effect: Effect) -> bytes | None:
    """Expected loss along one field."""
    field = plan.space[effect.name]
    place = plan.space.names.index(effect.name)
    done = [row for row in study.table if row["state"] == "finished"]
    losses = [row["loss"] for row in done]
    figure = _canvas(*PANEL_IN)
    axes = figure.subplots()
    if field.choices is not None:
        tried = [field.place(row["values"][place]) for row in done]
        axes.plot(range(len(effect.values)), effect.losses, "_", ms=26, mew=2.2, color=_PROPOSED)
        axes.set_xticks(range(len(effect.values)), [str(value) for value in effect.values])
        axes.margins(x=0.25)
    else:
        tried = [row["values"][place] for row in done]
        axes.plot(effect.values, effect.losses, color=_PROPOSED)
        if "log" in field.scale:
            axes.set_xscale("log")
    axes.plot(tried, losses, "o", ms=4, color=_START, alpha=0.8, zorder=1)
    if max(losses) > 10 * min(losses):
        axes.set_yscale("log")
    axes.set(xlabel=effect.name, ylabel="loss", title="Partial dependence")
    return _png(figure)


@_styled
def front(study: Study, plan: SearchPlan) -> bytes | None:
    """Loss against cost, with the front."""
    from gst_jobflow.hyperopt.rows import front as trials_of_front

    done = [row for row in study.table if row["state"] == "finished" and row.get("cost") is not None]
    if not done:
        return None
    best = [study.table[trial] for trial in trials_of_front(study.table)]
    figure = _canvas(*PANEL_IN)
    axes = figure.subplots()
    axes.plot([row["cost"] for row in done], [row["loss"] for row in done], "o", ms=5, color=_START)
    axes.plot([row["cost"] for row in best], [row["loss"] for row in best], "o-", ms=5, color=_BEST)
    axes.set(xlabel=cost_name(plan), ylabel="loss", title="Accuracy and speed")
    return _png(figure)
