"""What commands print while they work."""

from __future__ import annotations

import pytest

from gst_jobflow.cli import common
from gst_jobflow.cli.common import progress_line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Return a list whose only number is the time in s."""
    now = [100.0]
    monkeypatch.setattr(common.time, "monotonic", lambda: now[0])
    return now


def test_progress_in_a_pipe_ends_with_the_last_state_of_what_had_a_line(capsys, clock) -> None:
    with progress_line() as line:
        line("read", 1, 2)
        line("read", 2, 2)
        for done in range(1, 72):
            clock[0] += 6.0 if done == 1 else 0.01
            line("described", done, 71)
    assert capsys.readouterr().err.splitlines() == ["described: 1 of 71", "described: 71 of 71"]


def test_the_end_of_one_part_is_told_before_the_next(capsys, clock) -> None:
    with progress_line(percent=True) as line:
        for part in ("a.xyz", "b.xyz"):
            clock[0] += 6.0
            for done in (1, 2, 4):
                line(part, done, 4)
    assert capsys.readouterr().err.splitlines() == ["a.xyz, 25 %", "a.xyz, 100 %", "b.xyz, 25 %", "b.xyz, 100 %"]


def test_work_of_a_moment_shows_no_progress(capsys, clock) -> None:
    with progress_line() as line:
        for done in range(1, 6):
            line("compared", done, 5)
    assert capsys.readouterr().err == ""
