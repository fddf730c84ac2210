"""Figures and tables of a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


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


def figure_of(png: bytes | None, caption: str, alt: str, wide: bool = False) -> list[Figure]:
    """Return one figure, or none without an image."""
    return [] if png is None else [Figure(data_uri(png), caption, alt, wide)]


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
