"""Peak memory of a program's processes in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from gst_jobflow.base.processes import run_program
from gst_jobflow.dynamics.memory import WAIT_SCRIPT, PeakMemory, kills_for_memory

HELD = (
    "import subprocess, time; block = b'x' * {megabytes}_000_000; del block; time.sleep({s}); "
    f"subprocess.run(['sh', '{WAIT_SCRIPT}'], check=True)"
)


def watched_run(folder: Path, megabytes: int, seconds: float = 0.0, limit_B: float | None = None) -> PeakMemory:
    folder.mkdir()
    watch = PeakMemory(folder.resolve(), Path(sys.executable).resolve().name, limit_B)
    command = [sys.executable, "-c", HELD.format(megabytes=megabytes, s=seconds)]
    with watch.watched():
        run_program(command, folder, output="out", started=watch.started)
    return watch


def test_the_peak_counts_though_it_was_given_back(tmp_path: Path) -> None:
    small, large = watched_run(tmp_path / "small", 1), watched_run(tmp_path / "large", 101)
    assert len(small.peaks_B) == len(large.peaks_B) == 1, "the shell that waits is another program"
    assert abs(large.total_B - small.total_B - 100e6) < 5e6 and not large.over


def test_a_program_beyond_the_limit_is_ended(tmp_path: Path) -> None:
    watch = watched_run(tmp_path / "large", 200, seconds=60.0, limit_B=150e6)
    assert watch.over and watch.total_B > 150e6


def test_other_folders_do_not_count(tmp_path: Path) -> None:
    watch = PeakMemory(tmp_path, Path(sys.executable).resolve().name)
    watch.read()
    assert watch.peaks_B == {} and watch.total_B == 0


def test_the_kernel_counts_what_it_ended() -> None:
    assert kills_for_memory() >= 0
