"""Build the section of a page on an evaluation of potentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gst_jobflow.base.words import counted
from gst_jobflow.documents import Study
from gst_jobflow.evaluation.evaluate import DATA_PREFIX
from gst_jobflow.report import palette, words
from gst_jobflow.report.figures import evaluation as evaluation_figures
from gst_jobflow.report.figures import study as study_figures
from gst_jobflow.report.figures.evaluation import EvaluationArrays
from gst_jobflow.report.pages.elements import Figure, PagePart, Table, page_figures
from gst_jobflow.store import Results

_ERRORS = ("rmse", "mae", "max")
_KINDS = {
    "config_type": "By config type",
    "composition": "By composition",
    "iteration": "By iteration",
    "min_distance_A": "By closest contact (Å)",
}


def evaluation_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield what was evaluated and the table of all potentials; with `results`, also figures and one by one."""
    rows = overall_rows(study)
    facts = [
        ("Labels", str(study.plan["labels"])),
        ("Structures", f"{study.plan['n_structures']:,} with {study.plan['n_atoms']:,} atoms"),
        ("Method", str(study.plan["fingerprint"])),
    ]
    overall = PagePart("Evaluation", table=_overall(study, rows), facts=facts)
    if results is None:
        yield overall
        return
    drawn = evaluation_figures.accuracy_and_speed(rows)
    overall.figures = page_figures((drawn, "Better is to the lower left.", "Force error against speed"))
    yield overall
    for row in rows:
        yield from _potential(results, study, row)


def overall_rows(study: Study) -> list[dict[str, Any]]:
    """Return the row of each potential over all structures."""
    return [row for row in study.table if row["group"] == "all"]


def _overall(study: Study, rows: list[dict[str, Any]]) -> Table:
    about = {each["id"]: each for each in study.plan["potentials"]}
    body = []
    for row in rows:
        each = about[row["potential_id"]]
        speed = row.get("us_per_atom_step")
        timed_by = f", {row['timed_by']}" if row.get("timed_by", "LAMMPS") != "LAMMPS" else ""
        where = f" on {counted(row['ranks'], 'rank')}, {row['speed_atoms']:,} atoms{timed_by}" if speed else ""
        shape = [words.number(each["n_densities"]), f"{each['n_functions']:,}", f"{each['cutoff_A']:g}"]
        body.append([row["potential"], *shape, *_numbers(row), (f"{speed:.3g}" if speed else "–") + where])
    columns = ["potential", "P", "functions", "cutoff (Å)", *2 * ["RMSE", "MAE", "largest"], "µs/atom/step"]
    groups = (("", 4), ("energy (meV/atom)", 3), ("forces (meV/Å)", 3), ("speed", 1))
    return Table(columns, body, frozenset(range(1, 10)), groups)


def _numbers(row: dict[str, Any]) -> list[str]:
    units = {"energy": "meV_per_atom", "force": "meV_per_A"}
    return [f"{row[f'{what}_{kind}_{unit}']:.3g}" for what, unit in units.items() for kind in _ERRORS]


def _potential(results: Results, study: Study, overall: dict[str, Any]) -> Iterator[PagePart]:
    id = overall["potential_id"]
    arrays = _arrays(results, study, id, overall["potential"])
    rows = [row for row in study.table if row["potential_id"] == id and row["group"] != "all"]
    drawn = _figures(arrays) if arrays is not None else []
    text = f"Evaluated by {study.plan['evaluators'][id]}."
    yield PagePart(overall["potential"], text, figures=drawn, soft=True, wanted="Predictions")
    for kind, title in _KINDS.items():
        shown = words.formula if kind == "composition" else str
        body = [
            [shown(row["value"]), f"{row['n_structures']:,}", *_numbers(row)] for row in rows if row["group"] == kind
        ]
        # one group repeats the table above
        if len(body) > 1:
            columns = ["", "structures", *2 * ["RMSE", "MAE", "largest"]]
            groups = (("", 2), ("energy (meV/atom)", 3), ("forces (meV/Å)", 3))
            dots = palette.CONFIG_TYPES if kind == "config_type" else {}
            yield PagePart(title, table=Table(columns, body, frozenset(range(1, 8)), groups, dots))


def _arrays(results: Results, study: Study, potential_id: str, name: str) -> EvaluationArrays | None:
    ref = next((each for each in study.files if each.name == f"{DATA_PREFIX}{potential_id}.npz"), None)
    if ref is None:
        return None
    fields = [field for field in EvaluationArrays.__dataclass_fields__ if field != "name"]
    with np.load(results.artifacts.path(ref), allow_pickle=False) as content:
        return EvaluationArrays(name=name, **{field: content[field] for field in fields})


def _figures(arrays: EvaluationArrays) -> list[Figure]:
    parity = {"evaluated": arrays}
    residuals = "Prediction less reference."
    by_distance = evaluation_figures.errors_by_distance(arrays)
    return [
        *page_figures(
            (
                study_figures.energy_parity(parity),
                "Energy per atom less that of the free atoms.",
                "Parity plot of energies",
            ),
            (study_figures.force_parity(parity), "Force components.", "Parity plot of forces"),
            (evaluation_figures.energy_residuals(arrays), residuals, "Residuals of energies"),
            (evaluation_figures.force_residuals(arrays), residuals, "Residuals of forces"),
        ),
        *page_figures((by_distance, "One point a structure.", "Errors against minimum distance"), wide=True),
    ]
