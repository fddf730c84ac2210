"""Run many small protocols side by side, each on one core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.dynamics.deck import STOP_REQUEST
from gst_jobflow.dynamics.result import ProtocolResult

T = TypeVar("T")
_POLL_S = 0.2
# ends that say nothing about the potential: the job fails, and is run again
_NOT_PHYSICS = ("killed", "out_of_memory", "disk_full", "bad_input")


def run_side_by_side(
    items: Iterable[T],
    prepare: Callable[[T], Callable[[], ProtocolResult] | None],
    store: Callable[[T, ProtocolResult], None],
    directory: Path,
    places: int,
    deadline: Deadline | None = None,
) -> bool:
    """Run all items, `places` at a time: LAMMPS in threads, everything else in this one.

    Parameters
    ----------
    prepare
        Returns the run of an item, which works in a folder of its own in `directory`; None leaves the item out.
    store
        Stores the result of a run that has ended, whether it finished or failed.
    deadline
        End of this process; runs stop at a restart file before it.

    Returns
    -------
    bool
        False if time was short: some items are left, or stopped on their way.

    Raises
    ------
    RunError
        LAMMPS was killed or could not run, which says nothing about a potential.
    """
    return _SideBySide(iter(items), prepare, store, directory, places).run(deadline)


@dataclass
class _SideBySide(Generic[T]):
    waiting: Iterator[T]
    prepare: Callable[[T], Callable[[], ProtocolResult] | None]
    store: Callable[[T, ProtocolResult], None]
    directory: Path
    places: int
    running: dict[Future[ProtocolResult], T] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    cut: bool = False

    def run(self, deadline: Deadline | None) -> bool:
        with ThreadPoolExecutor(self.places) as pool, stopped_in_time(deadline, self._ask):
            self._begin(pool)
            while self.running:
                done, _ = wait(self.running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                try:
                    for future in done:
                        self._end(self.running.pop(future), future.result())
                    self._begin(pool)
                except BaseException:
                    # the others stop at their next restart file, from which the job's next attempt goes on
                    self._ask()
                    raise
        return not self.cut and next(self.waiting, None) is None

    def _ask(self) -> None:
        """Ask every run to stop at its next restart file."""
        self.stop.set()
        for segment in self.directory.glob("*/segment_*"):
            (segment / STOP_REQUEST).touch()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        while len(self.running) < self.places and not self.stop.is_set():
            if (item := next(self.waiting, None)) is None:
                return
            if (run := self.prepare(item)) is not None:
                self.running[pool.submit(run)] = item

    def _end(self, item: T, result: ProtocolResult) -> None:
        if result.goes_on:
            self.cut = True
            return
        if result.failure_class in _NOT_PHYSICS:
            result.require_success()
        self.store(item, result)
