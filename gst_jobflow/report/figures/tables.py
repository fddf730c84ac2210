"""Draw a table as a figure, and the members of a dataset by config type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gst_jobflow.report import palette
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.style import GREY, PANEL_IN, WIDE_IN, legend_below, panel, readable, stacked_bars, styled

_SPLITS = (("train", palette.METHODS[0]), ("test", palette.METHODS[4]))


@styled
def table_figure(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Figure | None:
    """Draw a table; columns are as wide as their longest text."""
    if not rows:
        return None
    from matplotlib.transforms import Bbox

    longest = [max(len(str(row[place])) for row in (columns, *rows)) + 3 for place in range(len(columns))]
    axes = panel(min(WIDE_IN * 1.3, 0.6 + 0.088 * sum(longest)), 0.5 + 0.3 * (len(rows) + 1))
    axes.axis("off")
    widths = [each / sum(longest) for each in longest]
    drawn = axes.table(
        [list(row) for row in rows],
        colLabels=list(columns),
        colWidths=widths,
        loc="center",
        bbox=Bbox.from_bounds(0, 0, 1, 1),
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9)
    for (row, column), cell in drawn.get_celld().items():
        cell.visible_edges = "B"
        cell.set_edgecolor(GREY if row == 0 else "#E4E7EB")
        cell.set_text_props(ha="left" if column == 0 else "right", fontweight="bold" if row == 0 else "normal")
    return legend_below(axes)


@styled
def members_by_type(
    counts: Mapping[str, Mapping[str, int]], types: Sequence[str], paper: Mapping[str, int]
) -> Figure | None:
    """Draw a dataset's members by split and config type, from the top on; diamonds: the reference paper's numbers."""
    if not types:
        return None
    axes = panel(PANEL_IN[0] + 1.2, max(2.2, 1.2 + 0.36 * len(types)))
    shown = list(types)[::-1]
    series = [
        (split, colour, np.array([counts.get(split, {}).get(name, 0) for name in shown])) for split, colour in _SPLITS
    ]
    stacked_bars(axes, [readable(name) for name in shown], series)
    for name, number in paper.items():
        if name in shown:
            axes.plot(number, shown.index(name), "D", ms=7, mfc="none", mew=1.5, color=palette.METHODS[1],
                      label="reference paper")  # fmt: skip
    axes.set_xlabel("structures")
    return legend_below(axes)
