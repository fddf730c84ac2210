"""Read the plotted numbers back from a figure, so that the CSV beside a picture holds exactly what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gst_jobflow.report.plot_types import Axes, Figure

COLUMNS = ("panel", "series", "x_quantity", "x", "y_quantity", "y", "low", "high", "value")
"""Columns of the rows: `low` and `high` bound an interval of y, `value` is the colour of a map at x and y."""


def plotted_rows(figure: Figure) -> list[tuple[Any, ...]]:
    """Return a row of `COLUMNS` for each plotted point and each cell of a map; None where a column has no value."""
    return [row for axes in figure.axes if axes.get_label() != "<colorbar>" for row in _rows_of(figure, axes)]


def _rows_of(figure: Figure, axes: Axes) -> Iterator[tuple[Any, ...]]:
    x_label = axes.get_xlabel() or _of_column(axes) or str(figure.get_supxlabel())
    y_label = axes.get_ylabel() or _of_row(axes)
    panel = axes.get_title() or axes.get_title("left")

    def row(series: str, x: Any, y: Any, low: Any = None, high: Any = None, value: Any = None) -> tuple[Any, ...]:
        return (panel, series, _one_line(x_label), x, _one_line(y_label), y, low, high, value)

    bars = _intervals(axes)
    for line in axes.get_lines():
        # reference lines and marks of gaps have coordinates of the axes
        if line.get_transform().contains_branch_seperately(axes.transData) != (True, True) or line in bars["caps"]:
            continue
        label = bars["labels"].get(line) or str(line.get_label())
        label = "" if label.startswith("_") else label
        ends = bars["ends"].get(line)
        for place, (x, y) in enumerate(np.asarray(line.get_xydata())):
            yield row(label, _plain(x), _plain(y), *(ends[place] if ends is not None else (None, None)))
    for mesh in axes.collections:
        for x, y, value in _cells(mesh):
            yield row("" if str(mesh.get_label()).startswith("_") else str(mesh.get_label()), x, y, value=value)


def _intervals(axes: Axes) -> dict[str, Any]:
    """Return of error bars: ends (n, 2) by line, labels by line, and the lines that are only caps."""
    from matplotlib.container import ErrorbarContainer

    found: dict[str, Any] = {"ends": {}, "labels": {}, "caps": set()}
    for container in axes.containers:
        if not isinstance(container, ErrorbarContainer):
            continue
        line, caps, bars = container.lines
        found["caps"].update(caps)
        if line is not None:
            found["labels"][line] = str(container.get_label())
        if line is not None and bars:
            found["ends"][line] = [(_plain(part[0][1]), _plain(part[1][1])) for part in bars[0].get_segments()]
    return found


def _cells(mesh: Any) -> Iterator[tuple[float, float, float]]:
    from matplotlib.collections import QuadMesh

    if not isinstance(mesh, QuadMesh):
        return
    corners = np.asarray(mesh.get_coordinates())
    centres = 0.25 * (corners[1:, 1:] + corners[1:, :-1] + corners[:-1, 1:] + corners[:-1, :-1])
    values = np.ma.filled(np.ma.asarray(mesh.get_array(), dtype=float), np.nan).reshape(centres.shape[:2])
    for (x, y), value in zip(centres.reshape(-1, 2).tolist(), values.ravel().tolist(), strict=True):
        if np.isfinite(value):
            yield x, y, value


def _of_row(axes: Axes) -> str:
    siblings = axes.get_shared_y_axes().get_siblings(axes)
    return next((each.get_ylabel() for each in siblings if each.get_ylabel()), "")


def _of_column(axes: Axes) -> str:
    siblings = axes.get_shared_x_axes().get_siblings(axes)
    return next((each.get_xlabel() for each in siblings if each.get_xlabel()), "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: Any) -> Any:
    number = float(value)
    return number if np.isfinite(number) else None
