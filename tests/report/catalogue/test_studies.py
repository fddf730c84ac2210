"""Figures of studies: their files, the numbers beside them, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Trajectory
from gst_jobflow.evaluation.robustness import interval
from gst_jobflow.report.catalogue.draw import draw_one
from gst_jobflow.report.catalogue.kinds import FigureRequest
from gst_jobflow.report.catalogue.registry import FIGURES, find_kind
from gst_jobflow.report.catalogue.sources import chosen
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.store import Results

from .. import synthetic


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Rows of a CSV, numbers as numbers, empty cells as None."""
    with file.open() as stream:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def _number(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def test_figures_have_one_name_each_and_the_papers_numbers_find_them() -> None:
    names = [name for kind in FIGURES for name in (kind.name, *kind.paper)]
    assert len(names) == len(set(names))
    assert find_kind("2B") is find_kind("fig-2b") is find_kind("success-by-share")
    with pytest.raises(InputError, match="did you mean 'success-by-share'") as refused:
        find_kind("sucess-by-share")
    assert "gst figure" in refused.value.fix


@pytest.mark.mongo
def test_files_tell_what_they_were_made_of(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_ablation(results)
    written = draw_one(results, find_kind("table-1"), [study], tmp_path / "table")
    png, svg, pdf, table = written.files
    assert [file.name for file in written.files] == ["table.png", "table.svg", "table.pdf", "table.csv"]
    ids = "studies/synthetic-ablation potentials/ablation-fit-0 potentials/ablation-fit-1 potentials/ablation-fit-2"
    command = "gst figure ablation synthetic-ablation"
    with Image.open(png) as image:
        assert image.text["Source"] == ids and image.text["Description"] == command
    assert f"<dc:source>{ids}" in svg.read_text().replace("\n", "").replace(" " * 4, "") or ids in svg.read_text()
    assert ids.encode() in pdf.read_bytes() and command.encode() in pdf.read_bytes()
    again = draw_one(results, find_kind("table-1"), [study], tmp_path / "again")
    assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in written.files]
    assert [row["test_energy_meV_per_atom"] for row in rows_of(table)] == [18.5, 17.5, 16.5]
    assert [row["relative_speed"] for row in rows_of(table)] == [1.0, 1.125, 1.25]


@pytest.mark.mongo
def test_the_papers_rows_stand_beside_equal_fits_and_below_the_others(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_ablation(results)
    (table,) = draw_one(results, find_kind("ablation"), [study], tmp_path / "t", [], paper=True).files
    rows = rows_of(table)
    # two of the three shares are in the paper with P = 3 and 3,000 functions, and so is the reference
    assert [row["paper_test_force_meV_per_A"] for row in rows[:3]] == [135, 129, 122]
    assert len(rows) == 3 + len(paper_numbers()["ablation"]["rows"]) - 3
    assert all(row["test_force_meV_per_A"] is None for row in rows[3:])
    (plain,) = draw_one(results, find_kind("ablation"), [study], tmp_path / "u", []).files
    assert len(rows_of(plain)) == 3 and all(row["paper_relative_speed"] is None for row in rows_of(plain))


@pytest.mark.mongo
def test_success_by_share_has_its_intervals_and_falls_with_the_share(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_ablation(results, shares=(1.0, 0.5, 0.0))
    (table,) = draw_one(results, find_kind("2b"), [study], tmp_path / "t", [], paper=True).files
    rows = rows_of(table)
    ours = [row for row in rows if row["of"] == "this study"]
    assert [row["random_share"] for row in ours] == [1.0, 0.5, 0.0]
    assert [(row["low"], row["high"]) for row in ours] == [interval(n, 12) for n in (12, 8, 1)]
    theirs = [row for row in rows if row["of"] == "reference paper"]
    assert [(row["random_share"], row["success_fraction"]) for row in theirs] == [(1.0, 1.0), (0.5, 1.0)]
    assert theirs[0]["low"] == pytest.approx(interval(70, 70)[0])


@pytest.mark.mongo
def test_success_by_iteration_agrees_with_the_runs_themselves(results: Results, tmp_path: Path) -> None:
    synthetic.add_ablation(results)
    studies = [synthetic.add_melts(results, f"melts-{n}", f"ablation-fit-{n}", 3 * n + 2) for n in (1, 0)]
    (table,) = draw_one(results, find_kind("2a"), studies, tmp_path / "t", []).files
    rows = rows_of(table)
    for row, study in zip(rows, studies, strict=True):
        ids = [member.id for member in study.members if member.role == "run"]
        outcomes = [run.analysis["robustness"]["outcome"] for run in results.get_many(Trajectory, ids)]
        assert row["success_fraction"] == outcomes.count("success") / len(outcomes)
        assert row["low"] < row["success_fraction"] < row["high"]


@pytest.mark.mongo
def test_a_training_protocol_stands_beside_the_papers_iterations(results: Results, tmp_path: Path) -> None:
    synthetic.add_ablation(results)
    table: list[dict[str, Any]] = [{"iteration": 3, "state": "waiting"}]
    for number in (2, 1):
        low, high = interval(4 * number, 10)
        table.append({"iteration": number, "state": "finished", "potential_id": f"ablation-fit-{number}",
                      "potential": f"p{number}", "success": 0.4 * number, "success_low": low,
                      "success_high": high})  # fmt: skip
    plan = {"plan": {"robustness": {"n_atoms": 60}}}
    study = synthetic.Study(_id="protocol", name="protocol", kind="iteration", plan=plan, table=table)
    results.add(study)
    assert chosen(results, find_kind("2a"), [])[0].id == "protocol"
    (file,) = draw_one(results, find_kind("2a"), [study], tmp_path / "t", [], paper=True).files
    rows = [(row["of"], row["potential"], row["success_fraction"]) for row in rows_of(file)]
    assert rows[:4] == [
        ("this study", "iter-1", 0.4), ("reference paper", "iter-1", 0.0),
        ("this study", "iter-2", 0.8), ("reference paper", "iter-2", 0.0),
    ]  # fmt: skip
    assert [name for of, name, _ in rows[4:]] == ["iter-3", "iter-5"], "iter-4 has no number in the paper"
    bare = study.model_copy(update={"table": table[:1]})
    with pytest.raises(DataError, match="no iteration with hot melts"):
        find_kind("2a").draw(FigureRequest(results, [bare]))


@pytest.mark.mongo
def test_studies_of_other_protocols_and_potentials_tested_twice_are_refused_unless_mixed(results: Results) -> None:
    synthetic.add_ablation(results)
    first = synthetic.add_melts(results, "one", "ablation-fit-0", 4)
    hotter = synthetic.add_melts(results, "two", "ablation-fit-1", 4, temperature_K=2000.0)
    twice = synthetic.add_melts(results, "three", "ablation-fit-0", 5)
    draw = find_kind("2a").draw
    with pytest.raises(InputError, match="one and two differ in temperature_K"):
        draw(FigureRequest(results, [first, hotter]))
    with pytest.raises(InputError, match="shares-1 was tested by several"):
        draw(FigureRequest(results, [first, twice]))
    assert len(draw(FigureRequest(results, [first, hotter, twice], mixed=True)).plotted().rows) == 3


@pytest.mark.mongo
def test_a_study_that_lacks_members_names_them(results: Results) -> None:
    study = synthetic.add_ablation(results)
    results.database["potentials"].delete_one({"_id": "ablation-fit-1"})
    with pytest.raises(DataError, match="lacks 1 of its 3 members: potentials ablation-fit-1"):
        chosen(results, find_kind("ablation"), [study.id])


@pytest.mark.mongo
def test_documents_that_do_not_fit_are_refused_with_the_way_to_others(results: Results) -> None:
    with pytest.raises(DataError, match="has none") as nothing:
        chosen(results, find_kind("2b"), [])
    assert "--share random=1,0.5,0.25,0 --robustness" in nothing.value.fix
    study = synthetic.add_ablation(results)
    assert chosen(results, find_kind("2b"), [])[0].id == study.id
    melts = synthetic.add_melts(results, "melts", "ablation-fit-0", 4)
    with pytest.raises(InputError, match="needs a finished ablation; 'melts' is not one"):
        chosen(results, find_kind("table-1"), [melts.id])
    with pytest.raises(InputError, match="shows one finished ablation, not 2"):
        chosen(results, find_kind("table-1"), [study.id, study.id])


@pytest.mark.mongo
def test_a_curve_over_shares_needs_melts_and_varies_nothing_else(results: Results) -> None:
    study = synthetic.add_ablation(results)
    bare = [{key: value for key, value in row.items() if not key.startswith("success")} for row in study.table]
    with pytest.raises(DataError, match="0 fits of ablation shares were tested"):
        find_kind("2b").draw(FigureRequest(results, [study.model_copy(update={"table": bare})]))
    both = {**study.plan, "vary": {"embedding.n_densities": [1, 2]}}
    table = [{**row, "embedding.n_densities": place % 2 + 1} for place, row in enumerate(study.table)]
    crossed = study.model_copy(update={"plan": both, "table": table})
    with pytest.raises(InputError, match=r"varies embedding\.n_densities, too"):
        find_kind("2b").draw(FigureRequest(results, [crossed]))
