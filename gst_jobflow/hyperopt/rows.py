"""What the rows of a search's table say: the best, the front; nothing is computed and little imported for it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gst_jobflow.documents import derive_id

Row = Mapping[str, Any]
"""A trial: `trial`, `state`, `from`, `values` in the order of the space's names, and what came of it."""

ENDED = ("finished", "failed")


def trial_uuid(study_id: str, trial: int) -> str:
    """The uuid of a trial's job; its potential and its attempts carry it, too."""
    return str(uuid.UUID(derive_id("trial", study_id, trial)))


def best_row(rows: Sequence[Row]) -> Row | None:
    """The finished row of the smallest loss, the first of equals."""
    finished = [row for row in rows if row["state"] == "finished"]
    return min(finished, key=lambda row: (row["loss"], row["trial"])) if finished else None


def front(rows: Sequence[Row]) -> list[int]:
    """Trials that no other beats in both loss and cost, by growing cost."""
    found: list[int] = []
    lowest = math.inf
    measured = [row for row in rows if row["state"] == "finished" and row.get("cost") is not None]
    for row in sorted(measured, key=lambda row: (row["cost"], row["loss"], row["trial"])):
        if row["loss"] < lowest:
            lowest = row["loss"]
            found.append(row["trial"])
    return found
