"""Read the rows of a search's table: the best one and the front. Imports little."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gst_jobflow.documents import derive_id

Row = Mapping[str, Any]
"""A trial: `trial`, `state`, `from`, `values` in the order of the space's names, and its results."""

ENDED = ("finished", "failed")


def trial_uuid(study_id: str, trial: int) -> str:
    """Return the uuid of a trial's job, which its potential and attempts carry, too."""
    return str(uuid.UUID(derive_id("trial", study_id, trial)))


def best_row(rows: Sequence[Row]) -> Row | None:
    """Return the first finished row with the smallest loss; None if none has finished."""
    finished = [row for row in rows if row["state"] == "finished"]
    return min(finished, key=lambda row: (row["loss"], row["trial"])) if finished else None


def front(rows: Sequence[Row]) -> list[int]:
    """Return the trials that no other beats in both loss and cost, by growing cost."""
    found: list[int] = []
    lowest = math.inf
    measured = [row for row in rows if row["state"] == "finished" and row.get("cost") is not None]
    for row in sorted(measured, key=lambda row: (row["cost"], row["loss"], row["trial"])):
        if row["loss"] < lowest:
            lowest = row["loss"]
            found.append(row["trial"])
    return found
