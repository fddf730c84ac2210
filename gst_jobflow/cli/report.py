"""`gst report`: write a report of a study, a cycle or a potential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.cli.common import open_project
from gst_jobflow.documents import Cycle, Potential, Study, Trajectory
from gst_jobflow.report.pages.study import build_page, check_place
from gst_jobflow.report.words import file_name
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

app = typer.Typer(
    no_args_is_help=True, help="Write a report of a study, a cycle or a potential: one HTML file with all figures."
)

_MODELS: dict[str, Any] = {"study": Study, "cycle": Cycle, "potential": Potential, "trajectory": Trajectory}

Which = Annotated[
    str, typer.Argument(metavar="ID|NAME", help="Id, at least its first 6 characters, or the name of the document.")
]
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


@app.command("trajectory")
def trajectory(which: Which, output: Output = None) -> None:
    """One run: energy, temperature, and what was computed of its frames."""
    _report("trajectory", which, output)


def _report(kind: str, which: str, output: Path | None) -> None:
    project = open_project()
    results = Results.open(project)
    found = get_located(results, _MODELS[kind], which)
    target = output or project.root / "reports" / f"{file_name(found.name, found.id)}.html"
    check_place(target)
    typer.echo(build_page(results, kind, found.id, target))
