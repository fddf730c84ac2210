"""What the chaos scripts share: their failure, what they print, and SIGKILL to what they started."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

import psutil


class Failed(Exception):
    """What should have held did not."""


def say(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def kill_with_all(process: subprocess.Popen[Any]) -> int:
    """Kill a process that was started in a group of its own, and all that it started; how many these were."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    late: list[psutil.Process] = []
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            # what it began since the look at the whole tree
            late += each.children(recursive=True)
            each.kill()
    for each in late:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    return len(tree)
