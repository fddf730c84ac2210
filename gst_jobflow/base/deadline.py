"""Find the end of the running job's time, and stop the job before it; a continuation then goes on."""

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
"""Signal that asks the running job to stop and to go on in a continuation."""
_MOST_MARGIN_S = 120.0
_MARGIN_SHARE = 0.1
# SLURM kills a job at most this long after its end (KillWait), so a SIGTERM within it means the walltime
_OF_THE_QUEUE_S = 60.0


@dataclass(frozen=True)
class Deadline:
    """The end of a job: `end` by the queue, `stop` for the programs it runs; both s since the epoch.

    The time between, a tenth of the allocation but at most two minutes, is for storing results and checking in.
    """

    end: float
    length_s: float

    @property
    def stop(self) -> float:
        return self.end - min(_MOST_MARGIN_S, _MARGIN_SHARE * self.length_s)

    def left_s(self) -> float:
        """Return the time left for programs, s; negative once it is over."""
        return self.stop - time.time()

    def is_near(self) -> bool:
        """Whether a SIGTERM received now means the end of the walltime."""
        return time.time() > min(self.stop, self.end - _OF_THE_QUEUE_S)


def deadline_from(began: float, walltime: str | None, environment: Mapping[str, str] = os.environ) -> Deadline | None:
    """Return when the running job must end, or None if nothing limits it; `began` is its start, s since the epoch.

    A job ends with its SLURM job or, outside a queue, after ``launch.walltime``, ``HH:MM:SS`` or ``D-HH:MM:SS``.
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
    # SLURM before 22.05 sets no variable; squeue prints the time left as D-HH:MM:SS, MM:SS or UNLIMITED
    command = ["squeue", "--noheader", "--format=%L", f"--jobs={environment['SLURM_JOB_ID']}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        clock = answer if answer.count(":") == 2 else f"0:{answer}"
        return time.time() + walltime_s(clock)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("SLURM does not report when this job ends (%s), so the job cannot stop in time", error)
        return None


@contextmanager
def stopped_in_time(
    deadline: Deadline | None, ask: Callable[[], None], lead_s: Callable[[], float] = lambda: 0.0
) -> Iterator[None]:
    """Call `ask` when the body should end because time is short or a signal arrived.

    SIGUSR1 asks at any time, SIGTERM near the end of the walltime. Earlier, SIGTERM ends this process as usual, after
    `ask` so that a quick program can save its state.

    Parameters
    ----------
    deadline
        None: only signals ask.
    ask
        Called once or more, possibly from another thread; must return quickly.
    lead_s
        How long before ``deadline.stop`` to ask, s; evaluated every second.
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
        # only the main thread may install handlers; elsewhere the clock still works
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
