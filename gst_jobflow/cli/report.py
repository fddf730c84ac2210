"""`gst report`: write a report of a study, a cycle or a potential."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import open_project
from gst_jobflow.report.pages.study import build_page, check_place
from gst_jobflow.report.words import file_name
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from pymongo.database import Database

app = typer.Typer(
    no_args_is_help=True, help="Write a report of a study, a cycle or a potential: one HTML file with all figures."
)

_COLLECTIONS = {"study": "studies", "cycle": "cycles", "potential": "potentials"}
_NAMED = 8

Which = Annotated[str, typer.Argument(metavar="ID|NAME", help="Id or name; if several have the name, the newest.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; default: reports/NAME.html in the project.")
]


@app.command("study")
def study(which: Which, output: Output = None) -> None:
    """Report a study, even while it runs: data, potential, device cycle, provenance, attempts."""
    _report("study", which, output)


@app.command("cycle")
def cycle(which: Which, output: Output = None) -> None:
    """Report a device cycle: energies, temperatures, crystal-like fraction, snapshots."""
    _report("cycle", which, output)


@app.command("potential")
def potential(which: Which, output: Output = None) -> None:
    """Report a potential: its data, errors and parity plots."""
    _report("potential", which, output)


def _report(kind: str, which: str, output: Path | None) -> None:
    project = open_project()
    results = Results.open(project)
    found = find(results.database, kind, which)
    target = output or project.root / "reports" / f"{file_name(found['name'], found['_id'])}.html"
    check_place(target)
    typer.echo(build_page(results, kind, found["_id"], target))


def find(database: Database, kind: str, which: str) -> dict[str, str]:
    """Return id and name of the document with this id, else of the newest with this name.

    Raises
    ------
    InputError
        There is none; the error lists some that exist.
    """
    collection = _COLLECTIONS[kind]
    fields = {"name": 1}
    found = database[collection].find_one({"_id": which}, fields)
    found = found or database[collection].find_one({"name": which}, fields, sort=[("created_at", -1)])
    if found is not None:
        return found
    newest = database[collection].find({}, fields).sort([("created_at", -1)]).limit(_NAMED)
    known = ", ".join(f"{each['name']} ({each['_id']})" for each in newest)
    raise InputError(
        f"no {kind} '{which}'", f"the newest are: {known}" if known else f"gst query {collection} lists none yet"
    )
