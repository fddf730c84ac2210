"""What to try next: points spread evenly at first, then where a Gaussian process expects the most.

All of it is a function of the space, the seed and what is known: nothing is kept between two proposals, so a search
that was cut off goes on as one that was not.
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
    """A point whose loss is known; the loss of a failed one is None."""

    point: Point
    loss: float | None


def start_points(space: Space, n: int, kind: StartKind, seed: int) -> list[Point]:
    """Return `n` points of a low-discrepancy sequence, spread over the whole space.

    A Hammersley sequence has no chance in it and belongs to its `n`: the seed changes nothing. Sobol's is scrambled by
    the seed.
    """
    n_fields = len(space.names)
    units = _hammersley(n, n_fields) if kind == "hammersley" else _sobol(n, n_fields, seed)
    return [space.at(unit) for unit in units]


def _hammersley(n: int, n_fields: int) -> np.ndarray:
    """Hammersley's points, shape (n, n_fields): evenly spaced in the first field, radical inverses in the others."""
    from scipy.stats import qmc

    # (i + 1/2) / n instead of i / n: the first point would lie on the edges of all fields
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
    """Return the point where the expected improvement is largest, other than all that are known or pending.

    Parameters
    ----------
    known
        In the order of the trials.
    pending
        Points that are being tried, in the order of the trials.
    seed
        Of this proposal: it draws the points from which the largest improvement is looked for.
    """
    seen = [*(each.point for each in known), *pending]
    if sum(each.loss is not None for each in known) >= 2:
        model = surrogate(space, known, seed)
        model.believe(pending)
        if (found := model.best_point(seen, seed)) is not None:
            return found
    return _unseen(space, seen, seed)


def surrogate(space: Space, known: Sequence[Known], seed: int) -> Surrogate:
    """Return the Gaussian process of what is known; failed points count as the worst that finished."""
    finished = [each.loss for each in known if each.loss is not None]
    worst = max(finished)
    losses = [worst if each.loss is None else each.loss for each in known]
    return Surrogate(space, [each.point for each in known], losses, seed)


def _unseen(space: Space, seen: Sequence[Point], seed: int) -> Point:
    """A random point that was not tried, as long as there are any."""
    random = np.random.default_rng(seed)
    for _ in range(_TRIES):
        point = space.at(random.random(len(space.names)))
        if not any(same_point(point, other) for other in seen):
            break
    return point
