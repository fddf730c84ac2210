"""Group the errors of predictions for the table of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gst_jobflow.evaluation.labels import EvaluationSet

MAX_GROUPS = 40
"""Groups of one kind that a table shows, those of most structures first."""
DISTANCE_BINS = 6


@dataclass(frozen=True)
class Residuals:
    """Prediction minus reference: energies (n_structures,), and forces (sum of n_atoms, 3)."""

    energy_eV_per_atom: np.ndarray
    forces_eV_A: np.ndarray


def group_rows(chosen: EvaluationSet, residuals: Residuals) -> list[dict[str, Any]]:
    """Return rows of errors: overall, by config_type, composition, iteration and closest contact.

    Energy errors are per atom with equal weight of structures, force errors are over components.
    """
    n_atoms = chosen.n_atoms
    groups: list[tuple[str, str, np.ndarray]] = [("all", "", np.ones(len(n_atoms), dtype=bool))]
    for kind, values in (
        ("config_type", np.array(chosen.config_types)),
        ("composition", np.array(chosen.formulas)),
        ("iteration", np.array(chosen.iterations)),
    ):
        names, counts = np.unique(values, return_counts=True)
        most = names[np.argsort(-counts, kind="stable")][:MAX_GROUPS]
        groups += [(kind, str(name), values == name) for name in sorted(most.tolist())]
    groups += _distance_groups(chosen.min_distances_A)
    return [{"group": kind, "value": name, **errors_of(residuals, n_atoms, mask)} for kind, name, mask in groups]


def _distance_groups(distances_A: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """Make groups of about equal size by the closest contact; none if contacts hardly differ."""
    known = distances_A[np.isfinite(distances_A)]
    if len(known) < 2 * DISTANCE_BINS:
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, DISTANCE_BINS + 1)))
    if len(edges) < 3:
        return []
    found = []
    for low, high in pairwise(edges):
        mask = (distances_A >= low) & ((distances_A < high) | (high == edges[-1]) & (distances_A <= high))
        if mask.any():
            found.append(("min_distance_A", f"{low:.2f} – {high:.2f}", mask))
    return found


def errors_of(residuals: Residuals, n_atoms: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """Return RMSE, MAE and largest error of the structures in `mask`, and their numbers."""
    energy = 1e3 * residuals.energy_eV_per_atom[mask]
    force = 1e3 * residuals.forces_eV_A[np.repeat(mask, n_atoms)]
    found: dict[str, Any] = {"n_structures": int(mask.sum()), "n_atoms": int(n_atoms[mask].sum())}
    for name, values in (("energy", energy), ("force", force)):
        unit = "meV_per_atom" if name == "energy" else "meV_per_A"
        found[f"{name}_rmse_{unit}"] = float(np.sqrt(np.mean(values**2)))
        found[f"{name}_mae_{unit}"] = float(np.mean(np.abs(values)))
        found[f"{name}_max_{unit}"] = float(np.max(np.abs(values)))
    return found


def fitted_zero(chosen: EvaluationSet, predicted_eV: np.ndarray) -> dict[str, float]:
    """Fit the energy of one atom of each element (eV) by least squares per atom, for a potential of unknown references.

    Since it is fitted to the evaluated labels, energy errors come out slightly too small.
    """
    elements = chosen.elements
    counts = np.array([[atoms.get_chemical_symbols().count(e) for e in elements] for atoms in chosen.atoms], float)
    n_atoms = chosen.n_atoms[:, None]
    target = (chosen.energies_eV - predicted_eV) / chosen.n_atoms
    solved, *_ = np.linalg.lstsq(counts / n_atoms, target, rcond=None)
    return dict(zip(elements, solved.tolist(), strict=True))


def zero_of(chosen: EvaluationSet, references_eV: dict[str, float]) -> np.ndarray:
    """Sum the reference energies of the atoms of each structure, eV, shape (n_structures,)."""
    return np.array([sum(references_eV[symbol] for symbol in atoms.get_chemical_symbols()) for atoms in chosen.atoms])
