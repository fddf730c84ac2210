"""Small jobs of chaos_launch's studies, which nodes import from here."""

from __future__ import annotations

import time
from typing import Any

from _chaos_calculator import note
from jobflow import Flow, Response, job

from gst_jobflow.base.categories import in_category


@job
@in_category("analysis")
def small(key: str, number: int, seconds: float, ledger: str, after: Any = None) -> dict[str, Any]:
    """Square a number, with a delay; `after` is only a dependency."""
    note(ledger, key)
    time.sleep(seconds)
    return {"key": key, "square": number**2}


@job
@in_category("analysis")
def grow(keys: list[str], seconds: float, ledger: str) -> Response:
    """Add jobs at run time."""
    return Response(replace=Flow([small(key, len(key), seconds, ledger) for key in keys]))
