"""`gst import`: bundles that `gst export` wrote. Other people's files are for `gst structures import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, progress_line, say
from gst_jobflow.cli.export import disk_in_words

if TYPE_CHECKING:
    from gst_jobflow.exporting.read_bundle import BundleReport

app = typer.Typer(no_args_is_help=True, help="Put a bundle of gst export in; for other files: gst structures import.")


@app.callback()
def _group() -> None:
    """Keep `bundle` a word of its own: with one command typer would drop it."""


@app.command()
def bundle(
    path: Annotated[Path, typer.Argument(help="The folder, .tar or .tar.gz that gst export wrote.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all of it; no project is needed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle, then put its files and documents in. Doing it again changes nothing.

    Exits 1 when a label was refused because the database has one of another energy.
    """
    from gst_jobflow.exporting.read_bundle import import_bundle
    from gst_jobflow.store import Results

    results = None if dry_run else Results.open(open_project())
    with disk_in_words(), progress_line() as line:
        report = import_bundle(results, path, dry_run=dry_run, progress=line)
    if as_json:
        print_json({**asdict(report), "changed": 0 if report.dry_run else report.changed})
    else:
        _tell(report)
    if report.n_problems:
        raise typer.Exit(1)


def _tell(report: BundleReport, listed: int = 20) -> None:
    for problem in report.problems[:listed]:
        say(f"refused: {problem}")
    if report.n_problems > listed:
        say(f"… {report.n_problems - listed} more refused; --json lists the first thousand")
    for note in report.notes[:listed]:
        say(note)
    if report.left_out:
        say(f"{report.left_out} files that documents name are not in the bundle: its README.md says which and why")
    if report.dry_run:
        print_table(((name, taken.new) for name, taken in report.collections.items()), ("", "documents"))
        typer.echo("the bundle is whole; a dry run, nothing is written")
        return
    columns = ("", "new", "known before", "replaced", "refused")
    rows = [(name, t.new, t.known, t.replaced, t.refused) for name, t in report.collections.items()]
    print_table([*rows, ("files", report.files["new"], report.files["known"], 0, 0)], columns)
    typer.echo("imported" if report.changed else "all of it was there already; nothing was changed")
