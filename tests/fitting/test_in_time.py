"""A fit that is ended before its job, and what counts as having come further."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gst_jobflow.base.deadline import STOP_SIGNAL, Deadline
from gst_jobflow.base.errors import RunError
from gst_jobflow.fitting.in_time import fit_in_time
from gst_jobflow.fitting.progress import progress
from tests.fitting.test_run import fake_runner, fit_with

HEAD = "iter_num loss rmse_epa rmse_f_comp nfuncs"
ROWS = f"printf '{HEAD}\\n1 1.0 0.1 0.1 3\\n2 0.9 0.1 0.1 3\\n' > metrics.txt"


@dataclass(frozen=True)
class OverAt(Deadline):
    """Comes when the fit has written its metrics, however long that takes."""

    file: Path

    def left_s(self) -> float:
        return -1.0 if self.file.exists() and len(self.file.read_text().splitlines()) == 3 else 60.0


def fit(tmp_path: Path, body: str):
    folder, runner = tmp_path / "fit", fake_runner(tmp_path, body)
    return folder, lambda: fit_with(runner, folder)


def test_a_fit_is_stopped_before_the_walltime_with_progress(tmp_path: Path) -> None:
    folder, run = fit(tmp_path, f"{ROWS}; sleep 600")
    assert fit_in_time(run, folder, OverAt(time.time() + 3600.0, 1.0, folder / "metrics.txt")) is None
    assert progress(folder)["iteration"] == 2
    assert not [child for child in psutil.Process().children() if child.is_running() and child.name() == "sleep"]


def test_a_signal_stops_a_fit_too(tmp_path: Path) -> None:
    folder, run = fit(tmp_path, f"{ROWS}; sleep 600")

    def ask() -> None:
        end = time.monotonic() + 60
        while not (folder / "metrics.txt").exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), STOP_SIGNAL)

    threading.Thread(target=ask, daemon=True).start()
    assert fit_in_time(run, folder, None) is None


def test_stopping_before_one_more_iteration_is_an_error(tmp_path: Path) -> None:
    folder, run = fit(tmp_path, "sleep 600")
    with pytest.raises(RunError, match="no iteration finished") as caught:
        fit_in_time(run, folder, Deadline(time.time() + 3.0, 10.0))
    assert caught.value.failure_class == "no_progress"


def test_a_higher_rung_of_a_ladder_is_progress(tmp_path: Path) -> None:
    folder, run = fit(tmp_path, f"{ROWS}; sleep 600")
    folder.mkdir()
    (folder / "metrics.txt").write_text(f"{HEAD}\n1 1.0 0.1 0.1 2\n5 0.9 0.1 0.1 2\n9 0.9 0.1 0.1 2\n9 0.9 0.1 0.1 2\n")
    assert fit_in_time(run, folder, OverAt(time.time() + 3600.0, 1.0, folder / "metrics.txt")) is None


def test_a_failing_fit_is_not_a_stopped_one(tmp_path: Path) -> None:
    folder, run = fit(tmp_path, "echo 'MemoryError: no room' >&2; exit 1")
    with pytest.raises(RunError) as caught:
        fit_in_time(run, folder, Deadline(time.time() + 3600.0, 7200.0))
    assert caught.value.failure_class == "out_of_memory"
