"""Draw the figures of a report on labels; each function returns the bytes of a PNG, or None without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gst_jobflow.report import palette, style
from gst_jobflow.report.label_data import Comparison, FORCE_EDGES_eV_A, MethodData
from gst_jobflow.report.plot_types import Axis, Figure

# bins of the force histogram in one step of the figure
_JOINED = 8


@style.styled
def energy_against_volume(data: MethodData) -> Figure | None:
    """Draw energy less atomic references against volume per atom; a point a converged label."""
    columns = data.columns
    good = np.isfinite(columns.volume_A3)
    if not good.any():
        return None
    axes = style.panel()
    style.scatter(axes, columns.volume_A3, data.relative_eV, np.array(columns.config_types.list()), good)
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy less atomic\nreferences (eV/atom)", title="Energy and volume")
    return style.legend_below(axes)


@style.styled
def energy_against_force(data: MethodData) -> Figure | None:
    """Draw the largest force of each label against its energy per atom."""
    columns = data.columns
    good = np.isfinite(columns.max_forces_eV_A) & (columns.max_forces_eV_A > 0)
    if not good.any():
        return None
    axes = style.panel()
    style.scatter(axes, data.relative_eV, columns.max_forces_eV_A, np.array(columns.config_types.list()), good)
    _logarithmic(axes.yaxis)
    axes.set(xlabel="energy less atomic references (eV/atom)", ylabel="largest force (eV/Å)", title="Energy and force")
    return style.legend_below(axes)


@style.styled
def force_distribution(data: MethodData) -> Figure | None:
    """Draw the distribution of force magnitudes, a line a config type."""
    counts = {name: each for name, each in data.force_counts.items() if each.sum()}
    if not counts:
        return None
    axes = style.panel()
    edges = FORCE_EDGES_eV_A[::_JOINED]
    used = np.zeros(len(edges) - 1, dtype=bool)
    for name in style.ordered_types(list(counts)):
        joined = counts[name].reshape(-1, _JOINED).sum(axis=1)
        used |= joined > 0
        axes.stairs(joined / joined.sum(), edges, color=palette.config_type(name), lw=1.6, label=style.readable(name))
    filled = np.flatnonzero(used)
    _logarithmic(axes.xaxis)
    axes.set_xlim(edges[filled[0]] / 1.5, edges[filled[-1] + 1] * 1.5)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="force on an atom (eV/Å)", ylabel="share of the atoms", title="Forces")
    return style.legend_below(axes)


@style.styled
def closest_contacts(data: MethodData) -> Figure | None:
    """Draw a histogram of the closest contacts of labelled structures."""
    types = np.array(data.columns.config_types.list())
    return style.histogram(
        data.columns.min_distance_A, types, "closest contact in a structure (Å)", "labels", "Minimum distances"
    )


@style.styled
def failures(methods: Sequence[MethodData], names: Mapping[str, str]) -> Figure | None:
    """Draw the number of unconverged labels by class, stacked by method."""
    classes: dict[str, np.ndarray] = {}
    for place, data in enumerate(methods):
        for (failure_class, _), number in data.failures.items():
            classes.setdefault(failure_class, np.zeros(len(methods)))[place] += number
    if not classes:
        return None
    shown = sorted(classes, key=lambda name: classes[name].sum())
    axes = style.panel(style.PANEL_IN[0], max(2.0, 1.3 + 0.33 * len(shown)))
    series = [
        (names[data.fingerprint], palette.method(place), np.array([classes[name][place] for name in shown]))
        for place, data in enumerate(methods)
    ]
    style.stacked_bars(axes, [style.readable(name) for name in shown], series)
    axes.xaxis.set_major_locator(style.tick_locator(5, integer=True))
    axes.set(xlabel="labels", title="Unconverged labels")
    return style.legend_below(axes)


def _logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers as ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]  # not in the stubs
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


@style.styled
def cost(methods: Sequence[MethodData], names: Mapping[str, str]) -> Figure | None:
    """Draw wall time of labels against number of atoms, and a power law, for each method."""
    timed = [(place, data) for place, data in enumerate(methods) if (data.columns.wall_s > 0).any()]
    if not timed:
        return None
    axes = style.panel()
    for place, data in timed:
        columns = data.columns
        chosen = style.at_most_shown(np.flatnonzero(columns.wall_s > 0))
        sizes = columns.n_atoms[chosen]
        colour = palette.method(place)
        axes.plot(sizes, columns.wall_s[chosen], "o", ms=3.5, color=colour, alpha=0.5, mew=0, rasterized=True)
        ends = np.array([sizes.min(), sizes.max()])
        law = f"{names[data.fingerprint]}: N$^{{{data.cost.exponent:.1f}}}$"
        axes.plot(ends, data.cost.costs(ends), color=colour, lw=1.6, label=law)
    _logarithmic(axes.xaxis)
    _logarithmic(axes.yaxis)
    axes.set(xlabel="atoms", ylabel="wall time of a label (s)", title="Cost")
    return style.legend_below(axes)


@style.styled
def method_energy_parity(found: Comparison, names: Mapping[str, str]) -> Figure | None:
    """Draw energies of two methods against each other, each less its own atomic references."""
    rmse = f"RMSE {found.errors.energy_rmse_meV:.1f} meV/atom"
    return _parity(found.energy, found.config_types, "energy (eV/atom)", "Energies", rmse, found, names, 5.5)


@style.styled
def method_force_parity(found: Comparison, names: Mapping[str, str]) -> Figure | None:
    """Draw force components of two methods against each other."""
    rmse = f"RMSE {found.errors.force_rmse_meV_A:.1f} meV/Å"
    return _parity(found.force, found.force_config_types, "force component (eV/Å)", "Forces", rmse, found, names, 2.6)


def _parity(
    values: np.ndarray,
    types: np.ndarray,
    quantity: str,
    title: str,
    rmse: str,
    found: Comparison,
    names: Mapping[str, str],
    size: float,
) -> Figure | None:
    if not len(values):
        return None
    axes = style.panel(4.4, 4.7)
    style.diagonal(axes, float(values.min()), float(values.max()))
    everything = np.ones(len(values), dtype=bool)
    style.scatter(axes, values[:, 0], values[:, 1], types, everything, size, 0.4 if size > 4 else 0.2)
    axes.text(0.04, 0.96, rmse, transform=axes.transAxes, va="top", fontsize=9.5)
    axes.set_title(title)
    axes.set_xlabel(f"{names[found.reference]}\n{quantity}")
    axes.set_ylabel(f"{names[found.other]}\n{quantity}")
    return style.legend_below(axes)
