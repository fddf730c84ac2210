"""Draw figures of the catalogue into files: PNG, SVG and PDF, with the plotted numbers as CSV beside them."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow import __version__
from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.base.atomic import replacing, write_text
from gst_jobflow.report.catalogue.kinds import Drawn, FigureKind, FigureRequest
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.report.style import saved, settle
from gst_jobflow.store import Results

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class WrittenFigure:
    """Files of a drawn figure, what they were made of, the command that makes them, and a remark for the reader."""

    files: list[Path]
    made_of: Sequence[str]
    command: str
    remark: str = ""


def draw_one(
    results: Results,
    kind: FigureKind,
    documents: Sequence[Any],
    place: Path,
    formats: Sequence[str] = FORMATS,
    *,
    paper: bool = False,
    mixed: bool = False,
    reference: ReferenceSource | None = None,
) -> WrittenFigure:
    """Draw one figure and write its files; `paper`, `mixed` and `reference` are those of `FigureRequest`.

    `place` is a folder, where names follow from figure and documents, or a path without ending. Raises DataError if the
    documents lack what the figure shows, and InputError if they do not belong into one figure.
    """
    drawn = kind.draw(FigureRequest(results, documents, paper, mixed, reference))
    ids = "-".join(each.id[:8] for each in documents[:3]) + ("-more" if len(documents) > 3 else "")
    stem = place / f"{kind.name}-{ids}" if place.is_dir() or place.name == "figures" else place
    words = ["gst", "figure", kind.name, *(each.id for each in documents)]
    flags = [*(["--paper"] if paper else []), *(["--mixed"] if mixed else [])]
    command = shlex.join([*words, *flags, *(_options(reference) if reference else [])])
    files = _write(drawn, kind.shows, command, stem, formats)
    source = f" Paper: {paper_numbers()['source']}." if kind.overlays else " The paper prints no numbers of it."
    source *= paper
    return WrittenFigure(files, drawn.made_of, command, f"{drawn.remark}{source}".strip())


def _options(reference: ReferenceSource) -> list[str]:
    """Return the options of `gst figure` that name these frames."""
    named = {"--trajectory": reference.trajectories, "--dataset": reference.datasets, "--where": reference.where}
    found = [word for option, values in named.items() for value in values for word in (option, value)]
    if reference.fingerprint is not None:
        found += ["--fingerprint", reference.fingerprint]
    return found + (["--after-ps", f"{reference.after_ps:g}"] if reference.after_ps else [])


def _write(drawn: Drawn, title: str, command: str, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Write STEM.png, STEM.svg, STEM.pdf and STEM.csv; numbers have all their digits, and None is an empty cell."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    settle(drawn.figure)
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in (*formats, "csv")]
    for target, kind in zip(written, formats, strict=False):
        content = saved(drawn.figure, kind, _metadata(kind, title, command, drawn.made_of))
        with replacing(target, durable=False) as part:
            part.write_bytes(content)
    text, numbers = io.StringIO(), drawn.plotted()
    csv.writer(text, lineterminator="\n").writerows([numbers.columns, *numbers.rows])
    write_text(written[-1], text.getvalue(), durable=False)
    return written


def _metadata(kind: str, title: str, command: str, made_of: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of a file: title, ids, command and version, and no date, so that files are reproducible."""
    ids, program = " ".join(made_of), f"gst_jobflow {__version__}"
    if kind == "png":
        return {"Title": title, "Source": ids, "Description": command, "Software": program}
    if kind == "svg":
        return {"Title": title, "Source": ids, "Description": command, "Creator": program, "Date": None}
    return {"Title": title, "Keywords": ids, "Subject": command, "Creator": program, "CreationDate": None}
