"""Run many small protocols side by side, each on one core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.errors import RunError
from gst_jobflow.dynamics.deck import STOP_REQUEST

if TYPE_CHECKING:
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
    waiting, running, cut = iter(items), dict[Future["ProtocolResult"], T](), False
    stop = threading.Event()

    def ask() -> None:
        stop.set()
        for segment in directory.glob("*/segment_*"):
            (segment / STOP_REQUEST).touch()

    def begin() -> None:
        while len(running) < places and not stop.is_set() and (item := next(waiting, None)) is not None:
            if (run := prepare(item)) is not None:
                running[pool.submit(run)] = item

    with ThreadPoolExecutor(places) as pool, stopped_in_time(deadline, ask):
        begin()
        while running:
            done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            ended = [(running.pop(future), future.result()) for future in done]
            try:
                for item, result in ended:
                    if result.goes_on:
                        cut = True
                        continue
                    if result.failure_class in _NOT_PHYSICS:
                        result.require_success()
                    store(item, result)
            except RunError:
                # the others stop at their next restart file, from which the job's next attempt goes on
                ask()
                raise
            begin()
    return not cut and next(waiting, None) is None
