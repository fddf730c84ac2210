"""Import documents that fill up over time: later states of studies, cycles and attempts, analyses of trajectories."""

from __future__ import annotations

from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, WriteError

from gst_jobflow.analysis.series import FRAMES
from gst_jobflow.documents import Document, Trajectory
from gst_jobflow.store.write import refused_by_server

_STATES = {"waiting": 0, "running": 1, "lost": 2, "failed": 3, "finished": 4}


def put_mutable(database: Database, document: Document) -> Literal["new", "known", "replaced", "differs"]:
    """Insert a mutable document, or replace an earlier state of it as a whole; a trajectory gains missing analyses.

    Returns `new`, `replaced`, `known` (the database has the same or a later state), or `differs` (it has another one,
    which stays, since neither is later).
    """
    collection = database[document.collection]
    fields = document.to_mongo()
    try:
        while True:
            known = collection.find_one({"_id": document.id})
            if known is None:
                try:
                    collection.insert_one(fields)
                except DuplicateKeyError:
                    continue  # another process was first
                return "new"
            if isinstance(document, Trajectory):
                missing = _missing_rows(fields["analysis"], known["analysis"])
                if missing:
                    collection.update_one({"_id": document.id}, {"$set": missing})
                return "replaced" if missing else "known"
            there = type(document).model_validate(known).to_mongo()
            if there == fields:
                return "known"
            ours, theirs = progress_of(there), progress_of(fields)
            if theirs <= ours:
                return "differs" if theirs == ours else "known"
            # replace only the state that was compared: a job may have written meanwhile
            changed = {key: {"$eq": value} for key, value in known.items() if fields.get(key) != there.get(key)}
            if collection.replace_one({"_id": document.id, **changed}, fields).matched_count:
                return "replaced"
    except WriteError as err:
        raise refused_by_server(document.collection, document.id, err) from err


def _missing_rows(analysis: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """Return, by path, the analyses of a run's frames that the database lacks."""
    missing = {}
    for key, series in (analysis.get(FRAMES) or {}).items():
        known = (there.get(FRAMES) or {}).get(key)
        if known is None:
            missing[f"analysis.{FRAMES}.{key}"] = series
            continue
        rows = {step: row for step, row in series["rows"].items() if "problem" in known["rows"].get(step, {"problem"})}
        missing |= {f"analysis.{FRAMES}.{key}.rows.{step}": row for step, row in rows.items() if "problem" not in row}
    return missing


def progress_of(values: dict[str, Any]) -> tuple[Any, ...]:
    """Return the progress of a stored study, cycle or attempt as a tuple that compares."""
    state = _STATES[values["state"]]
    if "operations" in values:
        states = [operation["state"] for operation in values["operations"]]
        # a rerun may finish a failed operation, but not the other way round
        return (states.count("finished") + states.count("skipped"), states.count("failed"), state)
    if "members" in values:
        return (state, len(values["members"]), len(values["table"]), values.get("report") is not None)
    return (state, values.get("ended_at") is not None)
