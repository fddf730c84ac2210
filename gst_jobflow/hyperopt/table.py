"""The table of a search and its rules: which trials a trial waits for, what it tries, when the search ends.

Row j is trial j. What trial j tries follows from the results of the trials up to j - k alone, where k fits run at once;
those after them count as being tried, whether they have ended by then or not. So a search gives the same points
whatever order its fits end in, and one that was cut off goes on as one that was not. The price is that a trial waits
for the one k places before it.
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
    """The table of a search before its first trial."""
    return [{"trial": trial, "state": "waiting"} for trial in range(n_fits)]


def waits_for(plan: SearchPlan, trial: int) -> list[int]:
    """The trials whose end a trial waits for; with those that they waited for, they are all that it knows of.

    The points of the start do not depend on results: they only wait for their turn.
    """
    first = trial - plan.at_once if trial < plan.n_start else trial - 2 * plan.at_once + 1
    return [other for other in range(max(0, first), trial - plan.at_once + 1)]


def known_to(plan: SearchPlan, trial: int) -> int:
    """How many trials, from the first on, a trial knows the results of."""
    return trial - plan.at_once + 1


def propose(plan: SearchPlan, rows: Sequence[Row], trial: int) -> Point:
    """What a trial tries; a function of the plan and the rows that it knows.

    Trials before it that did not begin yet have no values in the table: theirs follow from what is known, too.
    """
    if trial < plan.n_start:
        return start_points(plan.space, plan.n_start, plan.start, plan.seed)[trial]
    known = rows[: known_to(plan, trial)]
    pending: list[Point] = []
    for other in range(len(known), trial):
        values = rows[other].get("values")
        point = propose(plan, rows, other) if values is None else point_of(plan.space, values)
        # so that the trials after it, which count it as being tried, do not work it out again
        rows = [
            *rows[:other],
            {**rows[other], "values": [point[name] for name in plan.space.names]},
            *rows[other + 1 :],
        ]
        pending.append(point)
    return next_point(plan.space, known_points(plan, known, trial), pending, plan.seed + trial)


def known_points(plan: SearchPlan, rows: Sequence[Row], trial: int) -> list[Known]:
    """The points of trials that have ended, with what the surrogate learns of them; one that was left out has none."""
    rows = [row for row in rows if row["state"] != "left out"]
    losses = scalars(plan, rows, trial)
    return [Known(point_of(plan.space, row["values"]), loss) for row, loss in zip(rows, losses, strict=True)]


def scalars(plan: SearchPlan, rows: Sequence[Row], trial: int) -> list[float | None]:
    """What the surrogate minimises, one positive number a row; None for failed ones.

    With speed as a second objective it is an augmented Chebyshev sum of the logarithms of loss and cost, each scaled to
    0..1, with weights that change from trial to trial (ParEGO, Knowles 2006): the proposals spread along the front.
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
    """Why the search ends instead of beginning a trial, by what that trial knows; empty where it does not end."""
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
    """What a row says of a fit that ended well, from its test errors.

    A fit without them is a failed one.
    """
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
