"""End a fit before the walltime of its job; a continuation starts from the last iteration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.errors import RunError
from gst_jobflow.base.processes import end_programs_in
from gst_jobflow.fitting.progress import progress

Files = TypeVar("Files")


def fit_in_time(fit: Callable[[], Files], directory: Path, deadline: Deadline | None) -> Files | None:
    """Run `fit`; return None if it was stopped early and can be continued.

    pacemaker saves its potential at each iteration, gracemaker at every tenth, so both may be stopped at any time.

    Parameters
    ----------
    fit
        Runs the programs in `directory`.
    directory
        Folder of a new or interrupted fit.
    deadline
        When to stop; None: only on a signal.

    Raises
    ------
    RunError
        The fit failed, or was stopped before it completed one more iteration (class ``no_progress``).
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
                f"no iteration finished within the walltime (iteration {before[1]})",
                "ask for a longer walltime (fits.walltime), more threads or a GPU, or make the fit smaller",
                "no_progress",
            ) from error
        return None


def _come_to(now: dict[str, Any]) -> tuple[int, int]:
    """Return functions and iterations of a fit; a ladder starts to count iterations again on each rung."""
    return now["n_functions"] or 0, now["iteration"] or 0
