"""Run one program of a label: own process group, wall limit, and no orphan when we are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_S = 5.0


@dataclass
class Finished:
    """How a program ended: exit status (negative: minus the signal), and whether the wall limit ended it."""

    returncode: int
    timed_out: bool
    wall_s: float


def run_program(
    command: Sequence[str],
    directory: Path,
    *,
    output: str,
    wall_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Finished:
    """Run `command` in `directory`, stdout and stderr into the file `output` there.

    Parameters
    ----------
    wall_limit_s
        After it the whole process group gets SIGTERM and, five seconds later, SIGKILL.
    environment
        Added to ours.
    death_signal
        What the program gets when we die. SIGTERM for mpirun, which passes it to its ranks.

    Raises
    ------
    FileNotFoundError
        The program is not there.
    """
    start = time.monotonic()
    with (Path(directory) / output).open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=prepare_child(death_signal),
        )
    timed_out = False
    try:
        process.wait(timeout=wall_limit_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        end_group(process)
    return Finished(process.returncode, timed_out, time.monotonic() - start)


def end_group(process: subprocess.Popen) -> None:
    """End what is left of the process group that `process` leads: SIGTERM, a grace time, SIGKILL."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # the group is gone when its leader and all its members have been waited for
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def prepare_child(number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn`: the child gets `number` when we die. libc is loaded before the fork."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number))
        # we may have died before the call above: then nobody is left to signal us
        if os.getppid() != parent:
            os._exit(1)

    return prepare
