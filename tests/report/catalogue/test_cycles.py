"""Figures of device cycles: slices, grains, growth, marks, and what is said where an analysis is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gst_jobflow.analysis.series import newest
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Cycle, Trajectory
from gst_jobflow.report import palette
from gst_jobflow.report.catalogue.draw import draw_one
from gst_jobflow.report.catalogue.everything import draw_everything
from gst_jobflow.report.catalogue.kinds import FigureRequest
from gst_jobflow.report.catalogue.registry import FIGURES, find_kind
from gst_jobflow.report.catalogue.sources import chosen
from gst_jobflow.report.figures.cycle import grain_stages, operation_columns
from gst_jobflow.report.figures.slices import CORNERS, THICKNESS_A, orientation_colours
from gst_jobflow.report.pages.index import build_index
from gst_jobflow.report.style import canvas
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms

from .. import synthetic
from .test_studies import rows_of


@pytest.fixture
def results(project):
    opened = Results.open(project)
    synthetic.add_study(opened)
    synthetic.add_analyses(opened, opened.get(Cycle, synthetic.CYCLE_ID))
    yield opened
    opened.database.client.close()


def drawn(results: Results, name: str, folder: Path, **options) -> list[dict]:
    cycle = results.get(Cycle, synthetic.CYCLE_ID)
    (table,) = draw_one(results, find_kind(name), [cycle], folder / "figure", [], **options).files
    return rows_of(table)


@pytest.mark.mongo
def test_slices_hold_the_atoms_in_the_middle_with_their_stored_k_bar(results: Results, tmp_path: Path) -> None:
    rows = drawn(results, "3b", tmp_path)
    assert list(dict.fromkeys(row["state"] for row in rows)) == ["start", "after RESET 1", "after SET", "after RESET 2"]
    run = results.get(Trajectory, "synthetic-1")
    series = newest(run, "k-bar")
    values = series.arrays(results.artifacts, run.n_steps, "k_bar")["k_bar"]
    atoms = load_atoms(results, run.final_structure_id)
    y = atoms.get_positions(wrap=True)[:, 1] - atoms.cell[1, 1] / 2
    expected = {index + 1: values[index] for index in np.flatnonzero(np.abs(y) <= THICKNESS_A / 2)}
    assert 0 < len(expected) < len(atoms)
    assert {row["atom"]: row["k_bar"] for row in rows if row["state"] == "after SET"} == pytest.approx(expected)


@pytest.mark.mongo
def test_curves_through_a_cycle_are_those_of_the_runs(results: Results, tmp_path: Path) -> None:
    rows = drawn(results, "3c", tmp_path)
    run = results.get(Trajectory, "synthetic-1")
    temperature = [row["y"] for row in rows if row["series"] == "SET" and row["y_quantity"] == "temperature (K)"]
    assert temperature == run.thermo["temperature_K"]
    fraction = [row for row in rows if row["series"] == "SET" and row["y_quantity"] == "crystal-like fraction"]
    assert [row["y"] for row in fraction] == run.analysis["crystalline"]["fraction"]
    assert fraction[0]["x"] == 20.0, "the SET begins where the RESET ended"


@pytest.mark.mongo
def test_nucleation_ends_with_the_most_grains(results: Results) -> None:
    assert grain_stages(results.get(Trajectory, "synthetic-1")) == (30.0, 30.0, 60.0)
    bare = results.get(Trajectory, "synthetic-1").model_copy(update={"analysis": {}})
    assert grain_stages(bare) is None


@pytest.mark.mongo
def test_grains_and_growth_bring_their_numbers_and_the_papers(results: Results, tmp_path: Path) -> None:
    grains = drawn(results, "4f", tmp_path, paper=True)
    assert [(row["atoms"], row["diameter_nm"]) for row in grains[:2]] == [
        (200, pytest.approx(1.8)),
        (100, pytest.approx(1.4)),
    ]
    assert grains[-1]["grain"] == 277 and grains[-1]["diameter_nm"] == 4.6
    growth = drawn(results, "growth-region", tmp_path)
    assert [row["growth_share"] for row in growth] == pytest.approx(3 * [2 / 3])


def test_grains_get_the_colour_of_the_direction_that_points_to_the_viewer() -> None:
    # as it is, and turned by 45° about z
    turned = np.array([[0, 0, 0, 1], [0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)]])
    colours = orientation_colours(np.array([1, 2, 0]), turned)
    assert colours[0] == pytest.approx(palette.rgb(CORNERS["001"]))
    assert colours[1] == pytest.approx(palette.rgb(CORNERS["011"]))
    assert not np.allclose(colours[2], colours[:2]), "an atom in no grain is pale"
    axis = np.cross([1, 1, 1], [0, 1, 0]) / np.linalg.norm(np.cross([1, 1, 1], [0, 1, 0]))
    angle = np.arccos(1 / np.sqrt(3)) / 2
    diagonal = np.array([[*(axis * np.sin(angle)), np.cos(angle)]])
    assert orientation_colours(np.array([1]), diagonal)[0] == pytest.approx(palette.rgb(CORNERS["111"]))


@pytest.mark.mongo
def test_an_operation_without_the_analysis_names_the_command_that_adds_it(results: Results) -> None:
    results.database["trajectories"].update_one({"_id": "synthetic-2"}, {"$unset": {"analysis.frames": ""}})
    with pytest.raises(DataError, match="the end of RESET 2 of cycle demo cell has no k-bar") as missing:
        find_kind("3b").draw(FigureRequest(results, chosen(results, find_kind("3b"), [])))
    assert missing.value.fix == f"gst analyse {synthetic.CYCLE_ID} --what k-bar"


@pytest.mark.mongo
def test_a_cycle_that_lacks_runs_names_them(results: Results) -> None:
    results.database["trajectories"].delete_one({"_id": "synthetic-1"})
    with pytest.raises(DataError, match="lacks 1 of its 3 members: trajectories synthetic-1"):
        chosen(results, find_kind("3c"), [synthetic.CYCLE_ID])


def test_an_operation_a_thousand_times_longer_has_a_logarithmic_axis() -> None:
    run = Trajectory.model_construct(duration_ps=20.0, protocol="RESET")
    long = Trajectory.model_construct(duration_ps=20_000.0, protocol="SET")
    ((first, second),) = operation_columns(canvas(6, 3), [("RESET", run), ("SET", long)], 1)
    assert (first.get_xscale(), second.get_xscale()) == ("linear", "log")
    shorter = Trajectory.model_construct(duration_ps=2_000.0, protocol="SET")
    ((_, second),) = operation_columns(canvas(6, 3), [("RESET", run), ("SET", shorter)], 1)
    assert second.get_xscale() == "linear"


@pytest.mark.mongo
def test_the_index_shows_what_is_there_and_the_command_for_what_is_not(results: Results, tmp_path: Path) -> None:
    series = newest(results.get(Trajectory, "synthetic-1"), "grains")
    results.artifacts.path_of(series.rows[30000]["arrays"]["sha256"]).unlink()
    found = draw_everything(results, tmp_path / "reports" / "figures", ["png"], newest=10)
    names = [each.kind.name for each in found.drawn]
    assert "cycle" in names and "snapshots" in names and "data" in names
    missing = {each.kind.name: each for each in found.missing}
    assert "grains" in missing and "ablation" in missing and "gst submit ablation" in missing["ablation"].fix
    assert set(names) | set(missing) == {kind.name for kind in FIGURES}
    page = build_index(results, tmp_path, found, paper=False).read_text()
    assert all(f'src="figures/{name}-' in page for name in names)
    assert missing["grains"].reason.replace("'", "&#39;") in page and "gst report cycle synthetic-cycle" in page
