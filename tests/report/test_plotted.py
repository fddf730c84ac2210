"""Numbers that are read back from figures are those that were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.report.plotted import COLUMNS, plotted_rows
from gst_jobflow.report.style import canvas


def test_lines_intervals_and_maps_come_back_as_they_were_drawn() -> None:
    figure = canvas(4, 3)
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [0.1, np.nan], label="a")
    left.errorbar([1.0, 2.0], [0.5, 0.7], [[0.1, 0.2], [0.3, 0.1]], capsize=2, label="b")
    left.axhline(3.0)
    left.set(title="first", xlabel="time (ps)", ylabel="share\nof all")
    mesh = right.pcolormesh([0, 1, 2], [0, 2, 4], np.array([[1.0, 2.0], [3.0, np.nan]]))
    figure.colorbar(mesh, ax=right)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in plotted_rows(figure)]
    a, b = [row for row in rows if row["series"] == "a"], [row for row in rows if row["series"] == "b"]
    assert [(row["x"], row["y"]) for row in a] == [(1.0, 0.1), (2.0, None)]
    assert [(row["y"], row["low"], row["high"]) for row in b] == [
        (0.5, pytest.approx(0.4), pytest.approx(0.8)), (0.7, pytest.approx(0.5), pytest.approx(0.8)),
    ]  # fmt: skip
    assert {row["y_quantity"] for row in a + b} == {"share of all"} and a[0]["x_quantity"] == "time (ps)"
    cells = [(row["x"], row["y"], row["value"]) for row in rows if row["value"] is not None]
    assert cells == [(0.5, 1.0, 1.0), (1.5, 1.0, 2.0), (0.5, 3.0, 3.0)]
    assert len(rows) == 7, "neither the reference line nor the caps and bars of intervals are numbers"
