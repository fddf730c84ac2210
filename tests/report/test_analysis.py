"""What was computed of frames, on the page of a run: curves, overlays, gaps and definitions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.analysis.maker import analyse_stored
from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import analyse_trajectory
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.figures import analysis as figures
from gst_jobflow.report.pages import analysis as pages
from gst_jobflow.report.pages.study import build_page
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from tests.analysis.runs import frame, stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
pytest.importorskip("ovito")
BONDS = {"Ge-Te": 3.4, "Sb-Te": 3.4, "Te-Te": 3.0, "Ge-Ge": 3.0, "Ge-Sb": 3.0, "Sb-Sb": 3.0}


def test_a_run_is_shown_with_curves_and_frames_of_first_principles_beside_them(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.open(project)
    run = stored(results, tmp_path, {0: frame(0.1), 100: frame(0.3), 200: frame(0.8)})
    plan = AnalysisPlan(what=["liquid", "motifs", "tellurium", "k-bar", "grains"], bonds_A=BONDS, min_grain=20)
    analyse_trajectory(results, run, plan)
    first = structure_document(frame(0.5), "aimd")
    results.add(first)
    analyse_stored(results, [first.id], "frames of VASP", AnalysisPlan(what=["liquid"], bonds_A=BONDS), 1)
    drawn: list[list[figures.LiquidStructure]] = []
    keep = figures.liquid_curves
    monkeypatch.setattr(figures, "liquid_curves", lambda each, kind: drawn.append(list(each)) or keep(each, kind))
    page = build_page(results, "trajectory", run.id, tmp_path / "run.html").read_text()
    assert [(each.title, each.first_principles) for each in drawn[0]] == [
        ("quench", False), ("frames of VASP (first principles)", True),
    ]  # fmt: skip
    for words in ("Analysis of frames", "Partial g(r)", "ALTBC", "Crystallinity by k-bar", "Grains of the tellurium"):
        assert words in page
    # nothing failed, so no gaps
    assert "Frames without a result" not in page
    assert "min_anions 20" in page


def test_a_run_without_analyses_has_no_such_part(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    run = stored(results, tmp_path, {0: frame(0.1)})
    assert pages.analysis_section(results, [("quench", run)]) is None
    assert "Analysis of frames" not in build_page(results, "trajectory", run.id, tmp_path / "run.html").read_text()


def test_a_file_that_is_gone_is_a_remark_and_the_numbers_are_drawn(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    run = stored(results, tmp_path, {0: frame(0.1), 100: frame(0.3)})
    done = analyse_trajectory(results, run, AnalysisPlan(what=["liquid"], bonds_A=BONDS))
    digest = done.series["liquid"].rows[0]["arrays"]["sha256"]
    results.artifacts.path_of(digest).unlink()
    section = pages.analysis_section(results, [("quench", results.get(Trajectory, run.id))])
    assert section is not None
    assert len(section["remarks"]) == 1 and "not all analyses can be drawn" in section["remarks"][0]
