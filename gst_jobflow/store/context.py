"""Where a running job finds its project and its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gst_jobflow.store.results import Results


def job_results() -> Results:
    """Results for a job: what it writes goes to a manifest in its launch directory (the current one) first."""
    from gst_jobflow.settings import find_project
    from gst_jobflow.store.results import Results

    return Results.open(find_project(), spool_dir=Path.cwd())
