"""The section of a page that compares amorphous cells with first-principles dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.words import counted
from gst_jobflow.documents import Study
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.validation import DIFFERENCES, rows_by_name, stored_curves
from gst_jobflow.report.figures import validation as figures
from gst_jobflow.report.pages.elements import PagePart, Table, page_figures
from gst_jobflow.store import Results

_TITLES = {"rdf": "Partial g(r)", "angles": "Bond angles by central element"}


def validation_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield the protocol and a table for each composition; with `results`, also figures."""
    yield PagePart("Validation", _protocol(study))
    for formula in study.outcome.get("references", {}):
        rows = [row for row in rows_by_name(study) if row["composition"] == formula]
        part = PagePart(words.formula(formula), _facts(study, formula), _table(rows), soft=True)
        if results is not None:
            _draw(results, study, formula, rows, part)
        yield part


def _draw(results: Results, study: Study, formula: str, rows: list[dict[str, Any]], part: PagePart) -> None:
    part.figures = page_figures((figures.difference_chart(rows), DIFFERENCES, "Differences"), wide=True)
    try:
        for family, title in _TITLES.items():
            drawn = figures.compared_chart(stored_curves(results, study, [formula], family), family)
            part.figures += page_figures((drawn, f"{title}; bands: standard errors.", title), wide=True)
    except DataError as err:
        part.text += f" Curves cannot be drawn: {err.message}."


def _protocol(study: Study) -> str:
    plan = study.plan
    return (
        f"Each cell starts at random, is melted at {plan['melt_K']:,.0f} K for {plan['melt_ps']:g} ps, quenched to "
        f"{plan['temperature_K']:g} K within {plan['quench_ps']:g} ps, and compared over {plan['hold_ps']:g} ps with "
        "frames of dynamics from first principles. All potentials have the same starts and seeds. A curve's difference "
        "is the root mean square over its range; beside it stands what statistical errors alone give."
    )


def _facts(study: Study, formula: str) -> str:
    facts = study.outcome["references"][formula]
    own = next(row for row in study.table if row["composition"] == formula)
    bonds = ", ".join(f"{pair} {end:.2f} Å" for pair, end in facts["bonds_A"].items() if end is not None)
    at_K = "" if facts["temperature_K"] is None else f" at {facts['temperature_K']:.0f} K"
    return (
        f"Reference: {counted(facts['frames'], 'frame')} of {counted(facts['runs'], 'run')}{at_K}, "
        f"{facts['density_g_cm3']:.2f} g/cm³, method {facts['fingerprint']}; errors from {_errors(facts)}. "
        f"Cells: {counted(own['frames'], 'frame')} of {counted(own['runs'], 'melt-quench', 'melt-quenches')} of each "
        f"potential; errors from {_errors(own)}. Longest bonds: {bonds or 'none'}."
    )


def _errors(found: dict[str, Any]) -> str:
    return "the scatter between runs" if found["errors_between_runs"] else "blocks of frames"


def _table(rows: list[dict[str, Any]]) -> Table:
    body = [
        [_quantity(row["quantity"]), row["potential"], _with_error(row["reference"], row["reference_error"]),
         _with_error(row["value"], row["value_error"]), _with_error(row["difference"], row["error"]), _in_errors(row)]
        for row in sorted(rows, key=lambda row: row["curve"])
    ]  # fmt: skip
    columns = ["quantity", "potential", "first principles", "potential's cells", "difference", "in standard errors"]
    return Table(columns, body, frozenset(range(2, 6)))


def _quantity(name: str) -> str:
    family, _, rest = name.partition("_")
    if family == "coordination":
        return f"{rest.replace('_', ' by ')} neighbours"
    if family == "tetrahedral":
        return f"tetrahedral share of {rest}"
    if name.startswith(("rdf.", "angles.")):
        family, _, rest = name.partition(".")
        return f"g(r) of {rest}" if family == "rdf" else f"bond angles at {rest}"
    return name.replace("_", " ")


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    return words.number(value) if error is None else f"{words.number(value)} ± {error:.2g}"


def _in_errors(row: dict[str, Any]) -> str:
    return f"{row['difference'] / row['error']:.1f}" if row["error"] and row["difference"] is not None else "–"
