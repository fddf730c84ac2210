"""Draw a robustness study: success fractions with their intervals, and when runs failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.report import palette, words
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.style import PANEL_IN, legend_below, panel, styled


@styled
def success_fractions(table: Sequence[dict[str, Any]]) -> Figure | None:
    """Success fraction of each potential by composition, with 95 % Wilson intervals."""
    names = list(dict.fromkeys(row["composition"] for row in table))
    potentials = list(dict.fromkeys(row["potential"] for row in table))
    axes = panel(max(PANEL_IN[0], 1.4 + 0.45 * len(names)), PANEL_IN[1])
    for number, potential in enumerate(potentials):
        rows = [row for row in table if row["potential"] == potential]
        shift = 0.16 * (number - (len(potentials) - 1) / 2)
        x = [names.index(row["composition"]) + shift for row in rows]
        fraction = np.array([row["fraction"] for row in rows])
        low, high = (np.array([row[side] for row in rows]) for side in ("low", "high"))
        around = [fraction - low, high - fraction]
        axes.errorbar(x, fraction, around, fmt="o", ms=5, capsize=2.5, color=palette.method(number), label=potential)
    axes.set_xticks(range(len(names)), [words.formula(name) for name in names], rotation=30, ha="right")
    axes.set(ylim=(-0.04, 1.04), ylabel="runs that succeed", title="Robustness")
    return legend_below(axes)


@styled
def survival(runs: Sequence[dict[str, Any]], names: dict[str, str], duration_ps: float) -> Figure | None:
    """Share of runs that are still sound, against time; `names` by id of the potential."""
    axes = panel()
    for number, (id, name) in enumerate(names.items()):
        of_potential = [run for run in runs if run["potential_id"] == id]
        failed_ps = sorted(run["time_ps"] for run in of_potential if run["outcome"] != "success")
        left = 1 - np.arange(len(failed_ps) + 1) / max(len(of_potential), 1)
        times, shares = [0.0, *failed_ps, duration_ps], [*left, left[-1]]
        axes.step(times, shares, where="post", color=palette.method(number), label=name)
    axes.set(ylim=(-0.04, 1.04), xlabel="time (ps)", ylabel="runs without a fault", title="Survival")
    return legend_below(axes)


@dataclass(frozen=True)
class SuccessPoint:
    """A share of runs that succeed, with its 95 % interval, at a place named by `name` or, on an axis, by `x`."""

    name: str
    x: float
    fraction: float
    low: float
    high: float
    from_paper: bool = False


@styled
def success_curve(points: Sequence[SuccessPoint], x_label: str, *, by_name: bool) -> Figure | None:
    """Draw success fractions against iteration (`by_name`) or a share in per cent, which falls to the right."""
    if not points:
        return None
    names = list(dict.fromkeys(point.name for point in points))
    turned = by_name and max(map(len, names)) > 8
    room_in = 0.045 * max(map(len, names)) if turned else 0.0
    axes = panel(max(PANEL_IN[0], 1.4 + 0.55 * len(names) if by_name else 0), PANEL_IN[1] + room_in)
    sources = ((False, "this study", "o-", palette.method(0), -1), (True, "reference paper", "D", palette.method(1), 1))
    both = len({point.from_paper for point in points}) == 2
    for from_paper, label, style, colour, side in sources:
        some = [point for point in points if point.from_paper == from_paper]
        if some:
            shift = (0.05 if by_name else 1.0) * side * both
            x = [(names.index(point.name) if by_name else point.x) + shift for point in some]
            around = [[p.fraction - p.low for p in some], [p.high - p.fraction for p in some]]
            y = [point.fraction for point in some]
            axes.errorbar(x, y, around, fmt=style, ms=5.5, capsize=3, lw=1.2, color=colour, label=label)
    if by_name:
        axes.set_xticks(range(len(names)), names, rotation=30 * turned, ha="right" if turned else "center")
    else:
        axes.set_xticks(sorted({point.x for point in points}))
        axes.invert_xaxis()
    axes.set(ylim=(-0.04, 1.04), xlabel=x_label, ylabel="hot melts that succeed")
    return legend_below(axes)
