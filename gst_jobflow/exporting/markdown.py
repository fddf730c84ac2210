"""Tables of the Markdown files that accompany exports."""

from __future__ import annotations

from typing import Any


def markdown_table(columns: tuple[str, ...], rows: list[Any]) -> str:
    """Format a table in GitHub's Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (str(cell).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
