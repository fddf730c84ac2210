"""Draw the figures of an evaluation: residuals, errors against the closest contact, accuracy against speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.evaluation.parity import Parity
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.style import PANEL_IN, canvas, legend_below, panel, scatter, styled

_SMALLEST = 1e-3


@dataclass
class EvaluationArrays(Parity):
    """Data of one potential stored by `evaluation.evaluate`; `min_distance_A` and `n_atoms` of the n structures."""

    name: str
    min_distance_A: np.ndarray
    n_atoms: np.ndarray

    def force_rmse_meV_A(self) -> np.ndarray:
        """Return the force RMSE of each structure, meV/Å, shape (n_structures,)."""
        ends = np.cumsum(3 * self.n_atoms)
        parts = np.split((self.force_pred - self.force_ref) ** 2, ends[:-1])
        return 1e3 * np.sqrt([part.mean() for part in parts])


@styled
def energy_residuals(arrays: EvaluationArrays) -> Figure | None:
    """Draw energy errors against reference energies."""
    error = 1e3 * (arrays.energy_pred - arrays.energy_ref)
    labels = ("reference energy (eV/atom)", "error (meV/atom)", "Energy residuals")
    return _residuals(arrays.energy_ref, error, arrays.config_type, labels, 4.5)


@styled
def force_residuals(arrays: EvaluationArrays) -> Figure | None:
    """Draw errors of force components against reference forces."""
    error = 1e3 * (arrays.force_pred - arrays.force_ref)
    labels = ("reference force component (eV/Å)", "error (meV/Å)", "Force residuals")
    return _residuals(arrays.force_ref, error, arrays.force_config_type, labels, 2.2)


def _residuals(
    reference: np.ndarray, error: np.ndarray, types: np.ndarray, labels: tuple[str, str, str], size: float
) -> Figure | None:
    if not len(reference):
        return None
    axes = panel()
    axes.axhline(0, color="#5B6470", lw=0.9, zorder=1)
    scatter(axes, reference, error, types, np.ones(len(types), dtype=bool), size, 0.3)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=labels[2])
    return legend_below(axes)


@styled
def errors_by_distance(arrays: EvaluationArrays) -> Figure | None:
    """Draw the error of each structure against its closest contact."""
    known = np.isfinite(arrays.min_distance_A)
    if not known.any():
        return None
    figure = canvas(PANEL_IN[0] * 2.2, PANEL_IN[1])
    energy = np.abs(1e3 * (arrays.energy_pred - arrays.energy_ref))
    panels = ((energy, "energy error (meV/atom)"), (arrays.force_rmse_meV_A(), "force RMSE (meV/Å)"))
    for axes, (error, label) in zip(figure.subplots(1, 2), panels, strict=True):
        scatter(axes, arrays.min_distance_A, np.maximum(error, _SMALLEST), arrays.config_type, known)
        axes.set(xlabel="closest contact in the structure (Å)", ylabel=label, yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if error[known].max() < 8 * error[known].min() else "")
    figure.suptitle("Errors against the closest contact", x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return legend_below(figure.axes[0])


@styled
def accuracy_and_speed(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Draw force error against cost of a step, a point a potential; better is to the lower left."""
    known = [row for row in rows if row.get("us_per_atom_step")]
    if len(known) < 2:
        return None
    axes = panel(4.6)
    for row in known:
        x, y = row["us_per_atom_step"], row["force_rmse_meV_per_A"]
        axes.plot(x, y, "o", ms=6, mfc="#0072B2", mec="white")
        axes.annotate(row["potential"], (x, y), (6, 3), textcoords="offset points", fontsize=9)
    axes.margins(x=0.25, y=0.15)
    axes.set(xlabel="time a step (µs/atom, one rank)", ylabel="force RMSE (meV/Å)", title="Accuracy and speed")
    return legend_below(axes)
