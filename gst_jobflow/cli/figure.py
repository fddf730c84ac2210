"""`gst figure`: draw a figure or table of the paper from documents of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.cli.common import open_project, print_table, say
from gst_jobflow.cli.option_group import argument, flag, option, with_options
from gst_jobflow.cli.reference_options import ReferenceOptions
from gst_jobflow.report.catalogue.draw import FORMATS, draw_one
from gst_jobflow.report.catalogue.registry import all_figures, find_kind
from gst_jobflow.report.catalogue.sources import chosen
from gst_jobflow.report.pages.study import check_place
from gst_jobflow.store import Results

FormatOption = Annotated[str, typer.Option("--format", help="Formats, separated by commas.")]


@with_options(ReferenceOptions, "reference")
def command(
    name: str | None = argument("Figure, or its number in the paper, such as 2b; without it all are listed."),
    documents: list[str] | None = argument("Documents to draw; default: the newest that fits.", metavar="[ID|NAME…]"),
    output: Path | None = option(
        "File (its ending sets the format), or files without their endings.", "--output", "-o"
    ),
    formats: FormatOption = ",".join(FORMATS),
    paper: bool = flag("Overlay the numbers of the reference paper.", "--paper"),
    mixed: bool = flag("Allow several potentials or protocols in one curve.", "--mixed"),
    reference: ReferenceOptions = ReferenceOptions(),
) -> None:
    """Draw a figure or table of the paper from documents of the database, as PNG, SVG and PDF.

    The plotted numbers lie beside it as CSV, and the ids of the documents are in the files' metadata. Beside runs (rdf,
    angles, motifs) stand frames from first principles of their composition, those named as reference or any.

    Examples: gst figure; gst figure table-1 ablation --paper; gst figure 3b CYCLE -o cycle.pdf
    """
    if name is None:
        print_table(
            [[each.name, ", ".join(each.paper), each.shows, each.needs] for each in all_figures()],
            ["figure", "in the paper", "what it shows", "drawn from"],
        )
        return
    kind = find_kind(name)
    named = reference.over(none := ReferenceSource())
    source = None if named is none else named
    if source is not None and not kind.beside:
        raise InputError(
            f"{kind.name} shows no frames from first principles", "name references for rdf, angles, motifs"
        )
    wanted, stem = _target(output, formats)
    project = open_project()
    results = Results.open(project)
    found = chosen(results, kind, documents or [])
    if not documents:
        say(f"drawn from the newest {kind.needs}: {found[0].name} ({found[0].id})")
    written = draw_one(
        results, kind, found, stem or project.root / "reports" / "figures", wanted, paper=paper, mixed=mixed,
        reference=source,
    )  # fmt: skip
    for line in (*written.files, *([written.remark] if written.remark else [])):
        typer.echo(line)


_OTHER_PICTURES = ("bmp", "eps", "gif", "jpeg", "jpg", "ps", "tif", "tiff", "webp")


def _target(output: Path | None, formats: str) -> tuple[list[str], Path | None]:
    """Return the formats and the files' path without ending; the ending of `output` sets the format."""
    wanted = parse_formats(formats)
    if output is None:
        return wanted, None
    check_place(output)
    ending = output.suffix.removeprefix(".").lower()
    if ending in _OTHER_PICTURES:
        raise InputError(f"{output}: figures are not written as {ending}", f"end it with {', '.join(FORMATS)}")
    return ([ending], output.with_suffix("")) if ending in FORMATS else (wanted, output)


def parse_formats(text: str) -> list[str]:
    """Return the formats of `png,svg`; refuse unknown ones."""
    wanted = [each.strip().lower() for each in text.split(",") if each.strip()]
    for each in wanted or [text]:
        if each not in FORMATS:
            raise InputError(f"--format {each}: no such format", nearest(each, FORMATS))
    return wanted
