"""`gst ingest`: write results that jobs left on disk to the database."""

from __future__ import annotations

from pathlib import Path

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.cli.common import JsonOption, open_project, print_json, progress_line, say
from gst_jobflow.cli.option_group import argument
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.manifest import MANIFEST_NAME


def command(
    directories: list[Path] | None = argument("Folders to search, with subfolders; default: all runs of the project."),
    as_json: JsonOption = False,
) -> None:
    """Write results to the database that jobs left on disk while it was away.

    Repeating it changes nothing, and several may run at once. Exits 1 if an entry was refused.
    """
    project = open_project()
    for folder in directories or []:
        _check_folder(folder)
    results = Results.open(project)
    # a plain rlaunch runs where it was started, so attempts know more folders than runs/
    started = {Path(item["directory"]) for item in results.database["attempts"].find({}, {"directory": 1})}
    with progress_line(percent=True) as line:
        counts = ingest(
            results,
            directories or [project.runs_dir, *sorted(started)],
            lambda at: line(f"{at.manifests} manifests, {at.entries} entries", at.done_bytes, at.total_bytes),
        )
    if as_json:
        print_json(counts)
    else:
        typer.echo(f"{counts['manifests']} manifests, {counts['entries']} entries, {counts['new']} of them new")
        for problem in counts["problems"]:
            say(f"refused: {problem}")
    if directories and not counts["manifests"]:
        say(f"no manifest ({MANIFEST_NAME}) below {', '.join(map(str, directories))}: is this the right folder?")
    if counts["problems"]:
        raise typer.Exit(1)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    fix = "name launch folders, or none for all runs of the project"
    if folder.is_file():
        raise InputError(f"{folder} is a file, not a folder", f"name its folder: {folder.parent}")
    if folder.absolute().parent.is_dir():
        beside = [item.name for item in folder.absolute().parent.iterdir() if item.is_dir()]
        fix = nearest(folder.name, beside) if beside else fix
    raise InputError(f"{folder} is not a folder", fix)
