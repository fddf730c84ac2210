"""Rules of a search's table: which trials a trial waits for, what it tries, and when the search ends.

Row j is trial j. With k fits at once, trial j knows the results of trials up to j - k only; later ones count as
running, whether they have ended or not. A search therefore proposes the same points in whatever order its fits end,
and after a restart. In return trial j cannot start before trial j - k has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gst_jobflow.documents import Errors
from gst_jobflow.hyperopt.plan import Objective, SearchPlan, point_of
from gst_jobflow.hyperopt.propose import Known, next_point, start_points
from gst_jobflow.hyperopt.rows import Row
from gst_jobflow.hyperopt.space import Point

_TRADE = 0.05


def waiting_rows(n_fits: int) -> list[dict[str, Any]]:
    """Return the table of a search before its first trial."""
    return [{"trial": trial, "state": "waiting"} for trial in range(n_fits)]


def waits_for(plan: SearchPlan, trial: int) -> list[int]:
    """Return the trials that a trial waits for; starting points depend on no results and only wait for their turn."""
    first = trial - plan.at_once if trial < plan.n_start else trial - 2 * plan.at_once + 1
    return [other for other in range(max(0, first), trial - plan.at_once + 1)]


def known_to(plan: SearchPlan, trial: int) -> int:
    """Return how many of the first trials' results a trial knows."""
    return trial - plan.at_once + 1


def propose(plan: SearchPlan, rows: Sequence[Row], trial: int) -> Point:
    """Return the point of a trial, which depends only on the plan and the rows that it knows.

    Earlier trials that have not begun have no values in the table: theirs are computed in the same way.
    """
    if trial < plan.n_start:
        return start_points(plan.space, plan.n_start, plan.start, plan.seed)[trial]
    known = rows[: known_to(plan, trial)]
    pending: list[Point] = []
    for other in range(len(known), trial):
        values = rows[other].get("values")
        point = propose(plan, rows, other) if values is None else point_of(plan.space, values)
        # later trials of this loop find the values here
        rows = [
            *rows[:other],
            {**rows[other], "values": [point[name] for name in plan.space.names]},
            *rows[other + 1 :],
        ]
        pending.append(point)
    return next_point(plan.space, known_points(plan, known, trial), pending, plan.seed + trial)


def known_points(plan: SearchPlan, rows: Sequence[Row], trial: int) -> list[Known]:
    """Return the points of ended trials with the losses for the surrogate; trials that were left out have none."""
    rows = [row for row in rows if row["state"] != "left out"]
    losses = scalars(plan, rows, trial)
    return [Known(point_of(plan.space, row["values"]), loss) for row, loss in zip(rows, losses, strict=True)]


def scalars(plan: SearchPlan, rows: Sequence[Row], trial: int) -> list[float | None]:
    """Return the positive number that the surrogate minimises for each row; None for failed ones.

    With speed as second objective it is an augmented Chebyshev sum of the logarithms of loss and cost, scaled to 0..1,
    with new weights in every trial (ParEGO, Knowles 2006), so that proposals spread along the front.
    """
    losses = [row.get("loss") if row["state"] == "finished" else None for row in rows]
    if plan.objective.speed == "none":
        return losses
    costs = [row.get("cost") for row in rows]
    good = [place for place, loss in enumerate(losses) if loss is not None and costs[place] is not None]
    if not good:
        return [None] * len(rows)
    weight = np.random.default_rng([plan.seed, trial]).random()
    scaled = [_unit_logs([values[place] for place in good]) for values in (losses, costs)]  # type: ignore[misc]
    found: list[float | None] = [None] * len(rows)
    for place, loss, cost in zip(good, *scaled, strict=True):
        parts = (weight * loss, (1 - weight) * cost)
        found[place] = math.exp(max(parts) + _TRADE * sum(parts))
    return found


def _unit_logs(values: Sequence[float]) -> np.ndarray:
    logs = np.log(values)
    return (logs - logs.min()) / (np.ptp(logs) or 1.0)


def why_ended(plan: SearchPlan, rows: Sequence[Row], trial: int) -> str:
    """Return why the search ends before a trial, judged by the results that trial knows; empty if it goes on."""
    losses = [row["loss"] if row["state"] == "finished" else math.inf for row in rows[: max(0, known_to(plan, trial))]]
    best = list(np.minimum.accumulate(losses)) if losses else []
    ending = plan.ending
    if best and ending.target is not None and best[-1] <= ending.target:
        return "target"
    if ending.patience is None or trial < plan.n_start or len(best) < plan.n_start + ending.patience:
        return ""
    before = best[-1 - ending.patience]
    return "no progress" if math.isfinite(before) and best[-1] > (1 - ending.min_progress) * before else ""


def outcome(objective: Objective, errors: Errors | None, cost: float | None) -> dict[str, Any]:
    """Return the row of a fit from its test errors; a fit without them counts as failed."""
    if errors is None:
        return {"state": "failed", "failure_class": "no_errors", "reason": "the fit has no errors of a test set"}
    energy, force = errors.energy_meV_per_atom, errors.force_meV_per_A
    if objective.speed != "none" and cost is None:
        reason = "the speed of its molecular dynamics was not measured"
        return {"state": "failed", "failure_class": "no_speed", "reason": reason}
    row: dict[str, Any] = {
        "state": "finished",
        "loss": objective.loss(energy, force),
        "energy_meV_per_atom": energy,
        "force_meV_per_A": force,
    }
    return row if cost is None else {**row, "cost": cost}
