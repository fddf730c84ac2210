"""`gst status`: what runs, waits and failed, and why."""

from __future__ import annotations

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table


def command(as_json: JsonOption = False) -> None:
    """Show what runs, waits and failed, and what to do about failures. Exit code 1 if something failed."""
    from gst_jobflow.launch.status import status
    from gst_jobflow.store.connect import connect

    report = status(connect(open_project()))
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report["failures"]:
        raise typer.Exit(1)


def _print(report: dict) -> None:
    counts = report["counts"]
    if not counts:
        typer.echo("nothing was submitted yet; start with: gst demo, or gst submit --help")
        return
    typer.echo("  ".join(f"{state.lower()} {number}" for state, number in sorted(counts.items())))
    if report["running"]:
        rows = [
            [run["firework_id"], run["name"], run["host"], run["number"], run["directory"]] for run in report["running"]
        ]
        print_table(rows, ["id", "running", "host", "attempt", "directory"])
    if report["failures"]:
        rows = [
            [bad["firework_id"], bad["name"], bad["class"], bad["reason"], bad["fix"]] for bad in report["failures"]
        ]
        print_table(rows, ["id", "failed", "class", "reason", "way out"])
