"""Compare the members of an ensemble: their spread, and how well it predicts their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import Maker, job

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Member, Potential, Study, derive_id, now
from gst_jobflow.evaluation.parity import PARITY_NAME, Parity, parity_file, read_parity
from gst_jobflow.store import Results
from gst_jobflow.store.context import job_results


def spread(members: Sequence[Parity]) -> dict[str, float]:
    """Return the spread of the members and the error of their mean.

    They are `energy_spread_meV_per_atom`, `force_spread_meV_per_A`: root mean square of the standard deviation over
    members; `energy_meV_per_atom`, `force_meV_per_A`: RMSE of the mean prediction; `force_correlation`: rank
    correlation of spread and absolute error over force components. Raises DataError for fewer than two members, or
    members of different test sets.
    """
    if len(members) < 2:
        raise DataError("an ensemble needs two members", "fit more potentials, e.g. --ensemble 4")
    first = members[0]
    for other in members[1:]:
        if first.energy_ref.shape != other.energy_ref.shape or not np.array_equal(first.force_ref, other.force_ref):
            raise DataError("members of an ensemble have different test sets", "fit all of them to one dataset")
    energies = np.stack([member.energy_pred for member in members])
    forces = np.stack([member.force_pred for member in members])
    energy_error, force_error = energies.mean(0) - first.energy_ref, forces.mean(0) - first.force_ref
    energy_spread, force_spread = energies.std(0, ddof=1), forces.std(0, ddof=1)
    return {
        "energy_spread_meV_per_atom": 1e3 * _rms(energy_spread),
        "force_spread_meV_per_A": 1e3 * _rms(force_spread),
        "energy_meV_per_atom": 1e3 * _rms(energy_error),
        "force_meV_per_A": 1e3 * _rms(force_error),
        "force_correlation": _rank_correlation(force_spread, np.abs(force_error)),
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    # not defined if one is constant
    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0


def member_predictions(results: Results, potential: Potential) -> Parity:
    """Read the test predictions of a potential that was fitted here, in the order of the label ids.

    Raises DataError if the potential has none.
    """
    ref = parity_file(potential)
    if ref is None:
        raise DataError(f"potential {potential.id} has no {PARITY_NAME}", "only fits have predictions of their own")
    found = read_parity(results.artifacts.path(ref)).get("test")
    if found is None:
        raise DataError(f"potential {potential.id} has no test set", "fit to a dataset with one")
    return found


@dataclass
class EnsembleMaker(Maker):
    """Collect the potentials of an ensemble in a study, with the spread of their predictions.

    Examples
    --------
    >>> config = PRESETS["small"](("Ge", "Sb", "Te"))
    >>> fits = [FitMaker(config=config.model_copy(update={"seed": seed})).make(dataset_id) for seed in (0, 1)]
    >>> flow = Flow([*fits, EnsembleMaker().make(dataset_id, [fit.output["potential_id"] for fit in fits])])
    """

    name: str = "ensemble"
    study_name: str = "ensemble"

    @job
    def make(self, dataset_id: str, potential_ids: list[str]) -> dict[str, Any]:
        """Compare the potentials and store the study; return `study_id` and what :func:`spread` gives."""
        results = job_results()
        potentials = list(results.get_many(Potential, potential_ids))
        found = spread([member_predictions(results, potential) for potential in potentials])
        study = ensemble_study(self.study_name, dataset_id, potentials, found)
        results.add(study)
        return {"study_id": study.id, **found}


def ensemble_study(name: str, dataset_id: str, potentials: Sequence[Potential], found: dict[str, float]) -> Study:
    """Make the study of a finished ensemble, with a row for each member and one for all."""
    rows = [
        {
            "potential": potential.name,
            "seed": potential.seed,
            "energy_meV_per_atom": potential.rmse["test"].energy_meV_per_atom,
            "force_meV_per_A": potential.rmse["test"].force_meV_per_A,
        }
        for potential in potentials
    ]
    rows.append({"potential": "mean of all", "seed": None, **found})
    return Study(
        id=derive_id("ensemble", dataset_id, [potential.id for potential in potentials]),
        name=name,
        kind="ensemble",
        state="finished",
        plan={"dataset_id": dataset_id, "n_members": len(potentials), "config": potentials[0].config},
        members=[
            Member(collection="datasets", id=dataset_id, role="dataset"),
            *(Member(collection="potentials", id=each.id, role=f"member {n}") for n, each in enumerate(potentials, 1)),
        ],
        table=rows,
        finished_at=now(),
    )
