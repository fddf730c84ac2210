"""Draw a validation: amorphous cells beside first-principles dynamics, and their differences, with standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.analysis.averages import Mean
from gst_jobflow.analysis.validation import REFERENCE, SHORTEST_A, named_curve, names_of_curves
from gst_jobflow.report import palette, words
from gst_jobflow.report.figures.analysis import readable_number
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import GREY, PANEL_IN, WIDE_IN, canvas, legend_below, styled

_MOST_COLUMNS = 3
_BLACK = "#000000"
_FAMILIES = {"rdf": ("rdf.r_A", "r (Å)", "g(r)"), "angles": ("angles.deg", "angle (°)", "density (1/°)")}
"""Name of the x axis in the file, and labels of both axes."""
_GROUPS = (
    ("g(r), rms", ("rdf.",)),
    ("angles, rms (1/°)", ("angles.",)),
    ("neighbours", ("coordination_",)),
    ("share", ("homopolar_share", "tetrahedral_")),
    ("ratio", ("bond_length_ratio",)),
    ("squares", ("squares_per_atom",)),
)


@dataclass(frozen=True)
class ComparedCurve:
    """A curve of a potential's cells and of the reference: x (n,), both with standard errors, and their difference."""

    formula: str
    name: str
    potential: str
    x: NDArray
    own: Mean
    reference: Mean

    @property
    def difference(self) -> Mean:
        """The potential's curve less that of the reference."""
        return self.own.minus(self.reference)


def compared_curves(arrays: Mapping[str, NDArray], formula: str, family: str,
                    names: Mapping[str, str]) -> Iterator[ComparedCurve]:  # fmt: skip
    """Yield the stored curves of a family, ``rdf`` or ``angles``, of a composition; `names` of potentials by id."""
    x = arrays.get(f"{formula}/{_FAMILIES[family][0]}", np.zeros(0))
    for name in names_of_curves(arrays, formula, family):
        reference = named_curve(arrays, formula, REFERENCE, name)
        for id, potential in names.items():
            yield ComparedCurve(formula, name, potential, x, named_curve(arrays, formula, id, name), reference)


@styled
def compared_chart(compared: Sequence[ComparedCurve], family: str) -> Figure | None:
    """Draw curves beside those of the reference, and below each panel what they differ by; bands: standard errors."""
    panels = list(dict.fromkeys((each.formula, each.name) for each in compared))
    if not panels:
        return None
    potentials = list(dict.fromkeys(each.potential for each in compared))
    formulas = [formula for formula, _ in panels]
    columns = min(_MOST_COLUMNS, max(map(formulas.count, formulas)))
    rows = -(-len(panels) // columns)
    figure = canvas(0.75 * PANEL_IN[0] * columns + 0.3, 0.85 * PANEL_IN[1] * rows + 0.4)
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3, 1.1] * rows)
    several = len(set(formulas)) > 1
    _, x_label, y_label = _FAMILIES[family]
    for place, (formula, name) in enumerate(panels):
        row, column = divmod(place, columns)
        upper, lower = grid[2 * row][column], grid[2 * row + 1][column]
        some = [each for each in compared if (each.formula, each.name) == (formula, name)]
        _panel(upper, lower, some, potentials)
        title = name.partition(".")[2]
        upper.set(title=f"{words.formula(formula)}: {title}" if several else title, ylabel=y_label)
        lower.set(xlabel=x_label, ylabel="difference")
        lower.tick_params(labelbottom=True)
        upper.set_xlim(0, some[0].x[-1])
    for axes in grid[-2:, len(panels) - columns * (rows - 1) :].ravel():
        axes.set_axis_off()
    figure.align_ylabels()
    return legend_below(grid[0][0])


def _panel(upper: Axes, lower: Axes, compared: Sequence[ComparedCurve], potentials: Sequence[str]) -> None:
    """Draw the curves of one name, and below them their differences."""
    first = compared[0]
    is_rdf = first.name.startswith("rdf.")
    # a collapsed pair has a peak near 0 that leaves the panel, and must not flatten all others
    seen = first.x > SHORTEST_A if is_rdf else slice(None)
    _banded(upper, first.x, first.reference, "first principles", _BLACK)
    lower.axhline(0.0, color=GREY, lw=0.8)
    for each in compared:
        colour = palette.method(potentials.index(each.potential))
        _banded(upper, each.x, each.own, each.potential, colour)
        _banded(lower, each.x, each.difference, each.potential, colour)
    if is_rdf:
        highest = max(np.nanmax(mean.value[seen]) for each in compared for mean in (each.own, each.reference))
        upper.set_ylim(0, 1.15 * max(float(highest), 1.0))
    away = [np.abs(each.difference.value[seen]) + np.nan_to_num(each.difference.error[seen]) for each in compared]
    if np.isfinite(away).any() and (widest := float(np.nanmax(away))) > 0:
        lower.set_ylim(-1.1 * widest, 1.1 * widest)


def _banded(axes: Axes, x: NDArray, mean: Mean, label: str, colour: str) -> None:
    """Draw a curve with the band of its standard error."""
    error = np.nan_to_num(mean.error)
    axes.plot(x, mean.value, lw=1.2, color=colour, label=label)
    axes.fill_between(x, mean.value - error, mean.value + error, color=colour, alpha=0.2, lw=0)


@styled
def difference_chart(table: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw by how much each potential differs from the reference: a row a composition, a panel a kind of number.

    Bars: standard errors. Of curves the root mean square over their range; dashes: what errors alone would give.
    """
    rows = [row for row in table if row["difference"] is not None and row["quantity"] != "rdf.total"]
    formulas = list(dict.fromkeys(row["composition"] for row in rows))
    potentials = list(dict.fromkeys(row["potential"] for row in rows))
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    groups = {title: names for title, stems in _GROUPS if (names := [q for q in quantities if q.startswith(stems)])}
    if not groups:
        return None
    figure = canvas(WIDE_IN + 1.2, 2.3 * len(formulas) + 1.2)
    widths = [len(names) + 1.5 for names in groups.values()]
    grid = figure.subplots(len(formulas), len(groups), squeeze=False, width_ratios=widths)
    for formula, line in zip(formulas, grid, strict=True):
        for axes, (title, names) in zip(line, groups.items(), strict=True):
            some = [row for row in rows if row["composition"] == formula and row["quantity"] in names]
            _difference_panel(axes, some, names, potentials)
            if formula == formulas[0]:
                axes.set_title(title, fontsize=9)
        line[0].set_ylabel(f"{words.formula(formula)}: difference\nfrom first principles", fontsize=9)
    return legend_below(grid[0][0])


def _difference_panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str], potentials: Sequence[str]
) -> None:
    axes.axhline(0.0, color=GREY, lw=0.8)
    for number, potential in enumerate(potentials):
        own = [row for row in rows if row["potential"] == potential]
        x = np.array([names.index(row["quantity"]) for row in own]) + 0.2 * (number - (len(potentials) - 1) / 2)
        error = np.array([np.nan if row["error"] is None else row["error"] for row in own])
        colour = palette.method(number)
        is_curve = np.array([row["curve"] for row in own], dtype=bool)
        y = np.array([row["difference"] for row in own])
        axes.errorbar(x, y, np.where(is_curve, 0, np.nan_to_num(error)), fmt="o", ms=4, capsize=2, color=colour,
                      label=potential)  # fmt: skip
        axes.plot(x[is_curve], error[is_curve], "_", ms=9, mew=1.6, color=colour, alpha=0.6)
    axes.set_xticks(range(len(names)), [readable_number(name) for name in names], rotation=90, fontsize=8)
    axes.set_xlim(-0.8, len(names) - 0.2)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", visible=False)
