"""What a figure of the catalogue is: the documents it needs, and what drawing it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.documents import Document
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.plotted import COLUMNS, plotted_rows
from gst_jobflow.store import Results


@dataclass(frozen=True)
class FigureRequest:
    """Documents to draw, and how.

    Attributes
    ----------
    documents
        Of the kind's model, in the order of the command line.
    paper
        Overlay the reference paper's numbers.
    mixed
        Allow several potentials or protocols in one curve.
    reference
        Frames from first principles to show beside runs; None: those of the database.
    """

    results: Results
    documents: Sequence[Any]
    paper: bool = False
    mixed: bool = False
    reference: ReferenceSource | None = None


@dataclass(frozen=True)
class Numbers:
    """Plotted numbers as columns and rows of a CSV file."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Drawn:
    """A figure, the documents it was made of as `collection/id`, and a remark for the reader.

    `numbers` are read back from the figure where a builder gives none.
    """

    figure: Figure
    made_of: Sequence[str]
    remark: str = ""
    numbers: Numbers | None = None

    def plotted(self) -> Numbers:
        """Return the plotted numbers."""
        return self.numbers or Numbers(COLUMNS, plotted_rows(self.figure))


@dataclass(frozen=True)
class FigureKind:
    """A figure that `gst figure` knows.

    Attributes
    ----------
    name
        On the command line.
    paper
        Figures or tables of the reference paper that it corresponds to, such as ``2b``; also names on the command line.
    shows
        One line for lists.
    model
        Document that it is drawn from.
    where
        Condition on these documents in the database.
    needs
        The documents in words.
    made_by
        Command that makes such a document.
    draw
        Raises DataError where the documents lack something, with the command that adds it.
    joins
        Whether several documents share one figure.
    overlays
        Whether the reference paper gives numbers to overlay.
    beside
        Whether frames from first principles that the user names can stand beside the documents.
    """

    name: str
    paper: tuple[str, ...]
    shows: str
    model: type[Document]
    needs: str
    made_by: str
    draw: Callable[[FigureRequest], Drawn]
    where: dict[str, Any] = field(default_factory=dict)
    joins: bool = False
    overlays: bool = False
    beside: bool = False


def named(*documents: Document) -> list[str]:
    """Return documents as `collection/id`."""
    return [f"{each.collection}/{each.id}" for each in documents]
