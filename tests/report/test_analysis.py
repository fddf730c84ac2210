"""What was computed of frames, on the page of a run: curves, overlays, gaps and definitions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.analysis.disorder import LEAST_ORDER, smooth_order
from gst_jobflow.analysis.growth import ORIGINS
from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import analyse_stored, analyse_trajectory
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.figures import analysis as figures
from gst_jobflow.report.pages import analysis as pages
from gst_jobflow.report.pages.study import build_page
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.crystals import rocksalt
from tests.analysis import runs
from tests.analysis.runs import frame, stored

if TYPE_CHECKING:
    from ase import Atoms

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


def test_titles_and_labels_name_the_anion_of_the_material(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.open(project)
    monkeypatch.setattr(runs, "ELEMENTS", ["Ge", "Sb", "Se"])
    frames = {0: frame(0.1), 100: frame(0.3)}
    for atoms in frames.values():
        atoms.symbols[atoms.symbols == "Te"] = "Se"
    run = stored(results, tmp_path, frames)
    contacts = {"-".join(pair): 2.3 for pair in itertools.combinations_with_replacement(("Ge", "Sb", "Se"), 2)}
    material = {
        "name": "ge-sb-se", "elements": ["Ge", "Sb", "Se"], "anion": "Se", "compositions": ["Ge1Sb2Se4"],
        "density_g_cm3": 5.5, "volume_per_atom_A3": [20, 30], "min_contacts_A": contacts,
    }  # fmt: skip
    analyse_trajectory(results, run, AnalysisPlan(what=["anion", "grains"], min_grain=20, material=material))
    steps = [("quench", results.get(Trajectory, run.id))]
    section = pages.analysis_section(results, steps)
    captions = " ".join(figure.caption for figure in section["figures"])
    assert "k-bar and by selenium" in captions and "Grains of the selenium" in captions
    assert {row[0] for row in section["definitions"].rows} == {"anion", "grains"}
    labels = {text.get_text() for panels in (figures.ORDER, figures.GRAINS)
              for axes in figures.through_time(steps, panels).axes if axes.get_legend()
              for text in axes.get_legend().get_texts()}  # fmt: skip
    lines = {line.get_label() for axes in figures.through_time(steps, figures.ORDER).axes for line in axes.get_lines()}
    assert "crystal-like by selenium" in lines and "from 20 Se atoms" in labels


def test_an_element_without_bonds_has_a_panel_that_says_so() -> None:
    angles = np.linspace(0, 180, 7)
    curves = {"angles.deg": angles, "angles.Sb": np.full(7, 0.005), "angles.Te": np.full(7, np.nan)}
    figure = figures.liquid_curves([figures.LiquidStructure("melt", curves)], "angles")
    assert figure is not None
    said = {
        axes.get_title(loc="left") or axes.get_title(): [each.get_text() for each in axes.texts] for axes in figure.axes
    }
    assert said == {"Sb": [], "Te": ["no bonds found"]}


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


def _with_disordered_dome(radius_A: float) -> Atoms:
    """Rock-salt whose atoms around the middle of the lower face are displaced by some 0.8 Å."""
    atoms = rocksalt("GeSb2Te4", (18, 3, 10))
    atoms.rattle(0.1, seed=1)
    away = np.hypot(atoms.positions[:, 0] - 0.5 * atoms.cell[0, 0], atoms.positions[:, 2]) < radius_A
    atoms.positions[away] += np.random.default_rng(2).normal(0, 0.8, (int(away.sum()), 3))
    atoms.wrap()
    return atoms


def test_growth_is_mapped_with_the_dome_of_the_first_state(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.open(project)
    frames = {0: _with_disordered_dome(35.0), 300: _with_disordered_dome(20.0)}
    ends = [structure_document(atoms, "melt_quench") for atoms in frames.values()]
    for each in ends:
        results.add(each)
    links = {"start_structure_id": ends[0].id, "final_structure_id": ends[1].id}
    run = stored(results, tmp_path, frames, **links)
    analyse_trajectory(results, run, AnalysisPlan(what=["growth"], min_grain=50))
    drawn: list[figures.OriginMap] = []
    keep = figures.origin_maps
    monkeypatch.setattr(figures, "origin_maps", lambda maps: drawn.extend(maps) or keep(maps))
    section = pages.analysis_section(results, [("SET", results.get(Trajectory, run.id))], {"mobile": [1, run.n_atoms]})
    assert section is not None and not section["remarks"]
    assert "Maps of growth and nucleation" in str(section["figures"])
    (only,) = drawn
    assert only.first is not None
    outside = smooth_order(only.first) > LEAST_ORDER
    area = float((~outside).sum() * np.diff(only.first.x_A)[0] * np.diff(only.first.z_A)[0])
    # the half-disc of the first state, not the smaller one that is left
    assert area == pytest.approx(0.5 * np.pi * 35.0**2, rel=0.2)
    grown = only.bins.mean(only.origin == ORIGINS.index("grown"))[~outside]
    assert 0.3 < np.nanmean(grown) < 0.8 and np.nanmean(only.bins.mean(only.origin == 2)[outside]) < 0.1
