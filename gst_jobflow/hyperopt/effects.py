"""Effect of each field on the loss, by the Gaussian process of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.hyperopt.propose import surrogate
from gst_jobflow.hyperopt.rows import ENDED, Row
from gst_jobflow.hyperopt.table import known_points

_BACKGROUND = 128
_STEPS = 25


@dataclass(frozen=True)
class Effect:
    """Expected loss along one field, averaged over the others (partial dependence, Friedman 2001).

    `losses` (n,) are averaged medians of the Gaussian process at `values` of the field. `length_scale` is in widths of
    the range; a long one means that the field matters little.
    """

    name: str
    values: list[Any]
    losses: np.ndarray
    length_scale: float


def effects(plan: SearchPlan, rows: Sequence[Row]) -> list[Effect]:
    """Return the effect of every field; empty if too few fits have ended."""
    from scipy.stats import qmc

    ended = [row for row in rows if row["state"] in ENDED]
    known = known_points(plan, ended, len(rows))
    if sum(each.loss is not None for each in known) < plan.n_start:
        return []
    model = surrogate(plan.space, known, plan.seed + len(rows))
    scales = model.length_scales()
    background = [plan.space.at(unit) for unit in qmc.Sobol(len(plan.space.names), rng=plan.seed).random(_BACKGROUND)]
    found = []
    for field in plan.space.fields:
        if field.choices is not None:
            values = list(field.choices)
        else:
            # a short range of whole numbers repeats values
            values = list(dict.fromkeys(field.at(unit) for unit in np.linspace(0, 1, _STEPS)))
        losses = [
            float(np.mean(model.expected_loss([{**point, field.field: value} for point in background])))
            for value in values
        ]
        found.append(Effect(field.field, values, np.array(losses), scales[field.field]))
    return found
