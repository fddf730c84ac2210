"""Draw a training protocol through its iterations: labels, errors, robustness, closest contacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gst_jobflow.report import palette
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import legend_below, panel, styled, whole_numbers

Row = dict[str, Any]

SOURCE_COLOURS = {
    "crystals": palette.CONFIG_TYPES["crystal"],
    "hard-spheres": palette.CONFIG_TYPES["hard_sphere"],
    "stored": palette.CONFIG_TYPES["other"],
    "domain": palette.CONFIG_TYPES["melt_quench"],
    "search": palette.CONFIG_TYPES["rss"],
    "failures": palette.CONFIG_TYPES["failure"],
    "cycle": palette.CONFIG_TYPES["device"],
}
"""Colour of each source: that of the config type of its structures."""


@styled
def labels_by_source(rows: Sequence[Row]) -> Figure | None:
    """Structures chosen for labels in each iteration, stacked by source."""
    axes = _panel(rows, "Chosen for labels", "structures")
    names = [row["iteration"] for row in rows]
    below = np.zeros(len(rows))
    for source, colour in SOURCE_COLOURS.items():
        chosen = np.array(
            [sum(part["chosen"] for part in row.get("by_source", ()) if part["source"] == source) for row in rows]
        )
        if chosen.any():
            axes.bar(names, chosen, bottom=below, color=colour, label=source, width=0.7)
            below += chosen
    whole_numbers(axes)
    return legend_below(axes)


@styled
def errors(rows: Sequence[Row]) -> Figure | None:
    """RMSE of energies and forces on the test set."""
    known = [row for row in rows if row.get("force_meV_per_A") is not None]
    if not known:
        return None
    axes = _panel(rows, "Errors on the test set", "energy RMSE (meV/atom)")
    names = [row["iteration"] for row in known]
    other = axes.twinx()
    for side, key, style, colour in (
        (axes, "energy_meV_per_atom", "o-", "#0072B2"),
        (other, "force_meV_per_A", "s--", "#D55E00"),
    ):
        values = [row[key] for row in known]
        side.plot(names, values, style, color=colour)
        side.set_ylim(0, 1.1 * max(values))
    other.set_ylabel("force RMSE (meV/Å)")
    other.grid(visible=False)
    other.spines["right"].set_visible(True)
    handles = [line for each in (axes, other) for line in each.get_lines()]
    axes.figure.legend(handles, ["energy", "forces"], loc="outside lower center", ncols=2)
    return legend_below(axes)


@styled
def success(rows: Sequence[Row]) -> Figure | None:
    """Share of the hot melts that succeed, with 95 % Wilson intervals."""
    known = [row for row in rows if row.get("success") is not None]
    if not known:
        return None
    axes = _panel(rows, "Robustness", "hot melts that succeed")
    share = np.array([row["success"] for row in known])
    around = [share - [row["success_low"] for row in known], [row["success_high"] for row in known] - share]
    axes.errorbar([row["iteration"] for row in known], share, around, fmt="o-", ms=5.5, capsize=3, color="#009E73")
    axes.set_ylim(-0.04, 1.04)
    return legend_below(axes)


@styled
def hot_contacts(rows: Sequence[Row]) -> Figure | None:
    """Closest contact in the hot melts of each iteration, with its pair."""
    known = [row for row in rows if row.get("closest_A") is not None]
    if not known:
        return None
    axes = _panel(rows, "Closest contact in the hot melts", "distance (Å)")
    axes.plot([row["iteration"] for row in known], [row["closest_A"] for row in known], "D-", color="#CC79A7")
    for row in known:
        axes.annotate(row["closest_pair"], (row["iteration"], row["closest_A"]), xytext=(0, 7),
                      textcoords="offset points", ha="center", fontsize=8.5)  # fmt: skip
    axes.set_ylim(0, 1.25 * max(row["closest_A"] for row in known))
    return legend_below(axes)


PANELS: tuple[tuple[Callable[[Sequence[dict[str, Any]]], Any], str], ...] = (
    (success, "Hot melts that the potential of each iteration survives, with 95 % Wilson intervals."),
    (errors, "Errors on the test set; a test set that grows is not the same in all iterations."),
    (hot_contacts, "Closest contact of two atoms in all hot melts, with its pair."),
    (labels_by_source, "Structures that were chosen for labels, by source."),
)
"""Figures of a page, with their captions."""


def _panel(rows: Sequence[Row], title: str, y_label: str) -> Axes:
    axes = panel()
    axes.set(title=title, xlabel="iteration", ylabel=y_label)
    names = [row["iteration"] for row in rows]
    axes.set_xticks(names)
    axes.set_xlim(min(names) - 0.5, max(names) + 0.5)
    return axes
