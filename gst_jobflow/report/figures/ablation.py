"""Draw an ablation: errors, speed and robustness of each fit in rows, beside those of the reference paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gst_jobflow.report import palette
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import WIDE_IN, canvas, legend_below, styled

_OURS, _PAPER = palette.METHODS[0], palette.METHODS[1]


@dataclass(frozen=True)
class AblationRow:
    """A row: what was varied, values by column, and 95 % intervals (low, high) by column.

    `paper` holds the reference paper's values; a row of theirs alone has no `values`.
    """

    what: str
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    paper: dict[str, float] = field(default_factory=dict)


@styled
def ablation_chart(rows: Sequence[AblationRow], columns: dict[str, str]) -> Figure | None:
    """Draw a panel a column of `columns` (key to label) and a line a row; diamonds: the reference paper."""
    if not rows:
        return None
    figure = canvas(WIDE_IN, 1.6 + 0.33 * len(rows))
    (panels,) = figure.subplots(1, len(columns), sharey=True, squeeze=False)
    for axes, (key, label) in zip(panels, columns.items(), strict=True):
        _panel(axes, rows, key)
        axes.set_xlabel(label)
        axes.margins(x=0.3)
        # numbers stand to the right of their points
        low, high = axes.get_xlim()
        axes.set_xlim(right=high + 0.15 * (high - low))
    panels[0].set_yticks(range(len(rows)), [row.what for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    if any(row.paper for row in rows):
        legend_below(panels[0])
    return figure


def _panel(axes: Axes, rows: Sequence[AblationRow], key: str) -> None:
    for place, row in enumerate(rows):
        if key in row.paper:
            axes.plot(row.paper[key], place, "D", ms=6, mfc="none", mew=1.4, color=_PAPER, label="reference paper")
            if key not in row.values:
                _number(axes, row.paper[key], place, _PAPER)
        if key not in row.values:
            continue
        value = row.values[key]
        low, high = row.intervals.get(key, (value, value))
        around = [[value - low], [high - value]] if key in row.intervals else None
        axes.errorbar(value, place, xerr=around, fmt="o", ms=6, capsize=2.5, color=_OURS, label="this study")
        _number(axes, value, place, _OURS, above=around is not None)


def _number(axes: Axes, value: float, place: int, colour: str, *, above: bool = False) -> None:
    """Write a number right of its point, or above the bar of an interval."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    offset = (0, 5) if above else (8, 0)
    axes.annotate(
        text, (value, place), offset, textcoords="offset points", fontsize=8, color=colour,
        ha="center" if above else "left", va="bottom" if above else "center",
    )  # fmt: skip
