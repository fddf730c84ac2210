"""`gst pause`, `resume`, `cancel`, `logs`, `status`, `launch --queue`: what they print, and wrong use in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fireworks import FWorker
from jobflow import Flow
from typer.testing import CliRunner

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.cli.main import app
from gst_jobflow.launch.attempts import _begin
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect, launchpad
from tests.launch.test_launching import add, grow_badly

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


def gst(project: Project, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["-p", str(project.root), *words])
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def data(project: Project, *words: str) -> Any:
    return json.loads(gst(project, *words, "--json"))


def test_pause_resume_and_cancel_report_changes(project: Project) -> None:
    first, second = add(1, 1), add(2, 2)
    ids = submit(Flow([first, second]), project)
    assert data(project, "pause", str(ids[first.uuid])) == [
        {"firework_id": ids[first.uuid], "name": "add", "what": "paused"}
    ]
    assert "next: gst launch" in gst(project, "status"), "the other is ready"
    assert len(data(project, "cancel", "--all")) == 2
    assert "no matching jobs" in gst(project, "resume")
    assert len(data(project, "resume", *map(str, ids.values()))) == 2
    assert data(project, "status")["counts"] == {"READY": 2}


def test_launch_says_that_paused_jobs_are_left(project: Project) -> None:
    submit(Flow([add(1, 1), add(2, 2)]), project)
    gst(project, "pause")
    done = CliRunner().invoke(app, ["-p", str(project.root), "launch"])
    assert done.exit_code == 0, done.output
    assert "2 jobs paused; next: gst resume" in done.stderr and "gst approve STUDY" in done.stderr


def test_watch_repeats_status_until_ctrl_c(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(1, 1)
    submit(Flow([first]), project)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("gst_jobflow.cli.status.time", SimpleNamespace(sleep=wait))
    shown = gst(project, "status", "--watch", code=130)
    assert len(waits) == 3 and shown.count("next: gst launch") == 3


def test_launch_reports_failures_of_jobs_added_meanwhile(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    submit(grow_badly(), project)
    gst(project, "--set", "launch.poll_s=0.5", "launch", "-n", "1", code=1)
    # not the launch itself: the one job that was submitted ended well, and the one that it added did not
    states = connect(project)["fireworks"].find({}, {"state": 1}).sort("fw_id", 1)
    assert [firework["state"] for firework in states] == ["COMPLETED", "FIZZLED"]


def test_job_given_up_is_not_reported_to_run_again(project: Project) -> None:
    project.file.write_text(project.file.read_text() + "queue: {max_losses: 2}\n")
    (fw_id,) = submit(add(1, 1), project).values()
    pad = launchpad(project)
    for again in (True, False):
        pad.checkout_fw(FWorker(), str(project.root), fw_id)
        _begin(Results.open(project), "u", "add", fw_id, "", 1)
        # a process that is not there
        connect(project)["attempts"].update_many({"state": "running"}, {"$set": {"pid": 2**22 + 1}})
        (found,) = data(project, "recover", "--dry-run")
        assert found["again"] is again
        said = gst(project, "recover")
        assert ("gst launch" in said) is again and ("given up" in said) is not again
    gst(project, "status", code=1)


def test_ends_of_attempts_are_shown_without_their_folders(project: Project) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    _begin(Results.open(project), "u", "add", fw_id, "", 1)
    change = {"state": "failed", "failure_class": "crash", "reason": "it fell", "directory": "/gone"}
    connect(project)["attempts"].update_one({}, {"$set": change})
    for words in ([], ["--json"]):
        done = CliRunner().invoke(app, ["-p", str(project.root), "logs", str(fw_id), *words])
        assert isinstance(done.exception, DataError) and "/gone does not exist here" in str(done.exception)
        assert "it fell" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel"], "which jobs"),
        (["cancel", "1", "--all"], "which jobs"),
        (["pause", "999"], "no job 999"),
        (["logs", "999"], "no job 999"),
        (["launch", "--queue", "-n", "2"], "--workers and --queue"),
        (["launch", "--forever"], "add --queue"),
        (["launch", "--queue"], "has no queue"),
    ],
)
def test_wrong_use_names_the_remedy(project: Project, words: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        gst(project, *words)
    assert said in str(error.value)
