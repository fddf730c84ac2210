"""`gst ingest`: put spooled results into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json


def command(
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Folders to look in, with all below; default: the project's runs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put results that jobs left on disk while the database was away into it. Doing it again changes nothing."""
    from gst_jobflow.errors import InputError
    from gst_jobflow.store import Results, ingest

    project = open_project()
    folders = directories or [project.runs_dir]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder", "name the launch folders, or none for all runs of the project"
            )
    counts = ingest(Results.open(project), folders)
    if as_json:
        print_json(counts)
    else:
        typer.echo(f"{counts['manifests']} manifests, {counts['entries']} entries, {counts['new']} of them new")
