"""Watch a running run, and ask it to stop early."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gst_jobflow.base.errors import GstError
from gst_jobflow.dynamics.dump import DumpFrame, iter_frames

logger = logging.getLogger(__name__)

Watch = Callable[[Path], str]
"""Reads the folder of a running segment and returns why the run may end; empty: it goes on."""

_EVERY_S = 2.0
# one file a frame: stage and step
_FRAMES = "dump_*_*.lammpstrj.gz"


@contextmanager
def watched(watch: Watch | None, folder: Path, stop: Callable[[], object]) -> Iterator[list[str]]:
    """Call `watch` every two seconds until it gives a reason; then call `stop` and put the reason into the list."""
    enough: list[str] = []
    if watch is None:
        yield enough
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_S):
            try:
                reason = watch(folder)
            except (GstError, OSError, ValueError) as error:
                # a failed look must not end the run
                logger.warning("cannot read the run in %s: %s", folder, error)
                continue
            if reason:
                enough.append(reason)
                stop()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield enough
    finally:
        over.set()
        thread.join()


def newest_dump(folder: Path) -> Path | None:
    """Return the file of the last frame of a running segment, which may still be incomplete."""
    return max(Path(folder).glob(_FRAMES), default=None)


def step_of(path: Path) -> int:
    """Return the step of a frame by the name of its file."""
    return int(path.name.split(".")[0].split("_")[2])


def newest_frame(folder: Path, after: int = -1) -> tuple[int, DumpFrame] | None:
    """Return stage (from 1) and frame: the last whole one later than step `after` of a running segment."""
    for path in reversed(sorted(Path(folder).glob(_FRAMES))):
        if step_of(path) <= after:
            return None
        # the newest file may be incomplete
        frame = next(iter_frames(path), None)
        if frame is not None:
            return int(path.name.split("_")[1]), frame
    return None
