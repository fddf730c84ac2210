"""Figures of scaling studies: curves, failures as points, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.report.catalogue.draw import draw_one
from gst_jobflow.report.catalogue.kinds import FigureRequest
from gst_jobflow.report.catalogue.registry import find_kind
from gst_jobflow.report.catalogue.scaling import curves_of
from gst_jobflow.report.figures.scaling import scaling_chart
from gst_jobflow.report.pages.scaling import scaling_parts
from gst_jobflow.report.plotted import plotted_rows
from gst_jobflow.store import Results

from .. import synthetic
from .test_studies import rows_of


@pytest.mark.mongo
def test_speed_against_size_has_its_repeats_and_the_papers_points(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_scaling(results)
    (table,) = draw_one(results, find_kind("1e"), [study], tmp_path / "t", [], paper=True).files
    rows = rows_of(table)
    assert [row["steps_per_day"] for row in rows[:3]] == [8640000.0, 1080000.0, 135000.0]
    assert rows[5]["state"] == "out_of_memory" and rows[5]["steps_per_day"] is None
    theirs = [(row["n_atoms"], row["steps_per_day"]) for row in rows if str(row["potential"]).startswith("reference")]
    assert theirs == [(10000, 2000000), (10000, 335000)]
    shown = [
        row for row in plotted_rows(find_kind("1e").draw(FigureRequest(results, [study])).figure) if row[1] == "fast"
    ]
    first = next(row for row in shown if row[4] == "steps a day")
    assert first[6] == pytest.approx(8640000 / 1.25) and first[7] == pytest.approx(8640000 / 0.8)


@pytest.mark.mongo
def test_memory_shows_each_atoms_share_failures_and_the_papers_numbers(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_scaling(results, mode="memory")
    request = FigureRequest(results, [study], paper=True)
    left, _ = find_kind("memory").draw(request).figure.axes
    lines = {str(line.get_label()): line for line in left.get_lines()}
    (x,) = lines["slow: out of memory"].get_xdata()
    assert x == 64000, "where the cell did not fit"
    assert {name: float(lines[f"paper: {name} (derived)"].get_ydata()[0]) for name in ("GST-ACE-24", "GST-GAP-22")} == {
        "GST-ACE-24": 790.0, "GST-GAP-22": 1_138_000.0,
    }  # fmt: skip
    shown = {(row[1], row[3]): row[5] for row in plotted_rows(left.figure) if row[4] == "memory (B/atom)"}
    assert shown["fast", 64000] == shown["slow", 8000] == 900.0 and ("slow", 64000) not in shown
    rows = rows_of(draw_one(results, find_kind("memory"), [study], tmp_path / "m", [], paper=True).files[0])
    assert [row["memory_B_per_atom"] for row in rows[-2:]] == [790.0, 1_138_000.0]
    assert [row["peak_rss_MB"] for row in rows[:3]] == [100.0, 107.0, 158.0]


@pytest.mark.mongo
def test_scaling_of_one_point_is_refused(results: Results) -> None:
    study = synthetic.add_scaling(results)
    single = study.model_copy(update={"table": study.table[:1]})
    with pytest.raises(DataError, match="one point a curve") as refused:
        find_kind("1e").draw(FigureRequest(results, [single]))
    assert refused.value.fix == "gst submit scaling size with several sizes"


@pytest.mark.mongo
def test_curves_of_other_machines_compositions_and_namesakes_are_refused_unless_mixed(results: Results) -> None:
    study = synthetic.add_scaling(results)
    other_machine = [{**row, "processor": row["processor"] and "Y"} for row in study.table]
    elsewhere = synthetic.add_scaling(results, "elsewhere", table=other_machine)
    with pytest.raises(InputError, match="several processors: X, Y"):
        find_kind("1e").draw(FigureRequest(results, [study, elsewhere]))
    plan = {**study.plan, "composition": "Sb2Te3"}
    with pytest.raises(InputError, match="several compositions: Ge1Sb2Te4, Sb2Te3"):
        find_kind("1e").draw(FigureRequest(results, [study, synthetic.add_scaling(results, "sb2te3", plan=plan)]))
    namesake = [{**row, "potential_id": "another"} for row in study.table]
    with pytest.raises(InputError, match="several potentials named fast"):
        find_kind("1e").draw(
            FigureRequest(results, [study, synthetic.add_scaling(results, "namesake", table=namesake)])
        )
    assert find_kind("1e").draw(FigureRequest(results, [study, elsewhere], mixed=True)).figure is not None


@pytest.mark.mongo
def test_the_page_shows_the_curves(results: Results) -> None:
    (part,) = scaling_parts(synthetic.add_scaling(results), results)
    assert len(part.figures) == 1 and part.figures[0].uri.startswith("data:image/png")


def test_weak_and_strong_scaling_run_along_ranks() -> None:
    rows = [{"potential": "a", "ranks": ranks, "asked_atoms": 100, "n_atoms": 100 * ranks} for ranks in (4, 1, 2)]
    assert [row["ranks"] for row in curves_of(rows, "weak")["a"]] == [1, 2, 4]
    both = [*rows, {"potential": "a", "ranks": 1, "asked_atoms": 200, "n_atoms": 200}]
    assert list(curves_of(both, "strong")) == ["a, 100 atoms", "a, 200 atoms"]


@pytest.mark.parametrize("atoms", [(512, 1024), (6000, 9000), (1000, 100_000)])
def test_numbers_of_atoms_on_the_axis_stand_apart(atoms: tuple[int, int]) -> None:
    row = {"state": "measured", "us_per_atom_step": 1.0, "us_per_atom_step_low": 1.0, "us_per_atom_step_high": 1.0}
    rows = [{**row, "n_atoms": n, "steps_per_day": 1e9 / n, "comm_share": 0.1} for n in atoms]
    figure = scaling_chart({"a": rows}, "size")
    assert figure is not None
    figure.canvas.draw()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
        labels = [tick.label1 for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
        assert len(boxes) > 1 and all(one.x1 < other.x0 for one, other in pairwise(boxes))
