"""Draw the figures of a device cycle: energy, temperature, order and heat through time and along z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gst_jobflow.analysis.disorder import OrderMap
from gst_jobflow.analysis.series import newest
from gst_jobflow.documents import Trajectory
from gst_jobflow.report import palette
from gst_jobflow.report.collect import CycleData
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import PANEL_IN, WIDE_IN, canvas, legend_below, panel, panel_grid, styled, tick_locator

# if durations differ by a larger factor, short operations get more than their share of the time axis
_SAME_SCALE = 5.0
# an operation longer than the shortest by this factor has a logarithmic axis, where its beginning stays legible
_LOGARITHMIC = 1000.0


@styled
def cycle_overview(data: CycleData) -> Figure | None:
    """Draw potential energy, temperature and crystal-like fraction over the whole cycle, a column an operation."""
    steps = [(name, run) for name, run in data.steps if run.thermo.get("time_ps")]
    if not steps:
        return None
    figure = canvas(WIDE_IN, 6.6)
    grid = operation_columns(figure, steps, 3)
    zero = steps[0][1].thermo.get("potential_eV", [0.0])[0]
    start = 0.0
    for column, (name, run) in enumerate(steps):
        colour = palette.operation(run.protocol)
        time = _own_time(run.thermo["time_ps"])
        _line(grid[0][column], start + time, _per_atom(run, zero), colour, name)
        _line(grid[1][column], start + time, run.thermo.get("temperature_K"), colour, name)
        _fraction(grid[2][column], start, run, colour, name)
        _mark_stages(grid[2][column], start, run)
        _title(grid[0][column], name, run)
        start += max(run.duration_ps, float(time[-1]))
    labels = ("potential energy above\nstart (eV/mobile atom)", "temperature\n(K)", "crystal-like\nfraction")
    for row, label in zip(grid, labels, strict=True):
        row[0].set_ylabel(label)
    for axes in grid[2]:
        axes.set_ylim(-0.03, 1.03)
    for axes in grid[1]:
        axes.set_ylim(bottom=0)
    figure.align_ylabels([row[0] for row in grid])
    figure.supxlabel("time (ps)", fontsize=10.5)
    return figure


def _own_time(times_ps: Sequence[float]) -> np.ndarray:
    """Return times since the start of a run."""
    times = np.asarray(times_ps, dtype=float)
    return times - times[0] if len(times) else times


def _per_atom(run: Trajectory, zero_eV: float) -> np.ndarray | None:
    values = run.thermo.get("potential_eV")
    # a frozen barrier takes up no energy
    return None if values is None else (np.asarray(values) - zero_eV) / run.groups.get("mobile", run.n_atoms)


def operation_columns(figure: Figure, steps: list[tuple[str, Trajectory]], rows: int) -> list[list[Axes]]:
    """Return axes (rows × operations) with shared y; widths follow comparable durations."""
    durations = np.array([max(run.duration_ps, 1e-9) for _, run in steps])
    comparable = durations.max() / durations.min() <= _SAME_SCALE
    widths = durations / durations.max() if comparable else (durations / durations.max()) ** 0.3
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)  # set by canvas
    layout.set(wspace=0.0, w_pad=0.02)
    widths = np.maximum(widths, 0.25)
    grid = figure.subplots(rows, len(steps), sharex="col", sharey="row", squeeze=False, width_ratios=widths)
    ticks = np.maximum(1, np.round(4 * widths / widths.max())).astype(int)
    for row in grid:
        for column, (axes, (_, run)) in enumerate(zip(row, steps, strict=True)):
            axes.set_facecolor(palette.rgb(palette.operation(run.protocol), 0.93))
            axes.margins(x=0)
            axes.grid(color="white", linewidth=1.0)
            axes.tick_params(labelleft=column == 0, left=column == 0)
            axes.spines["left"].set_visible(column == 0)
            if durations[column] >= _LOGARITHMIC * durations.min():
                axes.set_xscale("log", nonpositive="clip")
            else:
                axes.xaxis.set_major_locator(tick_locator(int(ticks[column]), prune="upper"))
    return [list(row) for row in grid]


def _line(axes: Axes, time: np.ndarray, values: Any, colour: str, name: str = "") -> None:
    if values is None or len(values) != len(time):
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="#5B6470")
        return
    axes.plot(time, values, color=colour, label=name)


def grain_stages(run: Trajectory) -> tuple[float, float, float] | None:
    """Return when nucleation begins, growth begins and the series ends, ps; None without new grains.

    Nucleation lasts from the first frame with more grains than the first one to that with most grains.
    """
    series = newest(run, "grains")
    if series is None or len(series.steps) < 2:
        return None
    time, number = (each[np.isfinite(series.column("n_grains")[1])] for each in series.column("n_grains"))
    more = np.flatnonzero(number > number[0])
    if not len(more):
        return None
    return float(time[more[0]]), float(time[int(np.argmax(number))]), float(time[-1])


def _mark_stages(axes: Axes, start: float, run: Trajectory) -> None:
    """Shade nucleation and growth of a SET below its curve."""
    stages = grain_stages(run) if run.protocol == "SET" else None
    if stages is None:
        return
    start -= (run.thermo.get("time_ps") or [0.0])[0]
    first, middle, last = (start + moment for moment in stages)
    for low, high, name, shade in ((first, middle, "nucleation", 0.62), (middle, last, "growth", 0.35)):
        if high > low:
            colour = palette.rgb(palette.operation("SET"), shade)
            axes.axvspan(low, high, 0.0, 0.07, color=colour, lw=0)
            centre = (low * high) ** 0.5 if axes.get_xscale() == "log" and low > 0 else (low + high) / 2
            axes.annotate(name, (centre, 0.1), xycoords=("data", "axes fraction"), ha="center", fontsize=8)


def _fraction(axes: Axes, start: float, run: Trajectory, colour: str, name: str) -> None:
    series = run.analysis.get("crystalline") or {}
    times, values = series.get("time_ps") or [], series.get("fraction") or []
    if not times or len(times) != len(values):
        axes.text(0.5, 0.5, "not analysed", transform=axes.transAxes, ha="center", color="#5B6470")
        return
    # the first frame may come after the first line of thermodynamics
    origin = (run.thermo.get("time_ps") or times)[0]
    axes.plot(start + np.asarray(times) - origin, values, "o-", ms=3.2, color=colour, label=name)


def _title(axes: Axes, name: str, run: Trajectory) -> None:
    lines = [name]
    if run.asked_energy_eV:
        added = run.added_energy_eV
        lines.append(f"asked {run.asked_energy_eV:.4g} eV")
        lines.append(f"logged {added:.4g} eV" if added is not None else "not logged")
    else:
        temperatures = {stage["temperature_K"] for stage in run.stages if stage.get("temperature_K")}
        lines += [f"held at {max(temperatures):g} K" if temperatures else f"{run.duration_ps:g} ps", ""]
    look: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold", "color": palette.operation(run.protocol)}
    for place, line in enumerate(lines):
        axes.annotate(line, (0, 1), (3, 34 - 14 * place), "axes fraction", "offset points", **look)
        look = {"fontsize": 9, "color": "#3C4652"}


def _profile(run: Trajectory, name: str, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return z (Å), time (ps) and the values of an analysis (times × bins); NaN where a bin held no atoms."""
    series = run.analysis.get(name) or {}
    z, time = np.asarray(series.get("z_A") or [], float), np.asarray(series.get("time_ps") or [], float)
    try:
        # None becomes NaN
        values = np.array([list(row) for row in series.get(key) or []], dtype=float)
    except (TypeError, ValueError):
        return None
    return (z, time, values) if len(z) and values.shape == (len(time), len(z)) else None


def _temperature(run: Trajectory) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    return _profile(run, "temperature_profile", "temperature_K")


@styled
def temperature_lines(name: str, run: Trajectory) -> Figure | None:
    """Draw temperature against z at several times of one operation."""
    profile = _temperature(run)
    if profile is None:
        return None
    axes = panel()
    _heating(axes, profile)
    axes.set_title(f"{name}: heating")
    axes.set_ylim(bottom=0)
    return legend_below(axes)


@styled
def pulse_profiles(
    pulses: Sequence[tuple[str, Trajectory]], ends_K: tuple[float, float] | None = None
) -> Figure | None:
    """Draw temperature against z during each pulse, a panel a pulse; dotted: `ends_K`, bottom and top of the first."""
    profiles = [(name, profile) for name, run in pulses if (profile := _temperature(run)) is not None]
    if not profiles:
        return None
    figure = canvas(max(4.4, min(WIDE_IN, 3.4 * len(profiles))), 3.9)
    (row,) = figure.subplots(1, len(profiles), sharey=True, squeeze=False)
    for axes, (name, profile) in zip(row, profiles, strict=True):
        _heating(axes, profile)
        axes.set_title(name)
        axes.set_ylabel("temperature (K)" if axes is row[0] else "")
        axes.legend(fontsize=7.5, handlelength=1.2)
    for end_K in ends_K or ():
        row[0].axhline(end_K, color=palette.METHODS[1], ls=":", lw=1.4)
    row[0].set_ylim(bottom=0)
    return figure


def _heating(axes: Axes, profile: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Draw profiles at up to five times until the hottest moment, and the last one dashed."""
    import matplotlib

    z, time, values = profile
    colours = matplotlib.colormaps["cividis"]
    # up to the hottest moment: lines of the cooling would overlap
    hottest = int(np.nanargmax(np.where(np.isfinite(values), values, 0).mean(axis=1)))
    chosen = np.unique(np.linspace(0, hottest, min(5, hottest + 1)).round().astype(int))
    for place, index in enumerate(chosen):
        colour = colours(0.92 * place / max(1, len(chosen) - 1))
        axes.plot(z, values[index], "-", marker=".", ms=5, color=colour, label=f"{time[index]:.3g} ps")
    if hottest < len(time) - 1:
        axes.plot(z, values[-1], "--", color="#5B6470", label=f"{time[-1]:.3g} ps (end)")
    axes.set(xlabel="z (Å)", ylabel="temperature (K)")


@styled
def temperature_map(data: CycleData) -> Figure | None:
    """Draw the temperature as colour over time and z, for the whole cycle."""
    steps = [(name, run, _temperature(run)) for name, run in data.steps]
    return z_time_map(steps, "inferno", "temperature (K)", (0.0, None))


@styled
def crystalline_map(data: CycleData) -> Figure | None:
    """Draw the crystal-like fraction as colour over time and z, for the whole cycle."""
    steps = [(name, run, _profile(run, "crystalline", "fraction_by_z")) for name, run in data.steps]
    return z_time_map(steps, "cividis", "crystal-like fraction", (0.0, 1.0))


def z_time_map(
    steps: list[tuple[str, Trajectory, tuple[np.ndarray, np.ndarray, np.ndarray] | None]],
    colours: str,
    label: str,
    limits: tuple[float | None, float | None],
) -> Figure | None:
    """Draw z against time, a column an operation, with one colour scale."""
    found = [profile[2] for _, _, profile in steps if profile is not None]
    if not found or not any(np.isfinite(values).any() for values in found):
        return None
    low = limits[0] if limits[0] is not None else min(float(np.nanmin(values)) for values in found)
    top = limits[1] if limits[1] is not None else max(float(np.nanmax(values)) for values in found)
    figure = canvas(WIDE_IN, 3.6)
    (row,) = operation_columns(figure, [(name, run) for name, run, _ in steps], 1)
    start, image = 0.0, None
    for axes, (name, run, profile) in zip(row, steps, strict=True):
        axes.grid(visible=False)
        axes.set_title(name, color=palette.operation(run.protocol))
        if profile is not None:
            z, time, values = profile
            origin = (run.thermo.get("time_ps") or [0.0])[0]
            times = bin_edges(start + time - origin)
            image = axes.pcolormesh(times, bin_edges(z), values.T, cmap=colours, vmin=low, vmax=top, rasterized=True)
        start += run.duration_ps
    row[0].set_ylabel("z (Å)")
    figure.supxlabel("time (ps)", fontsize=10.5)
    if image is not None:
        figure.colorbar(image, ax=row, label=label, pad=0.01, aspect=30)
    return figure


def bin_edges(centres: np.ndarray) -> np.ndarray:
    """Return the n + 1 edges of cells around `centres` (n,)."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[centres[0] - (middle[0] - centres[0])], middle, [2 * centres[-1] - middle[-1]]])


@styled
def order_maps(maps: Sequence[tuple[str, OrderMap]], data: CycleData) -> Figure | None:
    """Draw the crystal-like fraction in squares of x and z, a panel a state; dashed: heated by the last pulse.

    None for a cell without a dome's pulse, which is uniform along x.
    """
    domes = {f"after {name}": dome for name, run in data.steps if (dome := dome_of(run)) is not None}
    if not maps or not domes:
        return None
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    _, first = maps[0]
    aspect = float(first.z_A[-1] / first.x_A[-1])
    figure = canvas(WIDE_IN, rows * (WIDE_IN * 0.82 / columns * aspect + 0.4) + 0.5)
    panels = panel_grid(figure, len(maps), columns, sharex=True, sharey=True)
    image: Any = None
    heated = None
    for axes, (title, order) in zip(panels, maps, strict=True):
        heated = domes.get(title, heated)
        image = _order_panel(axes, order)
        if heated is not None:
            dome_outline(axes, heated)
        axes.set_title(title)
    for axes in panels[::columns]:
        axes.set_ylabel("z (nm)")
    figure.supxlabel("x (nm)", fontsize=10.5)
    figure.colorbar(image, ax=panels, label="crystal-like fraction", pad=0.01, aspect=30)
    return figure


def dome_of(run: Trajectory) -> dict[str, Any] | None:
    profiles = (stage.get("profile") or {} for stage in run.stages)
    return next((profile for profile in profiles if profile.get("kind") == "dome"), None)


def _order_panel(axes: Axes, order: OrderMap) -> Any:
    """Draw one map in nm, grey without mobile atoms."""
    axes.set_facecolor("#B9BEC6")
    axes.grid(visible=False)
    axes.set_aspect("equal")
    x, z = order.x_A / 10, order.z_A / 10
    return axes.pcolormesh(x, z, order.fraction.T, cmap="cividis", vmin=0.0, vmax=1.0, rasterized=True)


def dome_outline(axes: Axes, dome: dict[str, Any]) -> None:
    """Draw the upper half of the border of the heated region."""
    x, _, z = dome["centre_A"]
    angle, radius = np.linspace(0, np.pi, 91), dome["diameter_A"] / 20
    axes.plot(x / 10 + radius * np.cos(angle), z / 10 + radius * np.sin(angle), "--", color="#D6453D", lw=1.4)


@styled
def dome_sizes(data: CycleData) -> Figure | None:
    """Draw the size of the disordered dome during each pulse of a dome."""
    runs = [(name, run) for name, run in data.steps if (run.analysis.get("dome") or {}).get("time_ps")]
    if not runs:
        return None
    axes = panel()
    for place, (name, run) in enumerate(runs):
        series, colour = run.analysis["dome"], palette.method(place)
        time, size = np.array(series["time_ps"]), np.array(series["diameter_A"]) / 10
        axes.plot(time - time[0], size, "o-", ms=3.2, color=colour, label=name)
        axes.axhline(series["asked_diameter_A"] / 10, color=colour, lw=1.0, ls=":")
    axes.set(xlabel="time since the pulse began (ps)", ylabel="diameter of half-disc\nof same area (nm)")
    axes.set(title="Disordered dome")
    axes.set_ylim(bottom=0)
    return legend_below(axes)


@styled
def pulse_energies(data: CycleData) -> Figure | None:
    """Draw the cumulative energy of the kicks of each pulse, and the requested energy."""
    pulses = [(name, run, run.asked_energy_eV) for name, run in data.steps if run.kicks and run.asked_energy_eV]
    if not pulses:
        return None
    axes = panel()
    for place, (name, run, asked_eV) in enumerate(pulses):
        time = np.array([kick.time_ps for kick in run.kicks])
        added = np.cumsum([kick.added_eV for kick in run.kicks])
        time, added = np.append(time[0], time), np.append(0.0, added)
        style = ("-", "--", ":", "-.")[place % 4]
        axes.step(time - time[0], added, where="post", ls=style, color=palette.operation(run.protocol), label=name)
        axes.axhline(asked_eV, color="#5B6470", lw=0.8, ls=":")
        look: dict[str, Any] = {"ha": "right", "fontsize": 8.5, "color": "#5B6470"}
        axes.annotate(f"{name} asked", (1, asked_eV), (-2, 3), ("axes fraction", "data"), "offset points", **look)
    axes.set(xlabel="time since first kick (ps)", ylabel="added − taken out (eV)", title="Logged energy")
    axes.margins(y=0.1)
    return legend_below(axes)


@styled
def run_overview(run: Trajectory) -> Figure | None:
    """Draw temperature and potential energy of a run outside of a cycle."""
    if not run.thermo.get("time_ps"):
        return None
    time = _own_time(run.thermo["time_ps"])
    figure = canvas(*PANEL_IN)
    upper, lower = figure.subplots(2, 1, sharex=True)
    _line(upper, time, run.thermo.get("temperature_K"), "#C8451B")
    _line(lower, time, _per_atom(run, run.thermo.get("potential_eV", [0.0])[0]), "#0072B2")
    # a dollar sign would start a formula
    upper.set(ylabel="T (K)", title=run.name.replace("$", r"\$"))
    lower.set(ylabel="ΔE pot.\n(eV/atom)", xlabel="time (ps)")
    upper.set_ylim(bottom=0)
    figure.align_ylabels()
    return figure
