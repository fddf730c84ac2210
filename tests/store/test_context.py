"""Continuations: a job that takes its own place, with whatever runs fireworks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.resources import QUEUE_KEY, Resources, request_resources
from gst_jobflow.documents import Attempt
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect, job_store
from gst_jobflow.store.context import continuation, is_continuation, job_results, work_directory
from tests.launch.test_launching import add, run_all

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@job
@in_category("md")
def in_parts(parts: int) -> Any:
    """Write a line each time into the folder of the first part; the last one counts them."""
    folder = work_directory(job_results(), "work")
    file = folder / "parts"
    before = file.read_text().splitlines() if file.exists() else []
    assert is_continuation() == bool(before)
    file.write_text("".join(f"{line}\n" for line in [*before, str(Path.cwd())]))
    if len(before) + 1 < parts:
        return continuation(in_parts(parts))
    return len(before) + 1


def test_children_wait_for_the_last_part_and_get_its_output(project: Project, monkeypatch: Any) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    first = in_parts(3)
    first.name = "run"
    request_resources(first, Resources(nodes=2))
    last = add(first.output, 10)
    (fw_id, _) = submit(Flow([first, last]), project).values()
    # more than was asked at first, as after a failure of memory
    connect(project)["fireworks"].update_one({"fw_id": fw_id}, {"$set": {f"spec.{QUEUE_KEY}.mem": "64G"}})
    run_all(project)
    assert status(connect(project))["counts"] == {"COMPLETED": 4}
    store = job_store(project)
    store.connect()
    assert store.get_output(last.uuid) == 13
    attempts = list(Results.open(project).find(Attempt, {"job_uuid": first.uuid}, sort=[("started_at", 1)]))
    assert [(attempt.number, attempt.job_name) for attempt in attempts] == [(1, "run"), (2, "run"), (3, "run")]
    # each shows where the work is
    folders = {folder.resolve() for attempt in attempts for folder in Path(attempt.directory).glob("work-*")}
    assert folders == {next(Path(attempts[0].directory).resolve().glob("work-*"))}
    assert all(list(Path(attempt.directory).glob("work-*/parts")) for attempt in attempts)
    for firework in connect(project)["fireworks"].find({"name": "run"}):
        assert firework["spec"][QUEUE_KEY] == {"nodes": 2, "mem": "64G"}
        assert firework["spec"]["_category"] == "md"
