"""Whatever is killed, cancelled or full, a study comes to its end: a short form of scripts/chaos_launch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.lammps, pytest.mark.slow]
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "chaos_launch"


def test_disturbed_study_completes_with_each_result_once() -> None:
    pytest.importorskip("pyace")
    if shutil.which("sbatch") is None:
        pytest.skip("SLURM is not installed")
    options = ["--minutes", "0.3", "--every", "4", "--tasks", "14", "--seed", "4"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=2400, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "each result once, nothing computed twice that had been recorded" in done.stdout
