"""`gst report`: write a report of a study, a cycle or a potential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.cli.common import open_project, progress_line
from gst_jobflow.cli.figure import FormatOption, parse_formats
from gst_jobflow.cli.option_group import flag, option
from gst_jobflow.documents import Cycle, Potential, Study, Trajectory
from gst_jobflow.report.catalogue.draw import FORMATS
from gst_jobflow.report.catalogue.everything import draw_everything
from gst_jobflow.report.pages.index import build_index
from gst_jobflow.report.pages.links import INDEX
from gst_jobflow.report.pages.study import build_page, check_place, page_of
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
    Path | None, typer.Option("--output", "-o", help="File to write; default: reports/NAME-ID.html in the project.")
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


@app.command("all")
def everything(
    paper: bool = flag("Overlay the numbers of the reference paper.", "--paper"),
    formats: FormatOption = ",".join(FORMATS),
    newest: int = option("Documents drawn of each figure, the newest first.", default=10, min=1),
) -> None:
    """Draw all figures of the paper that the database can show, and an index of figures, pages and what is missing."""
    project = open_project()
    results = Results.open(project)
    target = project.root / "reports" / INDEX
    check_place(target)
    with progress_line() as tell:
        found = draw_everything(
            results, target.parent / "figures", parse_formats(formats), newest=newest, paper=paper, tell=tell
        )
    page = build_index(results, project.root, found, paper=paper)
    typer.echo(f"{len(found.drawn)} figures, {len(found.missing)} missing; the index says what adds them")
    typer.echo(page)


def _report(kind: str, which: str, output: Path | None) -> None:
    project = open_project()
    results = Results.open(project)
    found = get_located(results, _MODELS[kind], which)
    target = output or page_of(project.root, found)
    check_place(target)
    typer.echo(build_page(results, kind, found.id, target))
