"""When a job has to end, and what asks it to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gst_jobflow.base.deadline import STOP_SIGNAL, Deadline, deadline_from, stopped_in_time, walltime_s


def test_the_deadline_is_slurms_else_that_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert deadline_from(1000.0, None, {}) is None
    local = deadline_from(1000.0, "01:00:00", {})
    assert local == Deadline(4600.0, 3600.0) and local.stop == 4600.0 - 120.0
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_START_TIME": "500", "SLURM_JOB_END_TIME": "1100"}
    found = deadline_from(1000.0, "01:00:00", slurm)
    assert found == Deadline(1100.0, 600.0) and found.stop == 1040.0, "a tenth of ten minutes"


@pytest.mark.parametrize(("answer", "left_s"), [("1-00:00:10", 86410), ("59:30", 3570), ("UNLIMITED", None)])
def test_an_older_slurm_is_asked(monkeypatch, tmp_path, answer, left_s) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho {answer}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = deadline_from(time.time(), None, {"SLURM_JOB_ID": "1"})
    assert (found is None) == (left_s is None)
    if found is not None:
        assert found.end == pytest.approx(time.time() + left_s, abs=60)


def test_walltimes_are_read() -> None:
    assert [walltime_s(text) for text in ("00:00:05", "24:00:00", "2-01:00:00")] == [5, 86400, 176400]


def test_the_clock_asks_before_the_end() -> None:
    asked = threading.Event()
    with stopped_in_time(Deadline(time.time() + 3600, 3600.0), asked.set, lambda: 7200.0):
        assert asked.wait(30), "the lead is longer than what is left"
    asked.clear()
    with stopped_in_time(Deadline(time.time() + 3600, 3600.0), asked.set):
        assert not asked.wait(1.5)


def test_a_signal_asks_and_handlers_are_restored() -> None:
    asked = threading.Event()
    before = signal.getsignal(STOP_SIGNAL), signal.getsignal(signal.SIGTERM)
    with stopped_in_time(None, asked.set):
        os.kill(os.getpid(), STOP_SIGNAL)
        assert asked.wait(10)
    assert (signal.getsignal(STOP_SIGNAL), signal.getsignal(signal.SIGTERM)) == before


def test_a_sigterm_near_the_end_means_the_walltime() -> None:
    asked = threading.Event()
    with stopped_in_time(Deadline(time.time() + 20.0, 3600.0), asked.set):
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(10)


def test_a_sigterm_at_any_other_time_ends_the_process() -> None:
    code = (
        "import os, signal, time\n"
        "from gst_jobflow.base.deadline import Deadline, stopped_in_time\n"
        "with stopped_in_time(Deadline(time.time() + 3600, 3600.0), lambda: print('asked', flush=True)):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(30)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM and "asked" in ended.stdout
