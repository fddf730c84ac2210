"""Expected cost of fits by finished ones: a start, and a part that grows with iterations × functions × atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gst_jobflow.base.pacemaker import CPU
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.base.words import counted
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.dynamics.potential_files import OWN_KINDS
from gst_jobflow.dynamics.work import was_queued
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.store import Results
from gst_jobflow.store.work import Allotment, ExpectedCost

_NEWEST = 40
# of these, so many nearest in size, of which one must be within these times the size
_NEAREST = 10
_MOST_TIMES = 30
# a narrower range of sizes does not tell the start from what grows
_SPREAD = 1.5
# their cost by function is not known, so fits that differ in anything else do not compare
_MAY_DIFFER = ("seed", "maxiter", "gpu")
DEVICE_KEY = "tensorflow device"
"""Among the versions of a potential: what TensorFlow fitted it on."""
_UNKNOWN = "unknown"


class _Finished(NamedTuple):
    """Size, cost and kind of device of a finished fit, and whether it waited in a queue."""

    size: float
    core_hours: float
    device: str
    queued: bool


@dataclass(frozen=True)
class FitWork:
    """Fits of one configuration to a dataset; `dataset_id` is a text if the dataset is there already."""

    config: StrictModel
    dataset_id: Any = None
    plugin: str = ""
    number: int = 1

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the cost by finished fits, else the assumed one; the basis has the range of one fit."""
        work, assumed = counted(self.number, "fit"), allotment.assumed
        if isinstance(self.dataset_id, str):
            n_atoms = allotment.results.get(Dataset, self.dataset_id).n_atoms
            hours, basis = self._by_finished(n_atoms, allotment)
            work += f" to {n_atoms:,} atoms"
        else:
            hours, basis = None, "its dataset is not made yet"
        if hours is None and assumed.core_hours_per_fit is not None:
            hours, basis = assumed.core_hours_per_fit, assumed.basis
        if hours is None:
            return allotment.expected(work, basis)
        wall_h = hours / allotment.cores if self.number == 1 else None
        return allotment.expected(work, basis, self.number * hours, wall_h)

    def _by_finished(self, n_atoms: int, allotment: Allotment) -> tuple[float | None, str]:
        """Return the core hours of one fit and what they rest on, or None and the reason."""
        config = self.config.model_dump(mode="json")
        if isinstance(self.config, FitConfig) and self.config.optimizer.ladder_step is not None:
            return None, "a ladder has all iterations on each rung"
        engine, where = _alike(self.config, self.plugin)
        every = allotment.once(("fits", repr(where)), lambda: list(_finished(allotment.results, where)))
        device = _device(where["kind"], config, "GPU" if allotment.has_gpu() else CPU)
        found = [fit for fit in every if fit.device == device]
        kind, size = f"{device} fit".strip(), _size(config, n_atoms)
        place, chosen = f"profile {allotment.profile}", [fit for fit in found if fit.queued == allotment.queued]
        if not any(_is_near(fit, size) for fit in chosen):
            place, chosen = "another profile", found
        if not any(_is_near(fit, size) for fit in chosen):
            which = f"between 1/{_MOST_TIMES} and {_MOST_TIMES} times its size " if found else ""
            return None, f"no {kind} {which}by {engine} has been measured here{_of_unknown_device(every)}"
        chosen = sorted(chosen, key=lambda fit: abs(math.log(fit.size / size)))[:_NEAREST]
        hours, low, high = _expected(chosen, size)
        spread = f": {low:.3g} to {high:.3g} core hours" if high > 1.01 * low else ""
        return hours, f"{counted(len(chosen), kind)} by {engine} on {place}{spread}"


def _is_near(fit: _Finished, size: float) -> bool:
    return 1 / _MOST_TIMES <= fit.size / size <= _MOST_TIMES


def _expected(fits: list[_Finished], size: float) -> tuple[float, float, float]:
    """Return the core hours of a fit of `size`, and their range by the finished fits.

    A fit costs its start, which does not depend on its size, and a part that grows with it. Fits alike in size do not
    tell these apart: the larger of equal and proportional cost is then taken.
    """
    from scipy.optimize import nnls

    sizes, hours = (np.array(values) for values in zip(*((fit.size, fit.core_hours) for fit in fits), strict=True))
    ratios = size / sizes
    if sizes.max() < _SPREAD * sizes.min():
        most = hours * np.maximum(ratios, 1.0)
        return float(np.median(most)), float((hours * np.minimum(ratios, 1.0)).min()), float(most.max())
    # relative errors count
    (start, growing), _ = nnls(np.stack([1 / hours, 1 / ratios / hours], axis=1), np.ones(len(fits)))
    expected, off = start + growing, hours / (start + growing / ratios)
    return float(expected), float(expected * off.min()), float(expected * off.max())


def _alike(config: StrictModel, plugin: str) -> tuple[str, dict[str, Any]]:
    """Return the engine of a fit, and the filter of potentials whose fits compare with it."""
    if isinstance(config, FitConfig):
        linear = config.solver == "linear"
        solver = {"config.solver": "linear" if linear else {"$ne": "linear"}, "config.optimizer.ladder_step": None}
        return "the linear solver" if linear else "pacemaker", {"kind": "ace", **solver}
    same = {
        f"config.{name}": value for name, value in config.model_dump(mode="json").items() if name not in _MAY_DIFFER
    }
    if isinstance(config, GraceConfig):
        return "gracemaker", {"kind": "grace/fs", **same}
    return plugin, {"kind": plugin, **same}


def _finished(results: Results, where: dict[str, Any]) -> Iterator[_Finished]:
    """Yield the newest fits whose cost is known."""
    wanted = {**where, "dataset_id": {"$ne": None}, "cost.core_hours": {"$gt": 0}}
    for row in results.database["potentials"].find(wanted).sort("created_at", -1).limit(_NEWEST):
        fit = Potential.model_validate(row)
        for dataset in results.find(Dataset, {"_id": fit.dataset_id}):
            assert fit.cost is not None  # the filter sees to it
            size, device = _size(fit.config, dataset.n_atoms), _device(fit.kind, fit.config, _device_of(fit))
            yield _Finished(size, fit.cost.core_hours, device, was_queued(results, fit))


def _device(kind: str, config: dict[str, Any], found: str) -> str:
    """Return `CPU` or `GPU` for a fit where `found` is available; empty for a fit of a plugin."""
    if kind not in OWN_KINDS:
        return ""
    without = config.get("backend", config).get("gpu", "auto") is None
    return CPU if without or config.get("solver") == "linear" else found


def _device_of(fit: Potential) -> str:
    """Return the kind of device that a fit ran on; before it was recorded, the CPU build of TensorFlow tells."""
    if DEVICE_KEY in fit.versions:
        return CPU if fit.versions[DEVICE_KEY] == CPU else "GPU"
    return CPU if "tensorflow-cpu" in fit.versions and "tensorflow" not in fit.versions else _UNKNOWN


def _of_unknown_device(fits: list[_Finished]) -> str:
    number = sum(fit.device == _UNKNOWN for fit in fits)
    return f" (older fits that do not name their device: {number})" if number else ""


def _size(config: dict[str, Any], n_atoms: int) -> float:
    """Return iterations × functions × atoms of a fit, with 1 for what its settings do not have."""
    if "functions" not in config:
        return float(config.get("maxiter", 1) * n_atoms)
    iterations = 1 if config.get("solver") == "linear" else config["optimizer"]["maxiter"]
    functions = config["functions"]["number_of_functions_per_element"] * len(config["elements"])
    return float(iterations * functions * n_atoms)
