"""The section of a page that shows how potentials scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gst_jobflow.documents import Study
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.scaling import curves_of
from gst_jobflow.report.figures.scaling import scaling_chart
from gst_jobflow.report.pages.elements import PagePart, Table, page_figures
from gst_jobflow.store import Results


def scaling_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield the table of a scaling study, with how it was measured; with `results`, also the figure."""
    columns = ["potential", "ranks", "atoms", "µs/atom/step", "steps/day", "efficiency", "communication",
               "imbalance", "B/atom", "core use"]  # fmt: skip
    body = [[row["potential"], *_cells(row)] for row in study.table]
    part = PagePart("Scaling", _protocol(study), Table(columns, body, frozenset(range(1, len(columns)))))
    if results is not None:
        mode, rows = study.plan["mode"], [row for row in study.table if row["state"] != "not_run"]
        caption = "Bars: fastest and slowest repeat; crosses: out of memory."
        part.figures = page_figures((scaling_chart(curves_of(rows, mode), mode), caption, "Scaling"), wide=True)
    yield part


def _cells(row: dict[str, Any]) -> list[str]:
    nodes = f" ({words.counted(row['nodes'], 'node')})" if row["nodes"] else ""
    size = [f"{row['ranks']:,}{nodes}", f"{row['n_atoms']:,}"]
    if row["state"] != "measured":
        return [*size, row["state"].replace("_", " "), *["–"] * 6]
    spread = f"{row['us_per_atom_step']:.3g}"
    if row["repeats"] > 1:
        spread += f" ({row['us_per_atom_step_low']:.3g} – {row['us_per_atom_step_high']:.3g})"
    return [
        *size,
        spread,
        f"{row['steps_per_day']:,.0f}",
        words.shown(row["efficiency"], ".2f"),
        f"{100 * row['comm_share']:.1f} %",
        f"{row['pair_imbalance']:.2f}",
        words.shown(row["memory_B_per_atom"], ",.0f"),
        f"{100 * row['cpu_use']:.0f} %",
    ]


def _protocol(study: Study) -> str:
    plan = study.plan
    measured = [row for row in study.table if row["state"] == "measured"]
    machines = ", ".join(sorted({f"{row['host']} ({row['processor']})" for row in measured}))
    repeats = "one run of each point, the potentials in turns"
    if plan["repeats"] > 1:
        repeats = (
            f"the median of {plan['repeats']} runs of each point, the potentials in turns; in brackets the fastest and "
            "the slowest"
        )
    load = max((row["load"] for row in measured), default=0.0)
    return (
        f"{plan['mode'].capitalize()} scaling of {words.formula(plan['composition'])} with LAMMPS: {repeats}. Machine: "
        f"{machines or 'none'}; highest load average before a run: {load:.1f}. Core use below 100 % means that other "
        "programs used the cores, too. Memory (B/atom) is the peak resident memory of all ranks less "
        "that of the smallest cell, by the atoms between them."
    )
