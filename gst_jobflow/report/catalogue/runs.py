"""Figures of runs beside first principles: g(r), bond angles, motifs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, named
from gst_jobflow.report.catalogue.sources import one_potential
from gst_jobflow.report.figures.analysis import LiquidStructure
from gst_jobflow.report.liquid import liquid_structures
from gst_jobflow.report.plot_types import Figure


def draw_liquid(
    request: FigureRequest, what: str, draw: Callable[[Sequence[LiquidStructure]], Figure | None], remark: str = ""
) -> Drawn:
    """Draw `what` of the liquid structure of runs beside that of first principles."""
    runs: list[Trajectory] = list(request.documents)
    one_potential(request.results, what, [run.potential_id for run in runs], request.mixed)
    names = [run.name for run in runs]
    steps = [
        (name if names.count(name) == 1 else f"{name} {run.id[:8]}", run) for name, run in zip(names, runs, strict=True)
    ]
    fix = f"gst analyse {runs[0].id} --what liquid"
    found, said = liquid_structures(request.results, steps, request.reference)
    if not found:
        raise DataError(f"run {runs[0].name} has no analysis 'liquid'", fix)
    figure = draw(found)
    if figure is None:
        raise DataError(f"the analyses have no {what}", fix)
    made_of = [*named(*runs), *(id for each in found for id in each.made_of)]
    return Drawn(figure, list(dict.fromkeys(made_of)), f"Means over frames. {remark}{said}".strip())
