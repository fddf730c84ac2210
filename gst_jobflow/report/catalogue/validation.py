"""Figures of validations: amorphous cells beside first-principles dynamics, from stored numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Study
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, Numbers, named
from gst_jobflow.report.figures.validation import ComparedCurve, compared_chart, compared_curves, difference_chart
from gst_jobflow.store import Results

DIFFERENCES = (
    "Bars: standard errors of the difference. Of curves: root mean square over their range; dashes: what statistical "
    "errors alone give."
)
_NUMBERS = ("composition", "potential", "quantity", "curve", "reference", "reference_error", "value", "value_error",
            "difference", "error")  # fmt: skip
_POINTS = ("composition", "potential", "curve", "x", "reference", "reference_error", "value", "value_error",
           "difference", "error")  # fmt: skip


def rows_by_name(study: Study) -> list[dict[str, Any]]:
    """Return the rows of a validation; potentials whose names are alike get the beginning of their ids."""
    names = {row["potential_id"]: row["potential"] for row in study.table}
    often = Counter(names.values())
    told = {id: name if often[name] == 1 else f"{name} ({id[:8]})" for id, name in names.items()}
    return [{**row, "potential": told[row["potential_id"]]} for row in study.table]


def draw_differences(request: FigureRequest) -> Drawn:
    """Draw the difference of each number and curve from first principles."""
    (study,) = request.documents
    table = rows_by_name(study)
    figure = difference_chart(table)
    if figure is None:
        raise DataError(f"validation {study.name} compares no number", "its page says why")
    rows = [[row[column] for column in _NUMBERS] for row in table]
    return Drawn(figure, _made_of(study), DIFFERENCES, Numbers(_NUMBERS, rows))


def draw_compared_curves(request: FigureRequest, family: str) -> Drawn:
    """Draw partial g(r) (`family` rdf) or bond angles (angles) beside first principles, and the difference."""
    (study,) = request.documents
    found = stored_curves(request.results, study, list(study.outcome.get("references", {})), family)
    figure = compared_chart(found, family)
    if figure is None:
        raise DataError(f"validation {study.name} has no such curves", "its page says what it compares")
    rows = [row for each in found for row in _points(each)]
    return Drawn(figure, _made_of(study), "Bands: standard errors.", Numbers(_POINTS, rows))


def stored_curves(results: Results, study: Study, formulas: Sequence[str], family: str) -> list[ComparedCurve]:
    """Read the curves of a family (``rdf`` or ``angles``) of compositions; raises DataError if their file is gone."""
    if not study.files:
        return []
    names = {row["potential_id"]: row["potential"] for row in rows_by_name(study)}
    with np.load(results.artifacts.path(study.files[0])) as stored:
        arrays = dict(stored)
    return [each for formula in formulas for each in compared_curves(arrays, formula, family, names)]


def _points(curve: ComparedCurve) -> list[list[object]]:
    means = (curve.reference, curve.own, curve.difference)
    columns = [curve.x, *(each for mean in means for each in (mean.value, mean.error))]
    head = [curve.formula, curve.potential, curve.name]
    return [
        [*head, *(value if np.isfinite(value) else None for value in row)]
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _made_of(study: Study) -> list[str]:
    return [*named(study), *dict.fromkeys(f"{each.collection}/{each.id}" for each in study.members)]
