"""Draw the figures of a study: structures, labels and parity of a potential.

Panels are small (about 4 inches) separate images: side by side on a screen, below each other on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gst_jobflow.datasets.table import CategoricalColumn
from gst_jobflow.evaluation.parity import Parity
from gst_jobflow.report import palette, style, words
from gst_jobflow.report.collect import LabelRows, StructureRows
from gst_jobflow.report.label_data import reference_eV
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.structures.composition import parse_formula


@style.styled
def compositions(rows: StructureRows) -> Figure | None:
    """Draw the number of structures by composition, stacked by config type."""
    if not len(rows):
        return None
    formulas, types = np.array(rows.formula), np.array(rows.config_type)
    names, counts = np.unique(formulas, return_counts=True)
    # the most frequent ones
    shown = names[np.argsort(-counts, kind="stable")][:12][::-1]
    axes = style.panel(style.PANEL_IN[0], max(2.2, 0.9 + 0.33 * len(shown)) if len(shown) > 6 else style.PANEL_IN[1])
    series = [
        (
            style.readable(name),
            palette.config_type(name),
            np.array([np.sum((formulas == formula) & (types == name)) for formula in shown]),
        )
        for name in style.ordered_types(rows.config_type)
    ]
    style.stacked_bars(axes, [words.formula(formula) for formula in shown], series)
    more = len(names) - len(shown)
    axes.set(xlabel="structures", title="Compositions" + (f" ({more} more not shown)" if more else ""))
    return style.legend_below(axes)


@style.styled
def minimum_distances(rows: StructureRows) -> Figure | None:
    """Draw a histogram of the closest contacts of structures, by config type."""
    return style.histogram(
        np.array(rows.min_distance_A, dtype=float),
        np.array(rows.config_type),
        "closest contact in a structure (Å)",
        "structures",
        "Minimum distances",
    )


@style.styled
def densities(rows: StructureRows) -> Figure | None:
    """Draw a histogram of mass densities, by config type."""
    return style.histogram(
        np.array(rows.density_g_cm3, dtype=float),
        np.array(rows.config_type),
        "mass density (g/cm³)",
        "structures",
        "Densities",
    )


@style.styled
def label_energies(rows: LabelRows, references_eV: Mapping[str, float]) -> Figure | None:
    """Draw largest force against energy of each converged label.

    Atomic reference energies are subtracted if `references_eV` holds all elements.
    """
    formulas = CategoricalColumn.of(rows.formula)
    # all or none, else compositions would not be comparable
    complete = all(set(parse_formula(formula)) <= set(references_eV) for formula in formulas.known)
    zero_eV = reference_eV(formulas, dict(references_eV)) if complete else 0.0
    energy = np.array(rows.energy_per_atom_eV, dtype=float) - zero_eV
    force = np.array(rows.max_force_eV_A, dtype=float)
    types = np.array(rows.config_type)
    good = np.isfinite(energy) & np.isfinite(force) & (np.array(rows.state) == "converged")
    if not good.any():
        return None
    axes = style.panel()
    style.scatter(axes, energy, force, types, good)
    if force[good].max() > 30 * max(np.median(force[good]), 1e-3):
        axes.set_yscale("symlog", linthresh=1.0)
    axes.set(xlabel="energy less atomic references (eV/atom)", ylabel="largest force (eV/Å)", title="Labels")
    axes.set_ylim(bottom=0)
    return style.legend_below(axes)


@style.styled
def energy_parity(parity: dict[str, Parity]) -> Figure | None:
    """Draw predicted against reference energy per atom; test filled, train open."""
    series = {split: (each.energy_ref, each.energy_pred, each.config_type) for split, each in parity.items()}
    return _parity(series, "energy (eV/atom)", "Energy", "meV/atom", 5.5)


@style.styled
def force_parity(parity: dict[str, Parity]) -> Figure | None:
    """Draw predicted against reference force components; test on top of train."""
    series = {split: (each.force_ref, each.force_pred, each.force_config_type) for split, each in parity.items()}
    return _parity(series, "force component (eV/Å)", "Forces", "meV/Å", 2.6)


def _parity(
    series: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], quantity: str, title: str, unit: str, size: float
) -> Figure | None:
    everything = [np.concatenate([ref, pred]) for ref, pred, _ in series.values()]
    if not everything or not sum(len(values) for values in everything):
        return None
    figure = style.canvas(4.6, 4.9)
    axes = figure.subplots()
    low, high = min(values.min() for values in everything), max(values.max() for values in everything)
    style.diagonal(axes, low, high)
    text = []
    for split, (ref, pred, types) in series.items():
        for name in style.ordered_types(types.tolist()):
            chosen = style.at_most_shown(np.flatnonzero(types == name))
            colour = palette.config_type(name)
            look: dict[str, Any] = {"mfc": colour, "mec": "white", "mew": 0.4, "alpha": 0.95, "zorder": 3}
            if split == "train":
                look = {"mfc": "none", "mec": colour, "mew": 0.7, "alpha": 0.55, "zorder": 2}
            axes.plot(ref[chosen], pred[chosen], palette.marker(name), ms=size, rasterized=True, **look)
        rmse = 1e3 * float(np.sqrt(np.mean((pred - ref) ** 2)))
        text.append(f"{split} RMSE {rmse:.1f} {unit}")
    axes.text(0.04, 0.96, "\n".join(text), transform=axes.transAxes, va="top", fontsize=9.5, linespacing=1.5)
    axes.set(title=title, xlabel=f"reference {quantity}", ylabel=f"predicted {quantity}")
    _parity_legend(figure, series)
    return figure


def _parity_legend(figure: Figure, series: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    from matplotlib.lines import Line2D

    names = style.ordered_types([str(name) for _, _, types in series.values() for name in np.unique(types)])
    handles = [
        Line2D([], [], ls="", marker=palette.marker(name), color=palette.config_type(name), label=style.readable(name))
        for name in names
    ]
    dark = "#1D2530"
    for split, face in (("train", "none"), ("test", dark)):
        if split in series:
            handles.append(Line2D([], [], ls="", marker="o", mfc=face, mec=dark, label=split))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handletextpad=0.2)
