"""Write a drawn figure as PNG, SVG and PDF, with the plotted numbers as CSV beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gst_jobflow import __version__
from gst_jobflow.base.atomic import replacing, write_text
from gst_jobflow.report.catalogue.kinds import Drawn, Numbers
from gst_jobflow.report.style import saved, settle

FORMATS = ("png", "svg", "pdf")


def write_figure(drawn: Drawn, title: str, command: str, stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write STEM.png, STEM.svg, STEM.pdf and STEM.csv; return their paths.

    Each picture holds in its metadata the ids of the documents that it was made of, and the command that made it.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    settle(drawn.figure)
    written = []
    for kind in formats:
        target = stem.with_name(f"{stem.name}.{kind}")
        content = saved(drawn.figure, kind, metadata(kind, title, command, drawn.made_of))
        with replacing(target, durable=False) as part:
            part.write_bytes(content)
        written.append(target)
    table = stem.with_name(f"{stem.name}.csv")
    write_text(table, csv_text(drawn.plotted()), durable=False)
    return [*written, table]


def metadata(kind: str, title: str, command: str, made_of: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of a file: title, ids, command and version, and no date, so that files are reproducible."""
    ids, program = " ".join(made_of), f"gst_jobflow {__version__}"
    if kind == "png":
        return {"Title": title, "Source": ids, "Description": command, "Software": program}
    if kind == "svg":
        return {"Title": title, "Source": ids, "Description": command, "Creator": program, "Date": None}
    return {"Title": title, "Keywords": ids, "Subject": command, "Creator": program, "CreationDate": None}


def csv_text(numbers: Numbers) -> str:
    """Return rows as CSV; numbers have all their digits, and None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(numbers.columns)
    writer.writerows(numbers.rows)
    return text.getvalue()
