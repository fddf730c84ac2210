"""`gst demo --submit-only`: nothing runs here, and one demo is one workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.launch.status import status
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst

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


def test_submit_only_excludes_workers() -> None:
    from gst_jobflow.cli.demo import command

    with pytest.raises(InputError, match="--workers and --submit-only"):
        command(workers=2, submit_only=True, labels=None, size=None)
