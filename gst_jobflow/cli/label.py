"""`gst label`: report the quality of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, progress_line, say
from gst_jobflow.report.label_data import collect_labels
from gst_jobflow.report.pages.labels import as_dict, build_label_page, error_rows, state_rows
from gst_jobflow.report.pages.study import check_place
from gst_jobflow.store import Results

app = typer.Typer(no_args_is_help=True, help="Report the quality of labels and the differences between methods.")


@app.callback()
def _group() -> None:
    """Keep `report` a subcommand: typer would drop a single one."""


@app.command()
def report(
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="Conditions on structures and labels, as in gst query; default: all."),
    ] = None,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option("--fingerprint", "-f", help="Fingerprint of a method, or its beginning (repeatable)."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Method to compare with; default: VASP, else CP2K, else the one with most labels."),
    ] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(help="Tolerance of near-duplicates, Å; default: 0.01, for up to 5,000 labels a method."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: reports/labels.html in the project.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report the quality of labels as an HTML page: convergence, energies, forces, outliers, duplicates, cost.

    Example: gst label report -w tags=iter-0 --reference vasp
    """
    project = open_project()
    target = output or project.root / "reports" / "labels.html"
    check_place(target)
    with progress_line() as line:
        data = collect_labels(
            Results.open(project), where or [], fingerprint or [], reference, near_duplicates, progress=line
        )
    page = build_label_page(data, target)
    if as_json:
        print_json({**as_dict(data), "page": page})
        return
    columns, rows = state_rows(data)
    print_table(rows, columns)
    columns, rows = error_rows(data)
    if rows:
        print_table(rows, columns, title="\nMethods on the same structures")
    say(f"page: {page}")
