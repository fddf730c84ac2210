"""Draw scaling studies: speed, efficiency, communication and memory against ranks or atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gst_jobflow.report import palette
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import WIDE_IN, canvas, legend_below, styled

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of a scaling study by the name of their curve."""
_OUT_OF_MEMORY = "out_of_memory"
_DECADE = 10
_LABELS = {
    "steps_per_day": "steps a day",
    "efficiency": "parallel efficiency",
    "comm_share": "share of communication",
    "memory_B_per_atom": "memory (B/atom)",
}
_PANELS = {
    "weak": ("efficiency", "comm_share"),
    "strong": ("steps_per_day", "efficiency", "comm_share"),
    "size": ("steps_per_day", "comm_share"),
    "memory": ("memory_B_per_atom", "steps_per_day"),
}


@styled
def scaling_chart(curves: Curves, mode: str, paper: Sequence[Mapping[str, Any]] = ()) -> Figure | None:
    """Draw a panel a quantity; bars: fastest and slowest repeat; crosses: out of memory.

    Parameters
    ----------
    mode
        weak and strong: against ranks; size and memory: against atoms.
    paper
        Points of the reference paper: `potential`, x under ``ranks`` or ``n_atoms``, and a quantity. One without x is a
        line.
    """
    along = "ranks" if mode in ("weak", "strong") else "n_atoms"
    if not any(row["state"] == "measured" for rows in curves.values() for row in rows):
        return None
    panels = _PANELS[mode]
    figure = canvas(WIDE_IN if len(panels) > 2 else 7.4, 3.8)
    (grid,) = figure.subplots(1, len(panels), squeeze=False)
    for axes, quantity in zip(grid, panels, strict=True):
        for place, (name, rows) in enumerate(curves.items()):
            _curve(axes, name, rows, along, quantity, palette.method(place))
        _failures(axes, curves, along)
        for place, point in enumerate(each for each in paper if each.get(quantity) is not None):
            _paper_point(axes, point, along, quantity, "Dsv^"[place % 4])
        _axes(axes, along, quantity)
    return legend_below(*grid, fontsize=8.5)


def _curve(axes: Axes, name: str, rows: Sequence[Mapping[str, Any]], along: str, quantity: str, colour: str) -> None:
    good = [row for row in rows if row["state"] == "measured" and row[quantity] is not None]
    x, y = [row[along] for row in good], [row[quantity] for row in good]
    around = None
    if quantity in ("steps_per_day", "efficiency"):
        spread = [(row["us_per_atom_step"] / row["us_per_atom_step_high"],
                   row["us_per_atom_step"] / row["us_per_atom_step_low"]) for row in good]  # fmt: skip
        around = [[v * (1 - low) for v, (low, _) in zip(y, spread, strict=True)],
                  [v * (high - 1) for v, (_, high) in zip(y, spread, strict=True)]]  # fmt: skip
    axes.errorbar(x, y, around, fmt="o-", ms=4.5, capsize=2.5, lw=1.4, color=colour, label=name)


def _failures(axes: Axes, curves: Curves, along: str) -> None:
    """Mark at the bottom where cells were out of memory; potentials that fail at one size one above the other."""
    height = 0.0
    for place, (name, rows) in enumerate(curves.items()):
        lost = [row[along] for row in rows if row["state"] == _OUT_OF_MEMORY]
        if lost:
            axes.plot(lost, [height] * len(lost), "x", ms=7, mew=2, color=palette.method(place), clip_on=False,
                      transform=axes.get_xaxis_transform(), label=f"{name}: out of memory")  # fmt: skip
            height += 0.06


def _paper_point(axes: Axes, point: Mapping[str, Any], along: str, quantity: str, marker: str) -> None:
    label = f"paper: {point['potential']}"
    if point.get(along) is None:
        axes.axhline(point[quantity], color="#5B6470", ls=":" if marker == "D" else "-.", lw=1.4, label=label)
    else:
        axes.plot(point[along], point[quantity], marker, ms=7, mfc="none", mew=1.5, color="#5B6470", label=label)


def _axes(axes: Axes, along: str, quantity: str) -> None:
    from matplotlib.ticker import LogFormatterSciNotation

    axes.set_xscale("log", base=2 if along == "ranks" else 10)
    axes.set(xlabel="MPI ranks" if along == "ranks" else "atoms", ylabel=_LABELS[quantity])
    if along == "ranks":
        axes.xaxis.set_major_formatter("{x:.0f}")
    else:
        # the default labels all ticks of less than 0.4 decades, one over the other
        axes.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1, 0.2)))
    low, high = axes.dataLim.intervaly
    if quantity == "steps_per_day" or (quantity == "memory_B_per_atom" and high > _DECADE * low):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if quantity == "efficiency":
        axes.axhline(1.0, color="#5B6470", lw=0.9, ls="--")
