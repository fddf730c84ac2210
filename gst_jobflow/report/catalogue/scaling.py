"""Figures of scaling studies (Fig. 1c-e): weak, strong, speed against size, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Study
from gst_jobflow.evaluation.scaling import OUT_OF_MEMORY
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, Numbers
from gst_jobflow.report.figures.scaling import scaling_chart
from gst_jobflow.report.paper import paper_numbers

_COLUMNS = (
    "potential", "ranks", "nodes", "n_atoms", "state", "steps_per_day", "us_per_atom_step", "us_per_atom_step_low",
    "us_per_atom_step_high", "efficiency", "comm_share", "pair_imbalance", "memory_B_per_atom", "peak_rss_MB",
    "processor",
)  # fmt: skip


def draw_scaling(request: FigureRequest) -> Drawn:
    """Draw speed, efficiency, communication and memory of each potential, a curve each.

    Raises DataError if no curve has two points, and InputError if curves are of several compositions or processors, or
    two potentials share a name.
    """
    studies: Sequence[Study] = request.documents
    rows = [row for study in studies for row in study.table if row["state"] in ("measured", OUT_OF_MEMORY)]
    mode = studies[0].plan["mode"]
    if not request.mixed:
        _check_one_kind(studies, rows)
    curves = curves_of(rows, mode)
    if not any(len(each) > 1 for each in curves.values()):
        raise DataError(
            f"scaling study {studies[0].name} has one point a curve, which shows no scaling",
            f"gst submit scaling {mode} with several {'ranks' if mode in ('weak', 'strong') else 'sizes'}",
        )
    figure = scaling_chart(curves, mode, _paper_points(mode) if request.paper else ())
    if figure is None:
        raise DataError(f"no run of scaling study {studies[0].name} was measured", "its page says why")
    body = [[row.get(column) for column in _COLUMNS] for row in rows]
    if request.paper:
        body += [["reference paper: " + point["potential"], *(point.get(column) for column in _COLUMNS[1:])]
                 for point in _paper_points(mode)]  # fmt: skip
    members = [f"{each.collection}/{each.id}" for study in studies for each in study.members]
    made_of = [f"studies/{study.id}" for study in studies] + list(dict.fromkeys(members))
    return Drawn(figure, made_of, "Bars: fastest and slowest repeat; crosses: out of memory.", Numbers(_COLUMNS, body))


def curves_of(rows: Sequence[Mapping[str, Any]], mode: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return rows by curve: of a potential along ranks or, of size and memory, along atoms."""
    other = "asked_atoms" if mode in ("weak", "strong") else "ranks"
    several = len({row[other] for row in rows}) > 1
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of = words.counted(row[other], "atom" if other == "asked_atoms" else "rank")
        share = " a rank" if mode == "weak" else ""
        name = f"{row['potential']}, {of}{share}" if several else str(row["potential"])
        curves.setdefault(name, []).append(row)
    along = "ranks" if mode in ("weak", "strong") else "n_atoms"
    return {name: sorted(each, key=lambda row: row[along]) for name, each in curves.items()}


def _check_one_kind(studies: Sequence[Study], rows: Sequence[Mapping[str, Any]]) -> None:
    for what, found in (
        ("compositions", {study.plan["composition"] for study in studies}),
        ("kinds of scaling", {study.plan["mode"] for study in studies}),
        ("processors", {row["processor"] for row in rows if row["processor"]}),
    ):
        if len(found) > 1:
            raise InputError(f"one curve would join several {what}: {', '.join(sorted(found))}", "add --mixed")
    ids: dict[str, set[Any]] = {}
    for row in rows:
        ids.setdefault(row["potential"], set()).add(row["potential_id"])
    if twice := next((name for name, known in ids.items() if len(known) > 1), None):
        raise InputError(f"one curve would join several potentials named {twice}", "draw each study alone, or --mixed")


def _paper_points(mode: str) -> list[dict[str, Any]]:
    paper = paper_numbers()["scaling"]
    if mode == "size":
        return list(paper["steps_per_day"])
    if mode == "strong":
        known = paper["communication"]
        return [{"potential": "GST-ACE-24", "ranks": known["ranks"], "n_atoms": known["n_atoms"],
                 "comm_share": known["share"]}]  # fmt: skip
    if mode == "memory":
        return [
            {"potential": f"{each['potential']} (derived)", "memory_B_per_atom": 1000 * each["value"]}
            for each in paper["memory_kB_per_atom"]
        ]
    return []
