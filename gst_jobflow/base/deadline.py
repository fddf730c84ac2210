"""When the running job has to end, and who may ask it to stop earlier.

A job that knows its end stops in order before it, and goes on in a continuation: nothing is cut off by the queue.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)

STOP_SIGNAL = signal.SIGUSR1
"""Asks the running job to stop in order and go on in a continuation."""
_MOST_MARGIN_S = 120.0
_MARGIN_SHARE = 0.1
# the queue ends a job this long after its end at most (KillWait); a SIGTERM within it is that of the walltime
_OF_THE_QUEUE_S = 60.0


@dataclass(frozen=True)
class Deadline:
    """When a job ends: `end` by the queue, `stop` for our programs; both s since the epoch.

    What lies between is for collecting, storing and checking in: a tenth of the allocation, at most two minutes.
    """

    end: float
    length_s: float

    @property
    def stop(self) -> float:
        return self.end - min(_MOST_MARGIN_S, _MARGIN_SHARE * self.length_s)

    def left_s(self) -> float:
        """Time that programs have left, s; negative when it is over."""
        return self.stop - time.time()

    def is_near(self) -> bool:
        """Whether a SIGTERM that comes now is that of the walltime."""
        return time.time() > min(self.stop, self.end - _OF_THE_QUEUE_S)


def job_deadline(began: float, walltime: str | None, environment: Mapping[str, str] = os.environ) -> Deadline | None:
    """Return when the running job has to end; None where nothing limits it.

    Parameters
    ----------
    began
        When the job began, s since the epoch.
    walltime
        The setting ``launch.walltime`` for jobs outside of a queue, ``HH:MM:SS`` or ``D-HH:MM:SS``.
    environment
        A SLURM job's own end wins.
    """
    if environment.get("SLURM_JOB_ID"):
        found = _slurm_end(environment)
        if found is None:
            return None
        return Deadline(found, found - float(environment.get("SLURM_JOB_START_TIME") or min(began, found)))
    if walltime is None:
        return None
    length_s = walltime_s(walltime)
    return Deadline(began + length_s, length_s)


def walltime_s(text: str) -> float:
    """Return the seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return float(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds)


def _slurm_end(environment: Mapping[str, str]) -> float | None:
    if given := environment.get("SLURM_JOB_END_TIME"):
        return float(given)
    # versions before 22.05 do not tell; what is left, as D-HH:MM:SS, MM:SS or UNLIMITED
    command = ["squeue", "--noheader", "--format=%L", f"--jobs={environment['SLURM_JOB_ID']}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        clock = answer if answer.count(":") == 2 else f"0:{answer}"
        return time.time() + walltime_s(clock)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("SLURM does not say when this job ends (%s): it cannot stop in time", error)
        return None


@contextmanager
def stopped_in_time(
    deadline: Deadline | None, ask: Callable[[], None], lead_s: Callable[[], float] = lambda: 0.0
) -> Iterator[None]:
    """Call `ask` when what runs inside should come to its end: time is short, or a signal says so.

    SIGUSR1 asks for it at any time. SIGTERM does so where the walltime is near; at any other time it means what it
    always means (the end of this process), but `ask` is called first, so that a program that is quick may save itself.

    Parameters
    ----------
    deadline
        None: only signals ask.
    ask
        Is called once or more, also from another thread; must be quick.
    lead_s
        How long before ``deadline.stop`` to ask, s; looked at every second.
    """
    over = threading.Event()

    def on_term(*_: object) -> None:
        ask()
        if deadline is None or not deadline.is_near():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def watch() -> None:
        while deadline is not None and not over.wait(min(1.0, max(0.05, 0.02 * deadline.length_s))):
            if deadline.left_s() <= lead_s():
                ask()
                return

    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    before: dict[signal.Signals, object] = {}
    if threading.current_thread() is threading.main_thread():
        # handlers are of the main thread only; elsewhere the clock still works
        before[STOP_SIGNAL] = signal.signal(STOP_SIGNAL, lambda *_: ask())
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, on_term)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
