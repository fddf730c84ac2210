"""Run one program of a fit: own process group, time limit, and no orphan when we are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_S = 5.0


def run_in_group(
    command: Sequence[str],
    directory: Path,
    output: Path,
    environment: Mapping[str, str],
    timeout_s: float | None = None,
) -> int | None:
    """Run `command` to its end and return its exit status, or None when the time limit ended it.

    Parameters
    ----------
    output
        File for stdout and stderr.
    environment
        The whole environment of the program.
    timeout_s
        After it the process group gets SIGTERM, and SIGKILL five seconds later. Whatever ends us (an exception, a
        signal, SIGKILL) ends the program too.

    Raises
    ------
    OSError
        If the program cannot be started.
    """
    with output.open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group that `process` leads."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _die_with_parent():
    """Return what the child runs before exec, so that the kernel ends it when our process dies (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # the parent may have died between fork and the line above; then no signal will ever come
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
