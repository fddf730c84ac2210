"""Propose points: first evenly spread ones, then those of largest expected improvement.

A proposal depends on the space, the seed and the known losses only, so a resumed search proposes the same points.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gst_jobflow.hyperopt.space import Point, Space
from gst_jobflow.hyperopt.surrogate import Surrogate, same_point

StartKind = Literal["hammersley", "sobol"]
_TRIES = 200


@dataclass(frozen=True)
class Known:
    """A point with its loss; None if its fit failed."""

    point: Point
    loss: float | None


def start_points(space: Space, n: int, kind: StartKind, seed: int) -> list[Point]:
    """Return `n` points of Hammersley's sequence, which has no randomness, or of Sobol's, scrambled by the seed."""
    n_fields = len(space.names)
    units = _hammersley(n, n_fields) if kind == "hammersley" else _sobol(n, n_fields, seed)
    return [space.at(unit) for unit in units]


def _hammersley(n: int, n_fields: int) -> np.ndarray:
    """Return points, shape (n, n_fields), evenly spaced in the first field, with radical inverses in the others."""
    from scipy.stats import qmc

    # (i + 1/2) / n instead of i / n, whose first point is on the edge of all fields
    first = (np.arange(n) + 0.5)[:, None] / n
    if n_fields == 1:
        return first
    return np.hstack([first, qmc.Halton(n_fields - 1, scramble=False).random(n + 1)[1:]])


def _sobol(n: int, n_fields: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        return qmc.Sobol(n_fields, scramble=True, rng=seed).random(n)


def next_point(space: Space, known: Sequence[Known], pending: Sequence[Point], seed: int) -> Point:
    """Return the point of largest expected improvement that is neither known nor pending.

    `known` are ended trials and `pending` points of running ones, in order; `seed` draws the candidates of this
    proposal.
    """
    seen = [*(each.point for each in known), *pending]
    if sum(each.loss is not None for each in known) >= 2:
        model = surrogate(space, known, seed)
        model.believe(pending)
        if (found := model.best_point(seen, seed)) is not None:
            return found
    return _unseen(space, seen, seed)


def surrogate(space: Space, known: Sequence[Known], seed: int) -> Surrogate:
    """Return the Gaussian process of known losses; failed points count as the worst finished one."""
    finished = [each.loss for each in known if each.loss is not None]
    worst = max(finished)
    losses = [worst if each.loss is None else each.loss for each in known]
    return Surrogate(space, [each.point for each in known], losses, seed)


def _unseen(space: Space, seen: Sequence[Point], seed: int) -> Point:
    """Return a random point that was not tried, if one is found."""
    random = np.random.default_rng(seed)
    for _ in range(_TRIES):
        point = space.at(random.random(len(space.names)))
        if not any(same_point(point, other) for other in seen):
            break
    return point
