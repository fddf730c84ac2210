"""`gst ingest`: put spooled results into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, say


def command(
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Folders to look in, with all below; default: all runs of the project.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put results that jobs left on disk while the database was away into it. Doing it again changes nothing."""
    from gst_jobflow.errors import InputError
    from gst_jobflow.store import Results, ingest

    project = open_project()
    results = Results.open(project)
    for folder in directories or []:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder", "name the launch folders, or none for all runs of the project"
            )
    # a plain rlaunch runs where it was started, so attempts know more folders than runs/
    started = {Path(item["directory"]) for item in results.database["attempts"].find({}, {"directory": 1})}
    counts = ingest(results, directories or [project.runs_dir, *sorted(started)])
    if as_json:
        print_json(counts)
    else:
        typer.echo(f"{counts['manifests']} manifests, {counts['entries']} entries, {counts['new']} of them new")
        for problem in counts["problems"]:
            say(f"not put in: {problem}")
    if counts["problems"]:
        raise typer.Exit(1)
