"""Draw every figure of the catalogue that the database has documents for, and collect what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gst_jobflow.base.errors import GstError
from gst_jobflow.report.catalogue.draw import WrittenFigure, draw_one
from gst_jobflow.report.catalogue.kinds import FigureKind
from gst_jobflow.report.catalogue.registry import FIGURES
from gst_jobflow.report.catalogue.sources import check_complete
from gst_jobflow.store import Results


@dataclass(frozen=True)
class Missing:
    """A figure that could not be drawn: of which document, what is missing, and what adds it."""

    kind: FigureKind
    of: str
    reason: str
    fix: str


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of one document, and its files."""

    kind: FigureKind
    of: str
    written: WrittenFigure


@dataclass(frozen=True)
class Everything:
    """All figures that could be drawn, all that could not, and how many documents were left out by figure."""

    drawn: list[DrawnFigure]
    missing: list[Missing]
    left_out: dict[str, int]


def draw_everything(
    results: Results,
    folder: Path,
    formats: Sequence[str],
    *,
    newest: int,
    paper: bool = False,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> Everything:
    """Draw each figure of its `newest` documents into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Everything([], [], {})
    for place, kind in enumerate(FIGURES):
        tell(kind.name, place, len(FIGURES))
        number = results.database[kind.model.collection].count_documents(kind.where)
        if not number:
            reason = f"the database has no {kind.needs}"
            found.missing.append(Missing(kind, "", reason, kind.made_by))
        if number > newest:
            found.left_out[kind.name] = number - newest
        for document in islice(results.find(kind.model, kind.where, [("created_at", -1)]), newest):
            _draw(results, kind, document, folder, formats, paper, found)
    return found


def _draw(
    results: Results,
    kind: FigureKind,
    document: Any,
    folder: Path,
    formats: Sequence[str],
    paper: bool,
    found: Everything,
) -> None:
    try:
        check_complete(results, document)
        written = draw_one(results, kind, [document], folder / f"{kind.name}-{document.id[:8]}", formats, paper=paper)
    except GstError as err:
        found.missing.append(Missing(kind, f"{document.name} ({document.id[:8]})", err.message, err.fix))
    else:
        found.drawn.append(DrawnFigure(kind, document.name, written))
