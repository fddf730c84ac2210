"""`gst ingest`: put spooled results into the database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.cli.common import JsonOption, open_project, print_json, say
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from gst_jobflow.store.ingest import IngestProgress

_EVERY_S = 10.0


def command(
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Folders to look in, with all below; default: all runs of the project.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put results that jobs left on disk while the database was away into it.

    Doing it again changes nothing, and several may run at once. Exits 1 when an entry could not be put in.
    """
    project = open_project()
    for folder in directories or []:
        _check_folder(folder)
    results = Results.open(project)
    # a plain rlaunch runs where it was started, so attempts know more folders than runs/
    started = {Path(item["directory"]) for item in results.database["attempts"].find({}, {"directory": 1})}
    with _progress() as progress:
        counts = ingest(results, directories or [project.runs_dir, *sorted(started)], progress)
    if as_json:
        print_json(counts)
    else:
        typer.echo(f"{counts['manifests']} manifests, {counts['entries']} entries, {counts['new']} of them new")
        for problem in counts["problems"]:
            say(f"not put in: {problem}")
    if directories and not counts["manifests"]:
        say(f"no manifest ({_manifest_name()}) below {', '.join(map(str, directories))}: is this the right folder?")
    if counts["problems"]:
        raise typer.Exit(1)


def _manifest_name() -> str:
    return MANIFEST_NAME


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    fix = "name the launch folders, or none for all runs of the project"
    if folder.is_file():
        raise InputError(f"{folder} is a file, not a folder", f"name its folder: {folder.parent}")
    if folder.absolute().parent.is_dir():
        beside = [item.name for item in folder.absolute().parent.iterdir() if item.is_dir()]
        fix = nearest(folder.name, beside) if beside else fix
    raise InputError(f"{folder} is not a folder", fix)


@contextmanager
def _progress() -> Iterator[Callable[[IngestProgress], None]]:
    """A bar on a terminal; elsewhere a line every few seconds, none for short ones."""
    import time

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("ingest", total=None)

            def show(state: IngestProgress) -> None:
                text = f"{state.manifests} manifests, {state.entries} entries"
                bars.update(bar, total=state.total_bytes, completed=state.done_bytes, description=text)

            yield show
        return
    said = time.monotonic()

    def line(state: IngestProgress) -> None:
        nonlocal said
        if time.monotonic() - said > _EVERY_S:
            said = time.monotonic()
            percent = 100 * state.done_bytes / max(state.total_bytes, 1)
            say(f"{percent:.0f} %: {state.manifests} manifests, {state.entries} entries")

    yield line
