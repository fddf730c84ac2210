"""Figures, tables and parts of a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from gst_jobflow.report.plot_types import Figure as Drawing
from gst_jobflow.report.style import to_png


@dataclass
class Figure:
    """A figure: PNG as a data URI, caption and alternative text."""

    uri: str
    caption: str
    alt: str
    wide: bool = False


@dataclass
class Table:
    """A table; `numeric` columns are right-aligned.

    `groups` is a line above the column names: text and number of columns. `dots` are colours by the text of the first
    cell.
    """

    columns: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()
    groups: tuple[tuple[str, int], ...] = ()
    dots: dict[str, str] = field(default_factory=dict)


@dataclass
class PagePart:
    """A part of a section, in this order: title, facts, text, table, figures; each may be missing.

    `soft` makes a remark of the text, `style` is the class of the table (ids, total), `wanted` names the figures that
    are not there yet.
    """

    title: str = ""
    text: str = ""
    table: Table | None = None
    figures: list[Figure] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    soft: bool = False
    style: str = ""
    wanted: str = ""


def page_figures(*each: tuple[Drawing | None, str, str], wide: bool = False) -> list[Figure]:
    """Return figures of drawings with their captions and alternative texts; without a drawing there is no figure."""
    return [Figure(data_uri(to_png(drawn)), caption, alt, wide) for drawn, caption, alt in each if drawn is not None]


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
