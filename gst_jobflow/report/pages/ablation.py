"""The section of a page that shows an ablation beside Table 1 of the reference paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gst_jobflow.documents import Study
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.studies import varied
from gst_jobflow.report.pages.elements import PagePart, Table
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.store import Results

_COLUMNS = {
    "functions": "functions",
    "test_energy_meV_per_atom": "energy (meV/atom)",
    "test_force_meV_per_A": "forces (meV/Å)",
    "relative_speed": "relative speed",
    "success": "melts survived",
}


def ablation_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield the table of an ablation; with `results`, also that of the reference paper."""
    columns_varied = varied(study)
    shown = {key: name for key, name in _COLUMNS.items() if any(row.get(key) is not None for row in study.table)}
    body = [[*(str(row[key]) for key in columns_varied), *(_cell(row, key) for key in shown)] for row in study.table]
    columns = [*(key.replace("_", " ") for key in columns_varied), *shown.values()]
    text = "Errors are of the test set. The fits differ in nothing but what the first columns name."
    yield PagePart("Results", text, Table(columns, body, frozenset(range(len(columns_varied), len(columns)))))
    if results is not None:
        paper = [
            [row["what"], str(row["energy_meV_per_atom"]), str(row["force_meV_per_A"]), f"{row['relative_speed']:g}"]
            for row in paper_numbers()["ablation"]["rows"]
        ]
        columns = ["what", "energy (meV/atom)", "forces (meV/Å)", "relative speed"]
        text = "Its test set and potentials are others, so trends compare and numbers do not."
        yield PagePart("Table 1 of the reference paper", text, Table(columns, paper, frozenset({1, 2, 3})), soft=True)


def _cell(row: dict[str, Any], key: str) -> str:
    if row.get(key) is None:
        return "–"
    if key == "success":
        return f"{row[key]:.2f} ({row['success_low']:.2f} – {row['success_high']:.2f})"
    return words.number(row[key])
