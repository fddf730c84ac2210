"""What a project does now: running, waiting and failed jobs, what to do, and how much there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pymongo.database import Database

from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.hyperopt.rows import searches
from gst_jobflow.launch.status import next_steps, status
from gst_jobflow.report import words
from gst_jobflow.report.pages.elements import Table
from gst_jobflow.report.web import listing

Detail = Callable[[str, Path], str]
"""Describes in a few words how far the job of a name in a directory is."""

_LISTED = 50
_NEWEST = 10
_STATES = {
    "RUNNING": "running", "RESERVED": "in SLURM's queue", "READY": "ready to run", "WAITING": "waiting for others",
    "PAUSED": "paused", "FIZZLED": "failed", "DEFUSED": "cancelled", "COMPLETED": "done", "ARCHIVED": "archived",
}  # fmt: skip
_TILES = ("RUNNING", "RESERVED", "READY", "WAITING", "PAUSED", "FIZZLED", "DEFUSED", "COMPLETED")


def overview(database: Database, detail: Detail) -> dict[str, Any]:
    """Return the content of the first page."""
    report = status(database, ask_slurm=True, at_most=_LISTED)
    counts = report["counts"]
    shown = [name for name in _TILES if counts.get(name) or name in ("RUNNING", "FIZZLED")]
    return {
        "tiles": [(f"{counts.get(name, 0):,}", _STATES[name], name.lower()) for name in shown],
        "next": next_steps(counts),
        "failures": _failures(report["failures"]),
        "running": _running(report["running"], detail),
        "queued": _queued(report["queued"]),
        "hidden": {key: max(0, counts.get(name, 0) - _LISTED) for key, name in _HIDDEN.items()},
        "searches": _searches(database),
        "studies": _unfinished(database),
        "newest": _newest(database),
        "stored": [(f"{database[name].estimated_document_count():,}", name) for name in DOCUMENTS],
    }


_HIDDEN = {"failures": "FIZZLED", "running": "RUNNING", "queued": "RESERVED"}


def _failures(failures: list[dict[str, Any]]) -> Table:
    rows = [[_job(bad), bad["name"], bad["class"], bad["reason"], bad["fix"]] for bad in reversed(failures)]
    return Table(["firework", "job", "class", "reason", "what to do"], rows)


def _running(running: list[dict[str, Any]], detail: Detail) -> Table:
    rows = []
    for run in running:
        host = f"{run['host'] or '–'}" + (f" (job {run['slurm_job_id']})" if run["slurm_job_id"] else "")
        since = run["started_at"]
        took = "–" if since is None else words.duration((datetime.now(UTC) - since).total_seconds())
        ends = listing.time_cell(run["expected_end"])
        rows.append([_job(run), run["name"], _progress(run, detail), took, ends, host, words.number(run["number"])])
    return Table(["firework", "job", "progress", "for", "ends by", "host", "attempt"], rows, frozenset({6}))


def _progress(run: dict[str, Any], detail: Detail) -> str:
    if not run["directory"]:
        return "–"
    try:
        return detail(run["name"], Path(run["directory"])) or "–"
    except Exception:  # files of a running job may be half written or on another host
        return "–"


def _queued(queued: list[dict[str, Any]]) -> Table:
    rows = [
        [_job(each), each["name"], each["slurm_job_id"] or "–", each["reason"] or "–",
         listing.time_cell(each["expected_start"])]
        for each in queued
    ]  # fmt: skip
    return Table(["firework", "job", "SLURM job", "waits for", "starts"], rows)


def _job(job: dict[str, Any]) -> Any:
    return Markup('<a href="/attempts?firework={0}">{0}</a>').format(job["firework_id"])


def _searches(database: Database) -> Table:
    rows = [
        [listing.link("studies", each["id"], each["name"]), f"{each['n_ended']} of {each['n_fits']}",
         words.number(each["n_failed"]), words.number(each["best_loss"]), words.number(each["best_fit"])]
        for each in searches(database)
    ]  # fmt: skip
    return Table(["search", "fits done", "failed", "best loss", "best fit"], rows, frozenset({1, 2, 3, 4}))


def _unfinished(database: Database) -> Table:
    """Tabulate studies and cycles that are not finished."""
    rows = []
    for collection, key, kinds, what in (
        ("studies", "kind", listing.LISTINGS["studies"].choices[1], "study"),
        ("cycles", "device", ("cross-point", "mushroom"), "cycle"),
    ):
        where = {key: {"$in": [*kinds]}, "state": {"$in": ["waiting", "running"]}}
        for each in database[collection].find(where, {"name": 1, key: 1, "state": 1}).limit(_LISTED):
            name, state = listing.link(collection, each["_id"], each["name"]), listing.state(each["state"])
            rows.append([name, f"{each[key]} {what}", state])
    return Table(["name", "what", "state"], rows)


def _newest(database: Database) -> Table:
    found = (
        database["attempts"].find({}, dict.fromkeys(listing.ATTEMPT_FIELDS, 1)).sort("created_at", -1).limit(_NEWEST)
    )
    return Table([*listing.ATTEMPT_COLUMNS], [listing.attempt_row(each, {}) for each in found], frozenset({1, 2, 5}))
