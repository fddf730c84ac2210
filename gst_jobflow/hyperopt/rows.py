"""Read the rows of a search's table: the best one, the front and the progress. Imports little."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.database import Database

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


def searches(database: Database) -> list[dict[str, Any]]:
    """Return the progress of unfinished searches: `id, name, n_fits, n_ended, n_running, n_failed, best_loss`."""
    rows = []
    unfinished = {"kind": "hyperopt", "state": {"$in": ["waiting", "running"]}}
    for study in database["studies"].find(unfinished, {"name": 1, "table": 1}).sort("created_at", 1):
        states = [row["state"] for row in study["table"]]
        best = best_row(study["table"])
        rows.append(
            {
                "id": study["_id"],
                "name": study["name"],
                "n_fits": len(states),
                "n_ended": sum(state in ENDED for state in states),
                "n_running": states.count("running"),
                "n_failed": states.count("failed"),
                "best_loss": best["loss"] if best else None,
                "best_fit": best["trial"] + 1 if best else None,
            }
        )
    return rows
