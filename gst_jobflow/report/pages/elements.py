"""What a page is put together of: figures and tables."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass
class Figure:
    """A figure of the page: PNG as a data URI, and what it shows."""

    uri: str
    caption: str
    alt: str
    wide: bool = False


@dataclass
class Table:
    """A table of the page; `numeric` columns are set to the right.

    `groups` is a line above the column names: text and the number of columns it spans. `dots` gives the text of first
    cells a coloured dot.
    """

    columns: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()
    groups: tuple[tuple[str, int], ...] = ()
    dots: dict[str, str] = field(default_factory=dict)


def figure_of(png: bytes | None, caption: str, alt: str, wide: bool = False) -> list[Figure]:
    """One figure, or none where there was nothing to draw."""
    return [] if png is None else [Figure(data_uri(png), caption, alt, wide)]


def data_uri(png: bytes) -> str:
    """A PNG as text that stands in a page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
