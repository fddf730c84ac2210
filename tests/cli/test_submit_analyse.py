"""`gst submit analyse`: jobs of runs and structures, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fireworks.core.rocket_launcher import rapidfire

from gst_jobflow.analysis.series import newest
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect, launchpad
from tests.analysis.runs import frame, stored
from tests.cli.test_control import gst

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
pytest.importorskip("ovito")


def test_a_run_becomes_a_job_of_the_analysis_category_that_the_launchpad_runs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.open(project)
    stored(results, tmp_path, {0: frame(0.1), 100: frame(0.8)})
    gst(project, "submit", "analyse", "quench", "--what", "tellurium", "--processes", "1")
    (firework,) = connect(project)["fireworks"].find()
    assert firework["spec"]["_category"] == "analysis"
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    monkeypatch.chdir(tmp_path)
    rapidfire(launchpad(project), nlaunches=1, local_redirect=False)
    (firework,) = connect(project)["fireworks"].find()
    assert firework["state"] == "COMPLETED"
    series = newest(results.get(Trajectory, "run"), "tellurium")
    assert series is not None
    assert [series.rows[step]["crystalline_fraction"] > 0.5 for step in (0, 100)] == [True, False]


def test_what_cannot_be_a_job_is_refused(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    stored(results, tmp_path, {0: frame(0.1)})
    (tmp_path / "a.xyz").write_text("1\n\nTe 0 0 0\n")
    for words, message in (
        ((str(tmp_path / "a.xyz"),), "is a file"),
        (("nothing",), "no trajectory or cycle 'nothing'"),
        ((), "which frames"),
        (("run", "-w", "config_type=crystal"), "which frames"),
        (("run", "--what", "grain"), "no analysis 'grain'"),
        (("run", "--what", "k-bar", "--reference", "nothing"), "no reference crystal"),
        (("run", "--what", "k-bar", "--soap", "cutof_A=5"), "soap has no 'cutof_A'"),
    ):
        with pytest.raises(InputError, match=message):
            gst(project, "submit", "analyse", *words)
    assert connect(project)["fireworks"].count_documents({}) == 0
