"""Figures of validations: differences with errors, curves beside the reference, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gst_jobflow.base.errors import DataError
from gst_jobflow.report.catalogue.draw import draw_one
from gst_jobflow.report.catalogue.kinds import FigureRequest
from gst_jobflow.report.catalogue.registry import find_kind
from gst_jobflow.report.figures.validation import compared_chart
from gst_jobflow.report.pages.validation import validation_parts
from gst_jobflow.report.plotted import plotted_rows
from gst_jobflow.report.web.figures import figures_of
from gst_jobflow.store import Results

from .. import synthetic
from .test_studies import rows_of

pytestmark = pytest.mark.mongo


def test_differences_and_their_errors_are_those_of_the_study(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_validation(results)
    written = draw_one(results, find_kind("validation"), [study], tmp_path / "v", ["png"])
    picture, table = written.files
    assert written.made_of == [f"studies/{study.id}"] == [Image.open(picture).text["Source"]]
    rows = {(row["potential"], row["quantity"]): row for row in rows_of(table)}
    assert len(rows) == len(study.table) == 2 * (9 + 6)
    for row in study.table:
        beside = rows[row["potential"], row["quantity"]]
        assert all(beside[key] == row[key] for key in ("difference", "error", "reference", "value"))
    assert rows["far", "coordination_Sb_Te"]["difference"] == pytest.approx(0.3)
    assert rows["far", "coordination_Sb_Te"]["error"] == pytest.approx(np.hypot(0.06, 0.06))
    assert rows["near", "rdf.Sb-Te"]["difference"] < 1e-9 < 0.5 < rows["far", "rdf.Sb-Te"]["difference"]
    drawn = plotted_rows(find_kind("validation").draw(FigureRequest(results, [study])).figure)
    shown = {(row[0], row[1]): (row[5], row[6], row[7]) for row in drawn if row[0] == "neighbours"}
    y, low, high = shown["neighbours", "far"]
    assert y == pytest.approx(0.3) and high - low == pytest.approx(2 * np.hypot(0.06, 0.06))
    assert "ratio" not in {row[0] for row in drawn}, "it cannot be told"


@pytest.mark.parametrize(("family", "names"), [("rdf", ["Sb-Sb", "Sb-Te", "Te-Te"]), ("angles", ["Sb", "Te"])])
def test_curves_stand_beside_the_reference_and_below_what_they_differ_by(
    results: Results, tmp_path: Path, family: str, names: list[str]
) -> None:
    study = synthetic.add_validation(results, formulas=("SbTe", "Sb2Te3"))
    (table,) = draw_one(results, find_kind(f"validation-{family}"), [study], tmp_path / "v", []).files
    rows = rows_of(table)
    assert {row["composition"] for row in rows} == {"SbTe", "Sb2Te3"}
    assert list(dict.fromkeys(row["curve"] for row in rows)) == [f"{family}.{name}" for name in names]
    with np.load(results.artifacts.path(study.files[0])) as stored:
        own = stored[f"SbTe/p-far/{family}.{names[-1]}"]
        there = stored[f"SbTe/reference/{family}.{names[-1]}"]
    some = [row for row in rows if (row["composition"], row["potential"], row["curve"]) ==
            ("SbTe", "far", f"{family}.{names[-1]}")]  # fmt: skip
    assert [row["difference"] for row in some] == pytest.approx(own - there)
    assert all(row["error"] == pytest.approx(np.sqrt(2) * row["value_error"]) for row in some)
    figure = find_kind(f"validation-{family}").draw(FigureRequest(results, [study])).figure
    titles = [title for axes in figure.axes if (title := axes.get_title(loc="left") or axes.get_title())]
    assert len(titles) == 2 * len(names) and len(set(titles)) == len(titles)
    assert titles[0].endswith(f"Te: {names[0]}")


def test_potentials_of_one_name_are_told_apart(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_validation(results)
    alike = study.model_copy(update={"table": [{**row, "potential": "potential"} for row in study.table]})
    for name in ("validation", "validation-rdf"):
        rows = rows_of(draw_one(results, find_kind(name), [alike], tmp_path / name, []).files[0])
        assert {row["potential"] for row in rows} == {"potential (p-near)", "potential (p-far)"}


def test_the_live_page_shows_the_same_figures(results: Results) -> None:
    shown = figures_of(results, synthetic.add_validation(results))
    assert [each.name for each in shown] == ["validation", "validation-rdf", "validation-angles"]
    assert all(each.draw() is not None and each.wide for each in shown)


def test_the_page_shows_differences_and_curves_of_each_composition(results: Results) -> None:
    parts = validation_parts(synthetic.add_validation(results, formulas=("SbTe", "Sb2Te3")), results)
    assert [len(part.figures) for part in parts] == [0, 3, 3]


def test_a_validation_whose_file_is_gone_still_shows_its_numbers(results: Results) -> None:
    study = synthetic.add_validation(results)
    results.artifacts.path(study.files[0]).unlink()
    assert find_kind("validation").draw(FigureRequest(results, [study])).figure is not None
    with pytest.raises(DataError, match=r"curves\.npz"):
        find_kind("validation-rdf").draw(FigureRequest(results, [study]))
    _, part = validation_parts(study, results)
    assert len(part.figures) == 1 and "curves.npz" in part.text
    empty = study.model_copy(update={"table": []})
    with pytest.raises(DataError, match="compares no number"):
        find_kind("validation").draw(FigureRequest(results, [empty]))
    assert compared_chart([], "rdf") is None
