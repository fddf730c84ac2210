"""`gst logs`: show what a job printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import JsonOption, open_project, print_json
from gst_jobflow.cli.option_group import argument, option
from gst_jobflow.flows.details import detail
from gst_jobflow.launch.logs import Log, attempts_of, logs
from gst_jobflow.store.connect import connect


def command(
    job_id: int = argument("Id of the job, as gst status shows it.", default=..., metavar="ID"),
    lines: int = option("Lines of each file.", "--lines", "-n", default=20, min=1),
    attempt: int | None = option("Number of the attempt; default: the last.", min=1),
    as_json: JsonOption = False,
) -> None:
    """Show how each attempt of a job ended, and the last lines that it printed."""
    found = attempts_of(connect(open_project()), job_id)
    if attempt is not None and attempt > len(found):
        raise InputError(
            f"job {job_id} has {counted(len(found), 'attempt')}, not {attempt}", "omit --attempt for the last one"
        )
    chosen = found[(attempt or len(found)) - 1]
    shown, gone = [], None
    try:
        shown = logs(Path(chosen["directory"]), lines)
    except DataError as err:
        # show first what the database holds
        gone = err
    at = detail(chosen["job_name"], Path(chosen["directory"])) if chosen["state"] == "running" else ""
    if as_json:
        fields = ("number", "state", "host", "slurm_job_id", "failure_class", "reason", "directory")
        print_json(
            {
                "attempts": [{name: each.get(name) for name in fields} for each in found],
                "progress": at,
                "logs": [{"file": log.file, "lines": log.lines} for log in shown],
            }
        )
    else:
        _print(found, chosen["directory"], at, shown)
    if gone is not None:
        raise gone


def _print(found: list[dict[str, Any]], directory: str, at: str, shown: list[Log]) -> None:
    for each in found:
        where = each["host"] + (f", SLURM job {each['slurm_job_id']}" if each.get("slurm_job_id") else "")
        why = f": {each['failure_class']}: {each['reason']}" if each.get("reason") else ""
        typer.echo(f"attempt {each['number']} on {where} {each['state']}{why}")
    typer.echo(f"in {directory}" + (f": {at}" if at else ""))
    for log in shown:
        typer.echo(f"\n== {log.file.relative_to(directory)}")
        typer.echo("\n".join(log.lines))
