"""The search for hyperparameters on an analytic function: two fits at once against one, and against scikit-optimize."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from _common import Row
from threadpoolctl import threadpool_limits

from gst_jobflow.hyperopt import table
from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.hyperopt.space import Point, Space

PAIRS = {"small": 2, "full": 10}
SEEDS = {"small": 2, "full": 5}
"""Of the comparison with scikit-optimize, whose proposals take longer."""
FITS = {"small": 16, "full": 32}
FIT_S = {"small": 0.5, "full": 2.0}
START, AT_ONCE, SHARE, WORSE_PERCENT = 8, 2, 0.65, 1.0
"""A loss that is lower by less than 1 % is no progress to a search (`Ending.min_progress`)."""
FIELDS = {
    "loss.kappa": (0.1, 0.9),
    "radial.rcut_A": (5.0, 9.0),
    "embedding.fs_parameters[3]": (0.025, 0.975),
    "embedding.fs_parameters[5]": (0.025, 0.975),
}
"""Four linear ranges; a search knows no more of them."""


def valley(seed: int) -> Callable[[np.ndarray], float]:
    """A loss of four numbers in 0..1: a curved valley with ripples, whose floor of about 60 lies elsewhere by seed."""
    random = np.random.default_rng(seed)
    centre, phase = random.uniform(0.2, 0.8, 4), random.uniform(0, 2 * np.pi, 4)

    def loss(unit: np.ndarray) -> float:
        away = unit - centre
        bowl = 4 * away[0] ** 2 + 3 * (away[1] - away[0] ** 2) ** 2 + away[2] ** 2 + 0.3 * away[3] ** 2
        return float(60 * np.exp(bowl) + np.sin(12 * unit + phase).sum())

    return loss


def plan_of(n_fits: int, at_once: int, seed: int) -> SearchPlan:
    """A search of the analytic function."""
    space = Space(fields={name: {"low": low, "high": high} for name, (low, high) in FIELDS.items()})
    return SearchPlan(space=space, n_fits=n_fits, n_start=START, at_once=at_once, seed=seed)


def unit_of(point: Point) -> np.ndarray:
    """A point as four numbers in 0..1."""
    return np.array([(point[name] - low) / (high - low) for name, (low, high) in FIELDS.items()])


def search(plan: SearchPlan, loss: Callable[[np.ndarray], float], fit_s: np.ndarray) -> list[float]:
    """Losses of all trials in order; `at_once` run in threads, each waits so long and begins when its job would."""
    rows = table.waiting_rows(plan.n_fits)

    def trial(number: int) -> tuple[int, Point, float]:
        point = table.propose(plan, rows, number)
        time.sleep(float(fit_s[number]))
        return number, point, loss(unit_of(point))

    running: dict[int, Future[tuple[int, Point, float]]] = {}
    # trials are jobs of their own, each of which proposes on one thread
    with threadpool_limits(1), ThreadPoolExecutor(plan.at_once) as pool:
        while any(row["state"] != "finished" for row in rows):
            for row in rows:
                ready = all(rows[other]["state"] == "finished" for other in table.waits_for(plan, row["trial"]))
                if row["state"] == "waiting" and ready and row["trial"] not in running:
                    running[row["trial"]] = pool.submit(trial, row["trial"])
            for ended in wait(running.values(), return_when=FIRST_COMPLETED).done:
                number, point, found = ended.result()
                values = [point[name] for name in plan.space.names]
                rows[number] = {"trial": number, "state": "finished", "values": values, "loss": found}
                del running[number]
    return [row["loss"] for row in rows]


def by_skopt(loss: Callable[[np.ndarray], float], n_fits: int, seed: int) -> list[float]:
    """Losses of scikit-optimize: Hammersley start, Gaussian process, its other defaults."""
    from skopt import Optimizer

    optimizer: Any = Optimizer(
        [(0.0, 1.0)] * len(FIELDS), base_estimator="GP", n_initial_points=START,
        initial_point_generator="hammersly", random_state=seed,
    )  # fmt: skip
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(n_fits):
            unit = optimizer.ask()
            losses.append(loss(np.array(unit)))
            optimizer.tell(unit, losses[-1])
    return losses


def fits_to(losses: list[float], target: float) -> int:
    """How many fits it took to a loss as low as `target`; one more than there were, where none was."""
    return next((place for place, loss in enumerate(losses, 1) if loss <= target), len(losses) + 1)


def search_rows(size: str) -> Iterator[Row]:
    """Wall time, best loss, and fits to the same loss."""
    n_fits = FITS[size]
    yield _wall_row(n_fits, FIT_S[size])
    no_pause = np.zeros(n_fits)
    one, two = (
        [search(plan_of(n_fits, at_once, 42 + seed), valley(seed), no_pause) for seed in range(PAIRS[size])]
        for at_once in (1, AT_ONCE)
    )
    above = [100 * (min(ours) / min(those) - 1) for ours, those in zip(two, one, strict=True)]
    what = f"best loss of {n_fits} fits, {AT_ONCE} at once: above that of one at a time, mean of {len(one)} valleys"
    yield Row(what, float(np.mean(above)), "%", limit=WORSE_PERCENT)
    yield Row("the same, largest of them", max(above), "%")
    yield from _skopt_rows(n_fits, one[: SEEDS[size]])


def _wall_row(n_fits: int, fit_s: float) -> Row:
    """Wall time of two at once against one at a time, both after one that is not counted (imports)."""
    lengths = fit_s * np.random.default_rng(0).uniform(0.7, 1.3, n_fits)
    search(plan_of(START + 1, 1, 42), valley(0), np.zeros(START + 1))
    walls = {}
    for at_once in (1, AT_ONCE):
        start = time.perf_counter()
        search(plan_of(n_fits, at_once, 42), valley(0), lengths)
        walls[at_once] = time.perf_counter() - start
    what = f"search of {n_fits} fits, {AT_ONCE} at once, each a pause of {fit_s:g} s ± 30 %"
    return Row(what, walls[AT_ONCE], "s", "one at a time", walls[1], limit=SHARE * walls[1])


def _skopt_rows(n_fits: int, one: list[list[float]]) -> Iterator[Row]:
    """Fits to the best loss of scikit-optimize, where it is installed, and best losses; `one` by valley."""
    seeds = range(len(one))
    try:
        theirs = [by_skopt(valley(seed), n_fits, 42 + seed) for seed in seeds]
    except ImportError:
        return
    targets = [min(losses) for losses in theirs]
    ours, those = (
        float(np.mean([fits_to(losses, target) for losses, target in zip(each, targets, strict=True)]))
        for each in (one, theirs)
    )
    best_one = float(np.mean([min(losses) for losses in one]))
    named = "scikit-optimize, Hammersley start and its defaults"
    yield Row(f"fits to the best loss of {n_fits} by scikit-optimize, mean", ours, "fits", named, those, limit=those)
    yield Row(f"best loss of {n_fits} fits, one at a time, mean", best_one, "", named, float(np.mean(targets)))
