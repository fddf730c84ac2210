"""Kills at random points lose nothing and double nothing: a short form of the 50 rounds of scripts/chaos_store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mongo, pytest.mark.slow]
SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "chaos_store"


def test_three_rounds_of_kills_end_like_an_undisturbed_one(tmp_path: Path) -> None:
    options = ["--rounds", "3", "--seed", "5", "--frames", "400", "--spooled", "200", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "nothing lost, nothing doubled" in done.stdout
    assert done.stdout.count("as wanted") == 3 and " at " in done.stdout, "something was killed"
    assert list(tmp_path.iterdir()) == [], "the scratch project is removed"
