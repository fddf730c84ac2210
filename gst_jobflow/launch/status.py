"""What runs, waits and failed, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.database import Database

_WAY_OUT = "mend the cause, then: gst recover --failed"


def status(database: Database, fw_ids: list[int] | None = None) -> dict[str, Any]:
    """Counts of firework states, the failures with reasons, and what runs now.

    Returns
    -------
    dict
        `counts{STATE: n}`, `failures[{firework_id, name, class, reason, fix}]`,
        `running[{firework_id, name, host, started_at, directory}]`.
    """
    where: dict[str, Any] = {"fw_id": {"$in": fw_ids}} if fw_ids is not None else {}
    fireworks = list(database["fireworks"].find(where, {"fw_id": 1, "name": 1, "state": 1}).sort("fw_id", 1))
    counts = Counter(firework["state"] for firework in fireworks)
    failures = [_failure(database, firework) for firework in fireworks if firework["state"] == "FIZZLED"]
    running = [_running(database, firework) for firework in fireworks if firework["state"] == "RUNNING"]
    return {"counts": dict(counts), "failures": failures, "running": running}


def _last_attempt(database: Database, fw_id: int) -> dict[str, Any]:
    return database["attempts"].find_one({"fw_id": fw_id}, sort=[("started_at", -1)]) or {}


def _failure(database: Database, firework: dict[str, Any]) -> dict[str, Any]:
    attempt = _last_attempt(database, firework["fw_id"])
    return {
        "firework_id": firework["fw_id"],
        "name": firework["name"],
        "class": attempt.get("failure_class") or "unexpected",
        "reason": attempt.get("reason") or "no attempt was recorded: see the worker's log",
        "fix": attempt.get("fix") or _WAY_OUT,
        "directory": attempt.get("directory", ""),
    }


def _running(database: Database, firework: dict[str, Any]) -> dict[str, Any]:
    attempt = _last_attempt(database, firework["fw_id"])
    keys = ("host", "started_at", "directory", "number")
    return {"firework_id": firework["fw_id"], "name": firework["name"], **{key: attempt.get(key) for key in keys}}
