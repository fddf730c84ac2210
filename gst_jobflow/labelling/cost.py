"""Estimate the cost of a label from its number of atoms, and deal structures to jobs of equal cost."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo.database import Database

from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.labelling.method import Method

_NEWEST = 400
_FEWEST = 8
# a narrower range of cell sizes does not determine the exponent
_SPREAD = 1.5
_EXPONENTS = (0.5, 4.0)


@dataclass(frozen=True)
class CostModel:
    """Wall time of a label: `one_atom_s` times its number of atoms to the power of `exponent`.

    `one_atom_s` is None if no label of the method was timed; costs are then relative.
    """

    exponent: float
    one_atom_s: float | None = None
    n_measured: int = 0
    mean_atoms: float = 0.0

    def costs(self, n_atoms: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the cost of cells of these sizes, in seconds if measured."""
        return (self.one_atom_s or 1.0) * np.asarray(n_atoms, dtype=float) ** self.exponent


def cost_model(
    database: Database, backend: LabelBackend, method: Method | None = None, where: dict[str, Any] | None = None
) -> CostModel:
    """Fit the cost of a backend's labels to the newest converged ones of a method.

    Parameters
    ----------
    method
        None: the backend's own.
    where
        Filter of the labels that count; None: single points, or frames of dynamics if there are no others (they start
        from the orbitals of the step before and are cheaper).
    """
    fingerprint = (method or backend.method()).fingerprint()
    exponent = getattr(backend, "cost_exponent", 2.0)
    for counted in ({"config_type": {"$ne": "aimd"}}, {}) if where is None else (where,):
        sizes, walls_s = _newest(database, {**counted, "fingerprint": fingerprint})
        if len(sizes):
            break
    return fitted(sizes, walls_s, exponent)


def _newest(database: Database, where: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of atoms and wall times (s) of the newest converged labels."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {**where, "state": "converged", "wall_s": {"$gt": 0}}},
        {"$sort": {"created_at": -1}},
        {"$limit": _NEWEST},
        {"$project": {"_id": 0, "n_atoms": 1, "wall_s": 1}},
    ]
    found = list(database["labels"].aggregate(pipeline))
    return np.array([row["n_atoms"] for row in found], dtype=float), np.array([row["wall_s"] for row in found])


def fitted(n_atoms: np.ndarray, walls_s: np.ndarray, exponent: float) -> CostModel:
    """Fit the power law to timed labels; keep the given exponent if sizes are too few or too alike."""
    if not len(n_atoms):
        return CostModel(exponent)
    if len(n_atoms) >= _FEWEST and n_atoms.max() >= _SPREAD * n_atoms.min():
        slope = np.polyfit(np.log(n_atoms), np.log(walls_s), 1)[0]
        exponent = float(np.clip(slope, *_EXPONENTS))
    # preserves the total time, so that long labels count by their cost
    one_atom_s = float(walls_s.sum() / (n_atoms**exponent).sum())
    return CostModel(exponent, one_atom_s, len(n_atoms), float(n_atoms.mean()))


def dealt(ids: Sequence[str], costs: np.ndarray, n_jobs: int, most: int) -> list[list[str]]:
    """Deal structures out to jobs of nearly equal cost, each with its longest first.

    The next longest goes to the job with the least so far (LPT rule): no job exceeds 4/3 of the optimum (Graham, SIAM
    J. Appl. Math. 17, 416 (1969)). Short structures at the end of a job fill what is left of cores and walltime.

    Parameters
    ----------
    n_jobs
        Number of jobs; empty ones are left out.
    """
    jobs: list[list[str]] = [[] for _ in range(n_jobs)]
    loads = [(0.0, job) for job in range(n_jobs)]
    for place in np.argsort(-costs, kind="stable").tolist():
        load, job = heapq.heappop(loads)
        jobs[job].append(ids[place])
        if len(jobs[job]) < most:
            heapq.heappush(loads, (load + float(costs[place]), job))
    return [job for job in jobs if job]
