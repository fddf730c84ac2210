"""Draw a validation: curves of amorphous cells beside those of first-principles dynamics, with error bands."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.report import palette
from gst_jobflow.report.style import PANEL_IN, canvas, legend_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_COLUMNS = 3
_SHORTEST_A = 2.0
_REFERENCE = ("reference", "first principles", "#000000")


@styled
def curves(arrays: Mapping[str, NDArray], formula: str, family: str, names: Mapping[str, str]) -> Figure | None:
    """Draw all curves of a family (`rdf` or `angles`) of a composition, one panel each.

    Parameters
    ----------
    arrays
        Curves, errors and axes by name, as a validation stores them.
    names
        Potentials by id.
    """
    x = arrays[f"{formula}/{'rdf.r_A' if family == 'rdf' else 'angles.deg'}"]
    prefix = f"{formula}/reference/{family}."
    shown = sorted(key.removeprefix(prefix) for key in arrays if key.startswith(prefix) and not key.endswith("/error"))
    shown = [name for name in shown if name != "total"]
    if not shown:
        return None
    rows = -(-len(shown) // _COLUMNS)
    figure = canvas(0.75 * PANEL_IN[0] * _COLUMNS, 0.7 * PANEL_IN[1] * rows + 0.4)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    colours = cycle(palette.METHODS)
    series = [_REFERENCE, *((id, name, next(colours)) for id, name in names.items())]
    x_label, y_label = ("r (Å)", "g(r)") if family == "rdf" else ("angle (°)", "density (1/°)")
    for axes, name in zip(panels, shown, strict=False):
        for who, label, colour in series:
            _banded(axes, x, arrays, f"{formula}/{who}/{family}.{name}", label, colour)
        if family == "rdf":
            # a collapsed pair has a peak near 0 that leaves the panel, and must not flatten all others
            highest = max(np.nanmax(arrays[f"{formula}/{who}/{family}.{name}"][x > _SHORTEST_A]) for who, *_ in series)
            axes.set_ylim(0, 1.15 * max(highest, 1.0))
        axes.set(title=name, xlabel=x_label, ylabel=y_label)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    legend_below(figure, panels[0])
    return figure


def _banded(axes: Axes, x: NDArray, arrays: Mapping[str, NDArray], key: str, label: str, colour: str) -> None:
    """Draw a curve with the band of its standard error."""
    value, error = arrays[key], np.nan_to_num(arrays[f"{key}/error"])
    axes.plot(x, value, lw=1.2, color=colour, label=label)
    axes.fill_between(x, value - error, value + error, color=colour, alpha=0.2, lw=0)
