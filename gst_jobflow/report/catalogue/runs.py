"""Figures of runs beside first principles: g(r), bond angles, motifs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, named
from gst_jobflow.report.catalogue.sources import one_potential
from gst_jobflow.report.figures.analysis import LiquidStructure, liquid_curves, motif_means
from gst_jobflow.report.frames import liquid_structures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEANS = "Means over frames"


def _structures(request: FigureRequest, what: str) -> list[LiquidStructure]:
    runs: list[Trajectory] = list(request.documents)
    one_potential(request.results, what, [run.potential_id for run in runs], request.mixed)
    names = [run.name for run in runs]
    steps = [
        (name if names.count(name) == 1 else f"{name} {run.id[:8]}", run) for name, run in zip(names, runs, strict=True)
    ]
    found = liquid_structures(request.results, steps)
    if not found:
        raise DataError(f"run {runs[0].name} has no analysis 'liquid'", f"gst analyse {runs[0].id} --what liquid")
    return found


def _drawn(request: FigureRequest, structures: list[LiquidStructure], figure: Figure | None, what: str) -> Drawn:
    if figure is None:
        raise DataError(f"the analyses have no {what}", f"gst analyse {request.documents[0].id} --what liquid")
    beside = [each for each in structures if each.first_principles]
    remark = f"{_MEANS}; " + (
        "dashed: first principles."
        if beside
        else "the database has no first-principles run of this composition: gst submit aimd."
    )
    made_of = [*named(*request.documents), *(each.source for each in beside)]
    return Drawn(figure, made_of, remark)


def draw_rdf(request: FigureRequest) -> Drawn:
    """Draw partial radial distribution functions of runs beside first principles."""
    found = _structures(request, "g(r)")
    return _drawn(request, found, liquid_curves(found, "rdf"), "g(r)")


def draw_angles(request: FigureRequest) -> Drawn:
    """Draw distributions of bond angles of runs beside first principles."""
    found = _structures(request, "bond angles")
    return _drawn(request, found, liquid_curves(found, "angles"), "bond angles")


def draw_motifs(request: FigureRequest) -> Drawn:
    """Draw shares of motifs of runs beside first principles, with standard errors."""
    found = _structures(request, "motifs")
    drawn = _drawn(request, found, motif_means(found), "motifs")
    return Drawn(drawn.figure, drawn.made_of, f"{drawn.remark} Bars: standard errors by blocks, from ten frames on.")
