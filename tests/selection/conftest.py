"""The tiny potential of the tests of dynamics, and the commands of `gst structures`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401
from tests.flows.conftest import results, run  # noqa: F401

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

Gst = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gst(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gst:
    """`gst(*words)` gives exit code, stdout and stderr of `gst structures`, run in this process."""
    from gst_jobflow.cli.main import main

    monkeypatch.setenv("GST_PROJECT", str(project.root))

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gst", "-p", str(project.root), "structures", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return command
