"""A figure of stored analyses: coordination against the frame."""

from __future__ import annotations

from matplotlib.figure import Figure

from gst_jobflow.analysis.series import newest
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Study
from gst_jobflow.report.catalogue.kinds import Drawn, FigureKind, FigureRequest, named


def draw(request: FigureRequest) -> Drawn:
    """Return the figure and what it was made of."""
    study = request.documents[0]
    series = newest(study, "coordination")
    if series is None:
        raise DataError(f"{study.name} has no coordination", "gst analyse -w config_type=… --what coordination")
    places, values = series.column("coordination_mean")
    figure = Figure(figsize=(3.5, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(places, values, "o")
    axes.set(xlabel="structure", ylabel="neighbours within 3.2 Å")
    return Drawn(figure, named(study))


FIGURE = FigureKind(
    name="coordination",
    paper=(),
    shows="Neighbours within 3.2 Å of stored structures",
    model=Study,
    needs="analysis of structures with coordination",
    made_by="gst analyse -w config_type=… --what coordination",
    draw=draw,
    where={"kind": "analysis", "state": "finished"},
)
