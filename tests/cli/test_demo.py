"""`gst demo --submit-only`: nothing runs here, and one demo is one workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.demo import GrowingPage
from gst_jobflow.launch.status import status
from gst_jobflow.report.collect import collect_study
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst
from tests.report import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

ONLY = ("demo", "--size", "tiny", "--submit-only")


@pytest.mark.mongo
def test_the_demo_is_submitted_once_and_not_run(project: Project) -> None:
    said = gst(project, *ONLY)
    assert "page of the finished demo: " in said and "gst launch; gst status" in said
    counts = status(connect(project))["counts"]
    assert set(counts) <= {"READY", "WAITING"} and counts["READY"]
    gst(project, *ONLY)
    assert status(connect(project))["counts"] == counts


@pytest.mark.mongo
def test_the_page_fills_up_while_jobs_run_and_leaves_the_last_one_alone(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    study = synthetic.add_study(results, parts=())
    target = tmp_path / "page.html"
    page = GrowingPage(results, study.id, target)
    page.SHARE = 1e9
    results.database["fireworks"].insert_many([{"fw_id": id, "name": "fit", "state": "WAITING"} for id in (1, 2)])
    page.tick()
    assert not target.exists(), "there are no labels"
    synthetic.add_training(results, np.random.default_rng(1))
    page.tick()
    assert "Still to come: fit (2 jobs)." in target.read_text() and "labels converged" in target.read_text()
    target.unlink()
    page.tick()
    assert not target.exists(), "no job has ended since"
    results.database["fireworks"].update_one({"fw_id": 1}, {"$set": {"state": "COMPLETED"}})
    page.tick()
    assert "Still to come: fit." in target.read_text()
    target.write_text("the last")
    results.update("studies", study.id, {"state": "finished"})
    page.tick()
    assert target.read_text() == "the last"


@pytest.mark.mongo
def test_the_study_is_not_read_at_every_poll_while_there_is_nothing_to_show(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, read = Results.open(project), []
    study = synthetic.add_study(results, parts=())

    def collect(*given: Any) -> Any:
        read.append(given)
        return collect_study(*given)

    monkeypatch.setattr("gst_jobflow.cli.demo.collect_study", collect)
    page = GrowingPage(results, study.id, tmp_path / "page.html")
    page.SHARE = 1e-9
    page.tick()
    page.tick()
    assert len(read) == 1


@pytest.mark.mongo
def test_a_page_that_fails_is_said_once_and_written_later(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, target = Results.open(project), tmp_path / "page.html"
    study = synthetic.add_study(results, parts=())
    synthetic.add_training(results, np.random.default_rng(1))
    results.database["fireworks"].insert_one({"fw_id": 1, "name": "fit", "state": "WAITING"})
    page = GrowingPage(results, study.id, target)
    page.SHARE = 1e9
    with monkeypatch.context() as broken:
        broken.setattr("gst_jobflow.cli.demo.render_page", lambda *given: {}["cycle"])
        page.tick()
        page.tick()
    said = capsys.readouterr()
    assert (said.out + said.err).count("KeyError: 'cycle'") == 1 and not target.exists()
    page.tick()
    assert "Still to come: fit" in target.read_text()


def test_submit_only_excludes_workers() -> None:
    from gst_jobflow.cli.demo import command

    with pytest.raises(InputError, match="--workers and --submit-only"):
        command(workers=2, submit_only=True, labels=None, size=None)
