"""All figures by name; `find_kind` also knows their numbers in the reference paper."""

from __future__ import annotations

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.documents import Study
from gst_jobflow.report.catalogue import studies
from gst_jobflow.report.catalogue.kinds import FigureKind

FIGURES = (
    FigureKind(
        "ablation",
        ("table-1",),
        "Errors, relative speed and robustness of the fits of an ablation",
        Study,
        "finished ablation",
        "gst submit ablation DATASET --vary embedding.n_densities=1,2,3",
        studies.draw_ablation,
        {"kind": "ablation", "state": "finished"},
    ),
    FigureKind(
        "success-by-iteration",
        ("2a",),
        "Share of hot melts that the potential of each iteration survives",
        Study,
        "finished robustness study",
        "gst submit robustness POTENTIAL…",
        studies.draw_success_by_iteration,
        {"kind": "robustness", "state": "finished"},
        joins=True,
    ),
    FigureKind(
        "success-by-share",
        ("2b",),
        "Share of hot melts survived against the share of random structures in the training set",
        Study,
        "finished ablation of random structures",
        "gst submit ablation DATASET --share random=1,0.5,0.25,0 --robustness",
        studies.draw_success_by_share,
        {"kind": "ablation", "state": "finished", "plan.random_shares": {"$exists": True}},
    ),
)


def find_kind(name: str) -> FigureKind:
    """Return the figure of a name, or of its number in the paper.

    Raises
    ------
    InputError
        There is no such figure; the nearest name is given.
    """
    by_name = {each.name: each for each in FIGURES} | {number: each for each in FIGURES for number in each.paper}
    found = by_name.get(name.lower().removeprefix("fig-").removeprefix("fig."))
    if found is None:
        raise InputError(f"no figure '{name}'", f"{nearest(name.lower(), by_name)} (gst figure lists all)")
    return found
