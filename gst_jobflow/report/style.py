"""Share the style of all figures: size, fonts, colours of config types, legends, axes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import numpy as np

from gst_jobflow.report import palette
from gst_jobflow.report.plot_types import Axes, Figure

DPI = 150
PANEL_IN = (3.9, 3.3)
WIDE_IN = 9.4
GREY = "#5B6470"
_POINTS_SHOWN = 20_000
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#1D2530",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#1D2530",
    "ytick.labelcolor": "#1D2530",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


def canvas(width_in: float, height_in: float) -> Figure:
    """Return a new figure, without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel(width_in: float = PANEL_IN[0], height_in: float = PANEL_IN[1]) -> Axes:
    """Return the axes of a new figure of one panel."""
    return canvas(width_in, height_in).subplots()


def to_png(figure: Figure) -> bytes:
    """Return the bytes of a PNG, reproducible: no date, no version."""
    return saved(figure, "png", {"Software": None})


def saved(figure: Figure, kind: str, metadata: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file of `kind` (png, svg, pdf); ticks and layout, which are made now, get the style."""
    import matplotlib

    buffer = io.BytesIO()
    # a salt makes the ids of an SVG reproducible
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "gst"}):
        figure.savefig(buffer, format=kind, dpi=DPI, facecolor="white", metadata=dict(metadata))
    return buffer.getvalue()


def settle(figure: Figure) -> None:
    """Lay a figure out once for several files: this takes longer than drawing."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")


def styled(draw: Any) -> Any:
    """Decorate a drawing function: apply the style while it runs."""

    @wraps(draw)
    def wrapper(*args: Any, **keywords: Any) -> Figure | None:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **keywords)

    return wrapper


def readable(config_type: str) -> str:
    """Return the name of a config type for legends."""
    return config_type.replace("_", " ")


def ordered_types(names: Sequence[str]) -> list[str]:
    """Return config types in the order of the palette."""
    present = set(names)
    return [name for name in palette.CONFIG_TYPES if name in present] + sorted(present - set(palette.CONFIG_TYPES))


def panel_grid(figure: Figure, number: int, columns: int, *, sharex: bool = False, sharey: bool = False) -> list[Axes]:
    """Return `number` panels in rows of `columns`; the lowest of each column shows the numbers of its x axis."""
    panels = figure.subplots(-(-number // columns), columns, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for axes in panels[number:]:
        axes.set_visible(False)
    for axes in panels[max(0, number - columns) : number]:
        axes.tick_params(labelbottom=True)
    return list(panels[:number])


def legend_entries(panels: Iterable[Axes]) -> dict[str, Any]:
    """Return the handles of the legends of panels by label, each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return found


def legend_below(*panels: Axes, columns: int = 3, **look: Any) -> Figure:
    """Put one legend of panels below their figure, in as many of the columns as fit, and return the figure."""
    figure: Any = panels[0].figure
    if found := legend_entries(panels):
        look = {"loc": "outside lower center", "handlelength": 1.6} | look
        for number in range(min(columns, len(found)), 0, -1):
            legend = figure.legend([*found.values()], [*found], ncols=number, **look)
            if number == 1 or legend.get_window_extent().width <= figure.bbox.width:
                break
            legend.remove()
    return figure


def tick_locator(at_most: int, **keywords: Any) -> Any:
    """Return a locator of at most `at_most` round ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=at_most, steps=[1, 2, 2.5, 5, 10], **keywords)


def whole_numbers(axes: Axes) -> None:
    """Put the ticks of the y axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def at_most_shown(indices: np.ndarray) -> np.ndarray:
    """Return at most 20,000 of `indices`, a reproducible random sample."""
    if len(indices) <= _POINTS_SHOWN:
        return indices
    return np.sort(np.random.default_rng(0).choice(indices, _POINTS_SHOWN, replace=False))


def histogram(values: np.ndarray, types: np.ndarray, x_label: str, y_label: str, title: str) -> Figure | None:
    """Draw a histogram of `values` (n,), stacked by config type; NaN is left out."""
    finite = np.isfinite(values)
    if not finite.any():
        return None
    axes = panel()
    low, high = values[finite].min(), values[finite].max()
    margin = max(0.05 * (high - low), 0.02 * abs(high), 1e-6)
    bins = np.linspace(low - margin, high + margin, 31).tolist()
    names = ordered_types(types[finite].tolist())
    axes.hist(
        [values[finite & (types == name)] for name in names],
        bins=bins,
        stacked=True,
        color=[palette.config_type(name) for name in names],
        label=[readable(name) for name in names],
        edgecolor="white",
        linewidth=0.4,
    )
    whole_numbers(axes)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    return legend_below(axes)


def stacked_bars(axes: Axes, names: Sequence[str], series: Sequence[tuple[str, str, np.ndarray]]) -> None:
    """Draw horizontal bars of counts with their totals, stacked by label, colour and widths (n,) of each series."""
    left = np.zeros(len(names))
    for label, colour, widths in series:
        if widths.any():
            axes.barh(range(len(names)), widths, left=left, height=0.7, color=colour, label=label)
        left += widths
    for place, total in enumerate(left):
        axes.annotate(f"{int(total):,}", (total, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), list(names))
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.14)


def scatter(
    axes: Axes, x: np.ndarray, y: np.ndarray, types: np.ndarray, good: np.ndarray, size: float = 4.5, edge: float = 0.4
) -> None:
    """Draw the points of `good` (n, bool), one series a config type."""
    for name in ordered_types(types[good].tolist()):
        chosen = at_most_shown(np.flatnonzero(good & (types == name)))
        axes.plot(
            x[chosen],
            y[chosen],
            palette.marker(name),
            color=palette.config_type(name),
            ms=size,
            mew=edge,
            mec="white",
            alpha=0.85,
            label=readable(name),
            rasterized=True,
        )


def discs(axes: Axes, centres: np.ndarray, diameters: np.ndarray, **look: Any) -> None:
    """Draw discs at `centres` (n, 2) with `diameters` (n,), both in the units of the axes, the last on top."""
    from matplotlib.collections import EllipseCollection

    size: Any = {"units": "xy", "offsets": centres, "offset_transform": axes.transData}
    axes.add_collection(EllipseCollection(diameters, diameters, np.zeros(len(centres)), **size, **look))


def diagonal(axes: Axes, low: float, high: float) -> None:
    """Set equal limits around `low` to `high` and draw the line of equality of a parity plot."""
    margin = 0.05 * max(high - low, 1e-3)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=GREY, lw=0.9, zorder=1)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(tick_locator(5))
