"""Run jobs inside a project with a real database, as the flows' tests do, and `gst analyse`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.analysis.runs import Gst
from tests.flows.conftest import results, run  # noqa: F401

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


@pytest.fixture
def gst(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gst:
    """`gst(*words)` gives exit code, parsed stdout and stderr of `gst analyse … --json`."""
    from gst_jobflow.cli.main import main

    def command(*words: str) -> tuple[int, Any, str]:
        given = ["gst", "-p", str(project.root), "analyse", *words, "--processes", "2", "--json"]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), json.loads(said.out) if said.out else None, said.err

    return command
