"""Read FireWorks' launch documents, and the newest attempt of a firework."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo.database import Database

from gst_jobflow.base.disk import DISK_FULL, says_full
from gst_jobflow.documents import now

if TYPE_CHECKING:
    from fireworks import LaunchPad


def newest_attempt(database: Database, fw_id: int) -> dict[str, Any]:
    """Return the newest attempt of a firework; empty without any."""
    return database["attempts"].find_one({"fw_id": fw_id}, sort=[("started_at", -1)]) or {}


def began(launch: dict[str, Any]) -> datetime:
    """Return the start of a launch, at the latest now, in whole milliseconds like attempts."""
    times = [as_time(entry["created_on"]) for entry in launch.get("state_history", []) if entry["state"] == "RUNNING"]
    time = times[-1] if times else now()
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def reservation_of(launch: dict[str, Any]) -> str | None:
    """Return the SLURM job of a reserved launch."""
    ids = [entry["reservation_id"] for entry in launch.get("state_history", []) if entry.get("reservation_id")]
    return str(ids[-1]) if ids else None


def silence_s(launch: dict[str, Any], since: datetime | None = None) -> float:
    """Return the time since the last sign of life of a launch, or since `since` if that is later, s."""
    entries = launch.get("state_history", [])
    times = [as_time(time) for entry in entries for time in (entry.get("created_on"), entry.get("updated_on")) if time]
    return (now() - max([*times, *([since] if since else [])], default=now())).total_seconds()


def as_time(value: Any) -> datetime:
    """Return the time of FireWorks' ISO text or naive time, both UTC."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def traceback_of(launch: dict[str, Any]) -> str:
    """Return the traceback that FireWorks recorded; empty if there is none."""
    stored = (launch.get("action") or {}).get("stored_data") or {}
    return (stored.get("_exception") or {}).get("_stacktrace") or ""


def failure_class_of(launch: dict[str, Any]) -> str:
    """Return the failure class of a launch from its traceback."""
    text = traceback_of(launch)
    if says_full(text):
        return DISK_FULL
    return "database" if "pymongo.errors" in text or "errors.DatabaseError" in text else "unexpected"


def rerun(pad: LaunchPad, fw_id: int) -> None:
    """Let a firework run again; those after it that are paused stay paused, which FireWorks' own `rerun_fw` reverts."""
    workflow = pad.workflows.find_one({"nodes": fw_id}, {"nodes": 1}) or {"nodes": []}
    paused = {"fw_id": {"$in": workflow["nodes"], "$ne": fw_id}, "state": "PAUSED"}
    ids = [firework["fw_id"] for firework in pad.fireworks.find(paused, {"fw_id": 1})]
    pad.rerun_fw(fw_id)
    for other in ids:
        pad.pause_fw(other)
