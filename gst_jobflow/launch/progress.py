"""Report the progress of a workflow: a line when a job ends, and the state of running jobs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo.database import Database

from gst_jobflow.documents import now
from gst_jobflow.launch.keys import STUDY_KEY
from gst_jobflow.launch.launches import newest_attempt

Detail = Callable[[str, Path], str]
"""Describes in a few words how far a job with this name and launch directory is; empty if unknown."""

_EVERY_S = 15.0


class Progress:
    """Watch fireworks, and those that running jobs add, and report on stderr."""

    def __init__(self, database: Database, fw_ids: list[int], detail: Detail) -> None:
        self.database, self.fw_ids, self.detail = database, fw_ids, detail
        # FireWorks numbers upwards
        self._newest = max(self._nodes(), default=0)
        self._states: dict[int, str] = {}
        self._last_line = 0.0
        self._on_terminal = sys.stderr.isatty()

    def tick(self) -> None:
        """Print what has changed."""
        self.fw_ids = sorted({*self.fw_ids, *(fw_id for fw_id in self._nodes() if fw_id > self._newest)})
        where = {"fw_id": {"$in": self.fw_ids}}
        fireworks = list(self.database["fireworks"].find(where, {"fw_id": 1, "name": 1, "state": 1}).sort("fw_id", 1))
        done = sum(firework["state"] == "COMPLETED" for firework in fireworks)
        for firework in fireworks:
            before = self._states.get(firework["fw_id"])
            if before != firework["state"] and firework["state"] in ("COMPLETED", "FIZZLED"):
                self._report(f"[{done:>2}/{len(fireworks)}] {self._ended(firework)}")
            self._states[firework["fw_id"]] = firework["state"]
        running = [firework for firework in fireworks if firework["state"] == "RUNNING"]
        self._show_running(running, done, len(fireworks))

    def _nodes(self) -> list[int]:
        """Return all fireworks of the watched workflows, and of later ones that belong to the same study."""
        collection, watched = self.database["workflows"], {"nodes": {"$in": self.fw_ids}}
        of_study = f"metadata.{STUDY_KEY}"
        studies = [study for study in collection.distinct(of_study, watched) if study]
        workflows = collection.find({"$or": [watched, {of_study: {"$in": studies}}]}, {"nodes": 1})
        return [fw_id for workflow in workflows for fw_id in workflow["nodes"]]

    def _ended(self, firework: dict[str, Any]) -> str:
        attempt = newest_attempt(self.database, firework["fw_id"])
        seconds = _seconds(attempt)
        took = f" in {seconds:.0f} s" if seconds is not None else ""
        if firework["state"] == "COMPLETED":
            return f"{firework['name']}: done{took}"
        return f"{firework['name']}: FAILED{took}: {attempt.get('reason', 'no reason was recorded')}"

    def _show_running(self, running: list[dict[str, Any]], done: int, total: int) -> None:
        if not running or (not self._on_terminal and time.monotonic() - self._last_line < _EVERY_S):
            return
        words = []
        for firework in running:
            attempt = newest_attempt(self.database, firework["fw_id"])
            detail = self.detail(firework["name"], Path(attempt["directory"])) if attempt else ""
            words.append(f"{firework['name']}" + (f" ({detail})" if detail else ""))
        line = f"[{done:>2}/{total}] running: {', '.join(words)}"
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[2K{line[:150]}")
            sys.stderr.flush()
        else:
            self._report(line)
        self._last_line = time.monotonic()

    def _report(self, line: str) -> None:
        sys.stderr.write((f"\r\x1b[2K{line}\n") if self._on_terminal else f"{line}\n")
        sys.stderr.flush()


def _seconds(attempt: dict[str, Any]) -> float | None:
    started = attempt.get("started_at")
    return None if started is None else ((attempt.get("ended_at") or now()) - started).total_seconds()


def durations(database: Database, fw_ids: list[int]) -> list[tuple[str, float, int]]:
    """Return name, seconds in ended attempts, and number of attempts of each firework, by first start."""
    rows: dict[int, tuple[str, float, int]] = {}
    for attempt in database["attempts"].find({"fw_id": {"$in": fw_ids}}).sort("started_at", 1):
        name, seconds, number = rows.get(attempt["fw_id"], (attempt["job_name"], 0.0, 0))
        # the end of a lost attempt is unknown
        took = 0.0 if attempt["state"] == "lost" else _seconds(attempt) or 0.0
        rows[attempt["fw_id"]] = (name, seconds + took, number + 1)
    return list(rows.values())
