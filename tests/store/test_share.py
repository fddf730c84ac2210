"""The jobs of local workers share the cores of their machine."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import pytest
from jobflow import Flow, Job

from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, now
from gst_jobflow.launch.attempts import recorded
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results, share

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]


@pytest.fixture(autouse=True)
def _eight_cores_and_four_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GST_CORES", "1")  # so that it is put back
    monkeypatch.setenv("GST_WORKERS", "4")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(share, "_share", share._Share(now()))


def running(results: Results, number: int, **values: Any) -> None:
    attempt = Attempt(
        _id=str(number), job_uuid=f"other-{number}", job_name="j", fw_id=1, number=1, state="running",
        host=socket.gethostname(), pid=1, process_started=0.0, directory="/",
        started_at=now() - timedelta(minutes=1), **values,
    )  # fmt: skip
    results.add(attempt)


@pytest.mark.parametrize(
    ("ready", "beside", "expected"), [(0, 0, 8), (1, 0, 4), (9, 0, 2), (0, 1, 4), (2, 3, 2), (2, 0, 3), (0, 2, 2)]
)
def test_jobs_get_equal_shares_and_the_first_ones_what_is_left(
    project: Project, ready: int, beside: int, expected: int
) -> None:
    results = Results.open(project)
    if ready:
        submit(Flow([Job(len, function_args=("",)) for _ in range(ready)]), project)
    for number in range(beside):
        running(results, number)
    share.begin_share(results.database, "mine")
    assert cores() == expected


def test_a_job_that_asks_again_gets_what_others_left_and_its_attempt_has_the_mean(
    project: Project, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    times = iter([0.0, 30.0, 60.0, 120.0])
    monkeypatch.setattr(share, "monotonic", lambda: next(times))
    results = Results.open(project)
    running(results, 1)
    share.begin_share(results.database, "mine")
    with recorded(results, "mine", "label", 2) as begun:
        share.share_cores(results.database, "mine")
        assert cores() == begun.cores == 4, "its own attempt is none of the others"
        results.update("attempts", "1", {"state": "finished"})
        share.share_cores(results.database, "mine")
        assert cores() == 8
    assert results.get(Attempt, begun.id).cores == 6


def test_where_no_workers_share_a_machine_cores_are_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GST_WORKERS")
    share.begin_share(Results.open(project).database, "mine")
    assert (cores(), share.mean_cores()) == (1, None)
