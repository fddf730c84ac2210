"""Draw the figures of a hyperparameter search: convergence, partial dependence, Pareto front."""

from __future__ import annotations

import numpy as np

from gst_jobflow.documents import Study
from gst_jobflow.hyperopt.effects import Effect
from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.hyperopt.rows import front
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.style import legend_below, panel, styled, tick_locator

_START, _PROPOSED, _BEST, _FAILED = "#88A0B8", "#00589C", "#C8451B", "#8A8A8A"


def cost_name(plan: SearchPlan) -> str:
    """Return the name of the second objective, with unit."""
    return "basis functions" if plan.objective.speed == "functions" else "MD (µs/atom/step)"


@styled
def convergence(study: Study, plan: SearchPlan) -> Figure | None:
    """Draw the loss of each fit and the best so far."""
    done = [row for row in study.table if row["state"] == "finished"]
    if not done:
        return None
    axes = panel()
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
    axes.xaxis.set_major_locator(tick_locator(9, integer=True))
    return legend_below(axes)


@styled
def dependence(study: Study, plan: SearchPlan, effect: Effect) -> Figure | None:
    """Draw the expected loss along one field."""
    field = plan.space[effect.name]
    place = plan.space.names.index(effect.name)
    done = [row for row in study.table if row["state"] == "finished"]
    losses = [row["loss"] for row in done]
    axes = panel()
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
    return legend_below(axes)


@styled
def pareto_front(study: Study, plan: SearchPlan) -> Figure | None:
    """Draw loss against cost, with the Pareto front."""
    done = [row for row in study.table if row["state"] == "finished" and row.get("cost") is not None]
    if not done:
        return None
    best = [study.table[trial] for trial in front(study.table)]
    axes = panel()
    axes.plot([row["cost"] for row in done], [row["loss"] for row in done], "o", ms=5, color=_START)
    axes.plot([row["cost"] for row in best], [row["loss"] for row in best], "o-", ms=5, color=_BEST)
    axes.set(xlabel=cost_name(plan), ylabel="loss", title="Accuracy and speed")
    return legend_below(axes)
