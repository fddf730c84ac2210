"""Start and end programs: children die with their parent, groups end as a whole, and a pid alone is no identity."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from gst_jobflow.base.errors import MissingProgramError

_PR_SET_PDEATHSIG = 1
# the kernel reuses pids; two starts of the same pid differ by more than this
_SAME_START_S = 2.0
_POLL_S = 0.05
# loaded early, since a child may not load libraries between fork and exec
_LIBC = ctypes.CDLL(None, use_errno=True)


def words_of(command: str | Path | Sequence[str], what: str, fix: str) -> list[str]:
    """Return the words of a command whose first word is a program that runs here; a path is one word.

    Raises
    ------
    MissingProgramError
        There is no such program, it is not executable, or a quote is open; `what` names the command, `fix` the remedy.
    """
    whole = [command] if isinstance(command, Path) else command
    try:
        words = shlex.split(whole) if isinstance(whole, str) else [str(word) for word in whole]
    except ValueError as error:
        raise MissingProgramError(f"{what} '{command}': {str(error).lower()}", fix) from error
    program = words[0] if words else ""
    if shutil.which(program) is None:
        why = f"'{program}' is not executable" if Path(program).is_file() else f"no program '{program}'"
        raise MissingProgramError(f"{what} '{shlex.join(words)}': {why}", fix)
    return words


def die_with_parent(ending: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess.Popen`, or an initializer of a pool: the child gets `ending` when its
    parent ends.

    This works even if SIGKILL ends the parent. The kernel watches the *thread* that started the child, so start long
    runs from a thread that outlives them. Grandchildren are not covered: give the child its own session and end it by
    `end_group`.
    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    return partial(_die_with, os.getpid(), ending)


def _die_with(parent: int, ending: signal.Signals) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(ending), 0, 0, 0)
    # the parent may have ended before the line above
    if os.getppid() != parent:
        os._exit(1)


def is_alive(pid: int | None, started_at: float | None = None) -> bool:
    """Whether a process of this id runs (zombies do not) and started then, s since the epoch; None: at any time."""
    if not pid or pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return started_at is None or abs(process.create_time() - started_at) <= _SAME_START_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def members(pgid: int) -> Iterator[int]:
    """Yield the pids of the living processes in group `pgid`."""
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == pgid and is_alive(pid):
                yield pid
        except (ProcessLookupError, PermissionError):
            continue


def end_group(pgid: int, grace_s: float = 5.0) -> bool:
    """End process group `pgid` by SIGTERM, then by SIGKILL after `grace_s`; return whether it had members.

    Our own group, or none, is a ValueError: ending it would end this process.
    """
    if pgid <= 1 or pgid == os.getpgrp():
        raise ValueError(f"process group {pgid} is not one of a child in its own group")
    if not any(True for _ in members(pgid)):
        return False
    for ending, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pgid, ending)
        except ProcessLookupError:
            return True
        if _gone(pgid, wait_s):
            break
    return True


def end_programs_in(directories: Iterable[Path]) -> None:
    """End the process groups of our children that work inside one of `directories`."""
    folders = [Path(directory).resolve() for directory in directories]
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            inside = any(Path(child.cwd()).is_relative_to(folder) for folder in folders)
            if inside and os.getpgid(child.pid) == child.pid:
                end_group(child.pid)


def _gone(pgid: int, wait_s: float) -> bool:
    deadline, pause_s = time.monotonic() + wait_s, _POLL_S / 16
    while any(True for _ in members(pgid)):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)
    return True


@dataclass(frozen=True)
class Finished:
    """The end of a program: exit status (minus the signal number if negative), and whether the wall limit ended it."""

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
    started: Callable[[int], None] | None = None,
) -> Finished:
    """Run `command` in `directory` to its end, with stdout and stderr written to the file `output` there.

    The program ends with us, whether by an exception, a signal or SIGKILL. Leftovers of its process group end with it.

    Parameters
    ----------
    wall_limit_s
        Limit after which the process group gets SIGTERM and, five seconds later, SIGKILL.
    environment
        The complete environment; None: inherit ours.
    death_signal
        Signal that the program gets when we die; SIGTERM for mpirun, which passes it to its ranks.
    started
        Called with the process id, which is also the process group.

    Raises
    ------
    OSError
        The program cannot be started.
    """
    start, timed_out = time.monotonic(), False
    with (Path(directory) / output).open("wb") as stream:
        process = subprocess.Popen(
            list(command), cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent(death_signal),
        )  # fmt: skip
    try:
        if started:
            started(process.pid)
        process.wait(timeout=wall_limit_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        end_group(process.pid)
        process.wait()
    return Finished(process.returncode, timed_out, time.monotonic() - start)
