"""The section of a page that shows a training protocol iteration by iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gst_jobflow.documents import Study
from gst_jobflow.report import words
from gst_jobflow.report.figures.iteration import PANELS
from gst_jobflow.report.pages.elements import PagePart, Table, page_figures
from gst_jobflow.store import Results


def iteration_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield the tables of a training protocol; with `results`, also figures."""
    done = finished_iterations(study)
    panels = PANELS if done and results is not None else ()
    drawn = page_figures(*((draw(done), caption, caption) for draw, caption in panels))
    yield PagePart("Iterations", _summary(study, done), _table(study.table), drawn)
    text = f"Labels of {study.plan['fingerprint']}. A composition is the nearest of the plan's."
    yield PagePart("Candidates and choice", text, _sources(study.table), soft=True)


def finished_iterations(study: Study) -> list[dict[str, Any]]:
    """Return the rows of iterations that are done."""
    return [row for row in study.table if row["state"] == "finished"]


def _summary(study: Study, done: list[dict[str, Any]]) -> str:
    plan, outcome = study.plan["plan"], study.outcome
    begin = study.plan["begin"]
    parts = [f"{len(done)} of at most {len(study.table)} iterations are done."]
    if begin.get("branch_of"):
        parts.append(f"It branches off study {begin['branch_of'][:12]} after iteration {begin['after']}.")
    if outcome:
        met = "The gate was met." if outcome["gate_met"] else "The gate was not met: " + "; ".join(outcome["unmet"])
        parts.append(met if (plan["gate"] and outcome["unmet"]) or outcome["gate_met"] else "The plan has no gate.")
    elif done and done[-1]["unmet"]:
        parts.append("Not met so far: " + "; ".join(done[-1]["unmet"]) + ".")
    return " ".join(parts)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = ["iteration", "state", "chosen", "labels (failed)", "train", "test", "energy (meV/atom)"]
    columns += ["forces (meV/Å)", "melts that succeed", "closest contact (Å)", "gamma"]
    body = []
    for row in rows:
        success = "–"
        if row.get("success") is not None:
            success = f"{row['success']:.2f} ({row['success_low']:.2f} – {row['success_high']:.2f})"
        contact = "–" if row.get("closest_A") is None else f"{row['closest_A']:.2f} {row['closest_pair']}"
        labels = "–"
        if "labels_converged" in row:
            labels = f"{row['labels_converged'] + row['labels_known']} ({row['labels_failed']})"
        body.append([
            str(row["iteration"]), row["state"], words.number(row.get("chosen")), labels,
            words.number(row.get("train")), words.number(row.get("test")),
            words.shown(row.get("energy_meV_per_atom"), ",.1f"), words.shown(row.get("force_meV_per_A"), ",.0f"),
            success, contact, words.shown(row.get("gamma"), ",.2f"),
        ])  # fmt: skip
    return Table(columns, body, frozenset({0, *range(2, 8), 10}))


def _sources(rows: list[dict[str, Any]]) -> Table:
    body = [
        [str(row["iteration"]), part["source"], words.formula(part["composition"]), f"{part['candidates']:,}",
         f"{part['chosen']:,}"]
        for row in rows
        for part in row.get("by_source", ())
    ]  # fmt: skip
    return Table(["iteration", "source", "composition", "candidates", "chosen"], body, frozenset({0, 3, 4}))
