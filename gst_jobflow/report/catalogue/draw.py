"""Draw figures of the catalogue into files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.report.catalogue.kinds import FigureKind, FigureRequest
from gst_jobflow.report.catalogue.write import FORMATS, write_figure
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.store import Results


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
    """Draw one figure and write its files.

    Parameters
    ----------
    place
        A folder, where names follow from figure and documents, or a path without ending.
    paper, mixed, reference
        See `FigureRequest`.

    Raises
    ------
    DataError
        The documents lack what the figure shows.
    InputError
        The documents do not belong into one figure.
    """
    drawn = kind.draw(FigureRequest(results, documents, paper, mixed, reference))
    ids = "-".join(each.id[:8] for each in documents[:3]) + ("-more" if len(documents) > 3 else "")
    stem = place / f"{kind.name}-{ids}" if place.is_dir() or place.name == "figures" else place
    words = ["gst", "figure", kind.name, *(each.id for each in documents)]
    flags = [*(["--paper"] if paper else []), *(["--mixed"] if mixed else [])]
    command = shlex.join([*words, *flags, *(_options(reference) if reference else [])])
    files = write_figure(drawn, kind.shows, command, stem, formats)
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
