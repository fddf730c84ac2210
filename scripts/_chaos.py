"""Share helpers of the chaos scripts: their exception, output, and SIGKILL to process trees."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

import psutil


class Failed(Exception):
    """A requirement is violated."""


def say(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def kill_with_all(process: subprocess.Popen[Any]) -> int:
    """Kill a process started in its own group, with all its descendants; return their number."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    late: list[psutil.Process] = []
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            # children started meanwhile
            late += each.children(recursive=True)
            each.kill()
    for each in late:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    return len(tree)
