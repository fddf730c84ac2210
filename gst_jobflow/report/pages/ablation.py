"""The section of a page that shows an ablation beside Table 1 of the reference paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gst_jobflow.report import words
from gst_jobflow.report.pages.elements import Table

if TYPE_CHECKING:
    from gst_jobflow.documents import Study

# doi 10.1038/s41467-025-63732-4, Table 1: energy RMSE (meV/atom), force RMSE (meV/Å), speed. The paper prints changes;
# its reference row is derived from them.
_PAPER = (
    ("reference: 906 random structures, P = 3, 3,000 functions", 18, 135, 1.0),
    ("50 % of the random structures", 17, 129, 1.0),
    ("25 %", 16, 126, 1.0),
    ("0 %", 15, 122, 1.0),
    ("P = 2", 21, 142, 1.0),
    ("P = 1", 23, 165, 1.0),
    ("1,500 functions", 22, 144, 1.5),
    ("750 functions", 23, 153, 2.1),
    ("300 functions", 23, 168, 3.1),
)
_COLUMNS = {
    "functions": "functions",
    "test_energy_meV_per_atom": "energy (meV/atom)",
    "test_force_meV_per_A": "forces (meV/Å)",
    "relative_speed": "relative speed",
    "success": "melts survived",
}


def ablation_section(study: Study) -> dict[str, Any] | None:
    """Tables of an ablation; None for other studies."""
    if study.kind != "ablation":
        return None
    varied = [*(["random_share"] if "random_shares" in study.plan else []), *study.plan["vary"]]
    shown = {key: name for key, name in _COLUMNS.items() if any(row.get(key) is not None for row in study.table)}
    body = [[*(str(row[key]) for key in varied), *(_cell(row, key) for key in shown)] for row in study.table]
    columns = [*(key.replace("_", " ") for key in varied), *shown.values()]
    paper = [[name, str(energy), str(force), f"{speed:g}"] for name, energy, force, speed in _PAPER]
    return {
        "table": Table(columns, body, frozenset(range(len(varied), len(columns)))),
        "paper": Table(["what", "energy (meV/atom)", "forces (meV/Å)", "relative speed"], paper, frozenset({1, 2, 3})),
    }


def _cell(row: dict[str, Any], key: str) -> str:
    if row.get(key) is None:
        return "–"
    if key == "success":
        return f"{row[key]:.2f} ({row['success_low']:.2f} – {row['success_high']:.2f})"
    return words.number(row[key])
