"""Run programs on the same cores in turns of a few seconds, so that other load affects all of them alike."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_S = 0.02


@dataclass(frozen=True)
class Arm:
    """A program that is compared with others, and where it runs."""

    command: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str] | None = None


@dataclass
class Used:
    """Wall time of a program's own turns, and processor time of it and of all that it started and that ended, s."""

    wall_s: float = 0.0
    processor_s: float = 0.0


def in_turns(arms: Mapping[str, Arm], turn_s: float = 5.0) -> dict[str, Used]:
    """Run all arms to their end, one at a time; the others are stopped meanwhile, with what they started.

    Raises
    ------
    SystemExit
        One of them failed.
    """
    used = {name: Used() for name in arms}
    running: dict[str, subprocess.Popen] = {}
    try:
        for name, arm in arms.items():
            running[name] = subprocess.Popen(
                arm.command, cwd=arm.folder, env=arm.environment, stdout=subprocess.DEVNULL, start_new_session=True
            )
            _signal_all(running[name].pid, signal.SIGSTOP)
        while running:
            for name, process in list(running.items()):
                start = time.perf_counter()
                _signal_all(process.pid, signal.SIGCONT)
                if _ended(process, turn_s, used[name]):
                    del running[name]
                else:
                    _signal_all(process.pid, signal.SIGSTOP)
                used[name].wall_s += time.perf_counter() - start
                if process.returncode:
                    raise SystemExit(f"{name} failed with {process.returncode}: {arms[name].command}")
    finally:
        for process in running.values():
            _signal_all(process.pid, signal.SIGKILL)
            process.wait()
    return used


def _ended(process: subprocess.Popen, turn_s: float, used: Used) -> bool:
    """Whether a program ended within its turn; if so, what it used."""
    until = time.perf_counter() + turn_s
    while time.perf_counter() < until:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            used.processor_s = usage.ru_utime + usage.ru_stime
            return True
        time.sleep(_POLL_S)
    return False


def _signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to a program and to all below it, also to what they start meanwhile."""
    sent: set[int] = set()
    while new := _tree(pid) - sent:
        # the parent first: it starts nothing more
        for each in sorted(new):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        sent |= new


def _tree(pid: int) -> set[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return set()
