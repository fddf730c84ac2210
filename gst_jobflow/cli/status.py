"""`gst status`: show running, waiting and failed jobs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table
from gst_jobflow.cli.option_group import option
from gst_jobflow.hyperopt.rows import searches
from gst_jobflow.launch.status import next_steps, status
from gst_jobflow.store.connect import connect

_WATCH_S = 10.0


def command(
    as_json: JsonOption = False,
    watch: bool = option("Repeat every ten seconds until Ctrl-C.", "--watch", "-w", default=False),
) -> None:
    """Show running, waiting and failed jobs, and what to do about failures. Exits 1 if a job failed."""
    database = connect(open_project())
    while True:
        report = {**status(database, ask_slurm=True), "searches": searches(database)}
        for run in report["running"]:
            run["progress"] = _progress(run)
        if as_json:
            print_json(report)
        else:
            if watch:
                Console().clear()
                typer.echo(f"{datetime.now():%H:%M:%S}")
            _print(report)
        if not watch:
            break
        time.sleep(_WATCH_S)
    if report["failures"]:
        raise typer.Exit(1)


def _print(report: dict[str, Any]) -> None:
    counts = report["counts"]
    if counts:
        typer.echo("  ".join(f"{state.lower()} {number}" for state, number in sorted(counts.items())))
    if report["running"]:
        rows = [_running(run) for run in report["running"]]
        print_table(rows, ["id", "running", "host", "attempt", "for", "ends by", "progress", "directory"])
    for search in report["searches"]:
        best = f"; best loss {search['best_loss']:.4g} (fit {search['best_fit']})" if search["best_fit"] else ""
        failed = f", {search['n_failed']} of them failed" if search["n_failed"] else ""
        typer.echo(f"{search['name']}: {search['n_ended']} of {search['n_fits']} fits{failed}{best}")
    if report["queued"]:
        rows = [
            [job["firework_id"], job["name"], job["slurm_job_id"], job["reason"], _clock(job["expected_start"])]
            for job in report["queued"]
        ]
        print_table(rows, ["id", "in the queue", "SLURM job", "waits for", "starts"])
    if report["failures"]:
        rows = [
            [bad["firework_id"], bad["name"], bad["class"], bad["reason"], bad["fix"]] for bad in report["failures"]
        ]
        print_table(rows, ["id", "failed", "class", "reason", "what to do"])
    for line in next_steps(counts):
        typer.echo(line)


def _progress(run: dict[str, Any]) -> str:
    """Describe how far a job is, from its files; empty if unknown."""
    if not run["directory"]:
        return ""
    # jobflow would slow a look at an idle project
    from gst_jobflow.flows.details import detail

    return detail(run["name"], Path(run["directory"]))


def _running(run: dict[str, Any]) -> list[Any]:
    host = run["host"] if not run["slurm_job_id"] else f"{run['host']} (job {run['slurm_job_id']})"
    since = run["started_at"]
    took = "" if since is None else _minutes((datetime.now(UTC) - since).total_seconds())
    return [
        run["firework_id"], run["name"], host, run["number"], took, _clock(run["expected_end"]), run["progress"],
        run["directory"],
    ]  # fmt: skip


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours}:{minutes:02d} h" if hours else f"{int(seconds) // 60} min" if seconds >= 60 else f"{seconds:.0f} s"


def _clock(time_utc: datetime | None) -> str:
    return "" if time_utc is None else f"{time_utc.astimezone():%a %H:%M}"
