"""Counts in messages agree with their nouns; numbers are easy to read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gst_jobflow
from gst_jobflow.base.words import counted, number


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(n, "job") for n in (0, 1, 2, 12_000)] == ["0 jobs", "1 job", "2 jobs", "12,000 jobs"]
    assert counted(1, "trajectory", "trajectories") == "1 trajectory"
    assert counted(3, "trajectory", "trajectories") == "3 trajectories"


def test_no_message_has_a_plural_in_brackets() -> None:
    """`1 rank(s)` is for `counted`."""
    nouns = re.compile(r"\} ?(\w+ )?[a-z]{3,}\(s\)")
    for path in Path(gst_jobflow.__file__).parent.rglob("*.py"):
        assert not nouns.findall(path.read_text()), path


@pytest.mark.parametrize(
    ("value", "said"), [(1088.4, "1,088"), (287.31, "287"), (0.012345, "0.0123"), (9996.0, "9,996"), (999.6, "1,000")]
)
def test_large_errors_have_no_exponent(value: float, said: str) -> None:
    assert number(value, 3) == said
