"""Pages link to the index beside them, and to none where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.documents import Study
from gst_jobflow.flows.study import close_study
from gst_jobflow.report.catalogue.everything import Everything
from gst_jobflow.report.label_data import collect_labels
from gst_jobflow.report.pages.index import build_index
from gst_jobflow.report.pages.labels import build_label_page
from gst_jobflow.report.pages.study import build_page, write_page
from gst_jobflow.store import Results

from . import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
LINK = 'href="index.html"'


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    """Pages of a scaling study, a validation, an ablation and of labels."""
    folder = tmp_path / "reports"
    for study in (synthetic.add_scaling(results), synthetic.add_validation(results), synthetic.add_ablation(results)):
        build_page(results, "study", study.id, folder / f"{study.kind}.html")
    synthetic.add_training(results, np.random.default_rng(1))
    build_label_page(collect_labels(results), folder / "labels.html")
    return folder


def pages(folder: Path) -> dict[str, bool]:
    return {file.stem: LINK in file.read_text() for file in sorted(folder.glob("*.html")) if file.name != "index.html"}


def test_pages_get_the_link_when_there_is_an_index_and_only_then(results: Results, folder: Path) -> None:
    assert pages(folder) == {"ablation": False, "labels": False, "scaling": False, "validation": False}
    index = build_index(results, folder.parent, Everything([], [], {}), paper=False)
    assert LINK not in index.read_text() and 'href="labels.html"' in index.read_text()
    assert all(pages(folder).values())
    again = (folder / "scaling.html").read_text()
    build_index(results, folder.parent, Everything([], [], {}), paper=False)
    assert (folder / "scaling.html").read_text() == again and again.count(LINK) == 1
    later = build_page(results, "study", "synthetic-scaling", folder / "later.html")
    elsewhere = build_page(results, "study", "synthetic-scaling", folder.parent / "elsewhere" / "page.html")
    assert later.read_text().count(LINK) == 1 and LINK not in elsewhere.read_text()


def test_files_of_others_and_pages_of_running_studies_stay_as_they_are(results: Results, folder: Path) -> None:
    alien = '<html><header><div class="in">mine</div></header></html>'
    (folder / "alien.html").write_text(alien)
    (folder / "latin.html").write_bytes(b"<title>caf\xe9</title>")
    results.database["fireworks"].insert_one({"fw_id": 7, "name": "collect", "state": "WAITING"})
    runs = {"id": "runs", "state": "running", "workflow_ids": [7]}
    results.add(results.get(Study, "synthetic-scaling").model_copy(update=runs))
    before = build_page(results, "study", "runs", folder / "runs.html").read_text()
    assert 'http-equiv="refresh"' in before
    build_index(results, folder.parent, Everything([], [], {}), paper=False)
    assert (folder / "alien.html").read_text() == alien and (folder / "runs.html").read_text() == before
    assert (folder / "latin.html").read_bytes() == b"<title>caf\xe9</title>"
    assert LINK in build_page(results, "study", "runs", folder / "runs.html").read_text()


def test_a_foreign_index_is_not_linked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>My pages</title>")
    html = '<header><div class="in"></div></header>'
    assert write_page(html, tmp_path / "page.html").read_text() == html


def test_the_stored_page_of_a_study_stands_alone(
    results: Results, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    study = synthetic.add_scaling(results)
    build_index(results, project.root, Everything([], [], {}), paper=False)
    page = close_study(results, study.id, {"state": "finished"})
    report = results.get(Study, study.id).report
    assert report is not None and LINK in page.read_text()
    assert LINK not in results.artifacts.path(report).read_text()
