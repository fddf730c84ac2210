"""A fit that ends before its job does, so that a continuation goes on from its last iteration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gst_jobflow.base.deadline import stopped_in_time
from gst_jobflow.base.errors import RunError
from gst_jobflow.base.processes import end_programs_in
from gst_jobflow.fitting.progress import progress

if TYPE_CHECKING:
    from gst_jobflow.base.deadline import Deadline

Files = TypeVar("Files")


def fit_in_time(fit: Callable[[], Files], directory: Path, deadline: Deadline | None) -> Files | None:
    """Run `fit`; None where it was ended before it was done, and has iterations to go on from.

    pacemaker writes its potential at each iteration, gracemaker at each tenth, so they may be ended at any time.

    Parameters
    ----------
    fit
        Runs the programs in `directory`.
    directory
        Of the fit, new or interrupted.
    deadline
        None: only a signal ends it.

    Raises
    ------
    RunError
        It was ended before one more iteration (class ``no_progress``), or it failed.
    """
    asked = threading.Event()
    before = _come_to(progress(directory))

    def ask() -> None:
        asked.set()
        end_programs_in([directory])

    try:
        with stopped_in_time(deadline, ask):
            return fit()
    except RunError as error:
        if not asked.is_set():
            raise
        now = progress(directory)
        if now["stage"] in ("waiting", "preparing", "fitting") and _come_to(now) <= before:
            raise RunError(
                f"not one iteration came to its end before the walltime (iteration {before[1]})",
                "ask for a longer walltime (fits.walltime), more threads or a GPU, or make the fit smaller",
                "no_progress",
            ) from error
        return None


def _come_to(now: dict[str, Any]) -> tuple[int, int]:
    """How far a fit is: functions, for a ladder counts its iterations on each rung, and iterations."""
    return now["n_functions"] or 0, now["iteration"] or 0
