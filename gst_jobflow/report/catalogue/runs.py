"""Figures of runs beside first principles: g(r), bond angles, motifs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, named
from gst_jobflow.report.catalogue.sources import one_potential
from gst_jobflow.report.figures.analysis import LiquidStructure, liquid_curves, motif_means
from gst_jobflow.report.liquid import liquid_structures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _structures(request: FigureRequest, what: str) -> tuple[list[LiquidStructure], str]:
    runs: list[Trajectory] = list(request.documents)
    one_potential(request.results, what, [run.potential_id for run in runs], request.mixed)
    names = [run.name for run in runs]
    steps = [
        (name if names.count(name) == 1 else f"{name} {run.id[:8]}", run) for name, run in zip(names, runs, strict=True)
    ]
    found, said = liquid_structures(request.results, steps, request.reference)
    if not found:
        raise DataError(f"run {runs[0].name} has no analysis 'liquid'", f"gst analyse {runs[0].id} --what liquid")
    return found, said


def _drawn(
    request: FigureRequest, structures: list[LiquidStructure], said: str, figure: Figure | None, what: str
) -> Drawn:
    if figure is None:
        raise DataError(f"the analyses have no {what}", f"gst analyse {request.documents[0].id} --what liquid")
    made_of = [*named(*request.documents), *(id for each in structures for id in each.made_of)]
    return Drawn(figure, list(dict.fromkeys(made_of)), f"Means over frames. {said}".strip())


def draw_rdf(request: FigureRequest) -> Drawn:
    """Draw partial radial distribution functions of runs beside first principles."""
    found, said = _structures(request, "g(r)")
    return _drawn(request, found, said, liquid_curves(found, "rdf"), "g(r)")


def draw_angles(request: FigureRequest) -> Drawn:
    """Draw distributions of bond angles of runs beside first principles."""
    found, said = _structures(request, "bond angles")
    return _drawn(request, found, said, liquid_curves(found, "angles"), "bond angles")


def draw_motifs(request: FigureRequest) -> Drawn:
    """Draw shares of motifs of runs beside first principles, with standard errors."""
    found, said = _structures(request, "motifs")
    return _drawn(request, found, f"Bars: standard errors. {said}", motif_means(found), "motifs")
