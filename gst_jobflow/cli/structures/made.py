"""Options of the commands that make structures, and where these go: the database or a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import open_project, say
from gst_jobflow.documents import ConfigType, Structure
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import store_family

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write extended XYZ to this file instead of the database; needs no project."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same structures.")]


def deliver(
    family: Iterator[tuple[Atoms, dict[str, Any]]],
    config_type: ConfigType,
    iteration: int,
    tags: list[str] | None,
    output: Path | None,
) -> None:
    """Store structures and print their ids, or write them to `output`."""
    if output is not None:
        _write(family, config_type, output)
        return
    documents, new, known = store_family(Results.open(open_project()), family, config_type, iteration, tags)
    for document in documents:
        typer.echo(document.id)
    say(counted(new, "new structure") + (f", {known} known before" if known else ""))


def store_unless(results: Results, documents: Sequence[Structure], dry_run: bool) -> int | None:
    """Store structures and return how many are new; None in a dry run, which stores nothing."""
    return None if dry_run else results.add_many(documents)[0]


def said_of_new(new: int | None, number: int) -> str:
    """Return how many of the structures are new, or that a dry run wrote none."""
    return "nothing was written (--dry-run)" if new is None else f"{new} new, {number - new} known before"


def _write(family: Iterator[tuple[Atoms, dict[str, Any]]], config_type: str, output: Path) -> None:
    from ase.io import write

    images = []
    for atoms, source in family:
        atoms.info.update(config_type=config_type, source=source)
        images.append(atoms)
    try:
        write(output, images, format="extxyz")
    except OSError as err:
        raise InputError(f"{output} cannot be written: {err.strerror}", "name another file with -o") from err
    say(f"{counted(len(images), 'structure')} in {output}")
