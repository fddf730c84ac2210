"""The section of a page on a study: what each kind shows, on report pages and on the live page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gst_jobflow.documents import Study
from gst_jobflow.report import words
from gst_jobflow.report.pages.ablation import ablation_parts
from gst_jobflow.report.pages.elements import PagePart, Table
from gst_jobflow.report.pages.evaluation import evaluation_parts
from gst_jobflow.report.pages.iteration import iteration_parts
from gst_jobflow.report.pages.robustness import robustness_parts
from gst_jobflow.report.pages.scaling import scaling_parts
from gst_jobflow.report.pages.search import search_parts
from gst_jobflow.report.pages.validation import validation_parts
from gst_jobflow.store import Results

SECTIONS: dict[str, tuple[str, Callable[[Study, Results | None], Iterator[PagePart]]]] = {
    "hyperopt": ("search", search_parts),
    "evaluation": ("evaluation", evaluation_parts),
    "robustness": ("robustness", robustness_parts),
    "validation": ("validation", validation_parts),
    "scaling": ("scaling", scaling_parts),
    "iteration": ("iterations", iteration_parts),
    "ablation": ("results", ablation_parts),
}
"""Anchor and parts of the section on a kind of study."""


def study_parts(study: Study, results: Results | None = None) -> list[PagePart]:
    """Return the parts of the section on a study; figures and what needs the database only with `results`."""
    if study.kind in SECTIONS:
        return list(SECTIONS[study.kind][1](study, results))
    text = "" if study.table or results is not None else "Not there yet."
    return [PagePart("Results", text, plain_table(study))] if study.table or text else []


def plain_table(study: Study) -> Table | None:
    """Tabulate a study without a section of its own; the columns are the keys of its rows."""
    if not study.table:
        return None
    columns = list(dict.fromkeys(key for row in study.table for key in row))
    rows = [[words.number(row.get(column)) for column in columns] for row in study.table]
    numeric = frozenset(
        place
        for place, column in enumerate(columns)
        if all(isinstance(row.get(column), int | float | None) for row in study.table)
    )
    return Table(columns, rows, numeric)
