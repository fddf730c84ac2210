"""Draw what was computed of the frames of runs: order, grains, growth, gamma, motifs, profiles and maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gst_jobflow.analysis.crystallinity import ANION, element_name
from gst_jobflow.analysis.disorder import LEAST_ORDER, OrderMap, smooth_order
from gst_jobflow.analysis.growth import ORIGINS
from gst_jobflow.analysis.profiles import Bins
from gst_jobflow.analysis.series import Series, newest
from gst_jobflow.documents import Trajectory
from gst_jobflow.report import palette
from gst_jobflow.report.figures.cycle import dome_of, dome_outline, operation_columns, z_time_map
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import GREY, PANEL_IN, WIDE_IN, canvas, legend_below, legend_entries, panel_grid, styled
from gst_jobflow.store.files.artifacts import ArtifactStore

Steps = Sequence[tuple[str, "Trajectory"]]


@dataclass(frozen=True)
class Field:
    """A value of atoms that has profiles and maps: by which analysis, under which name, how it is drawn."""

    analysis: str
    array: str
    label: str
    colours: str
    limits: tuple[float | None, float | None]


@dataclass(frozen=True)
class Curve:
    """A column of a series, by name or, with a star at its end, all that begin so."""

    analysis: str
    column: str
    label: str = ""


FIELDS = (
    Field("tellurium", "crystalline", "crystal-like fraction", "cividis", (0.0, 1.0)),
    Field("k-bar", "k_bar", "k-bar", "viridis", (None, None)),
    Field("temperature", "temperature_K", "temperature (K)", "inferno", (0.0, None)),
    Field("density", "density_per_A3", "density (1/Å³)", "cividis", (None, None)),
    Field("gamma", "gamma", "γ", "magma", (None, None)),
)
_Panels = tuple[tuple[str, tuple[Curve, ...]], ...]


def _of(analysis: str, **labels: str) -> tuple[Curve, ...]:
    """Return the curves of an analysis by column."""
    return tuple(Curve(analysis, column, label) for column, label in labels.items())


_K_BAR = {"k_bar_fraction": "crystal-like by k-bar", "k_bar_mean": "mean k-bar"}
_AGREEMENT = {"k_bar_agreement": "atoms that both call the same", "k_bar_auc": "area under the ROC"}
ORDER: _Panels = (
    ("share or mean", _of("tellurium", crystalline_fraction="crystal-like by {name}") + _of("k-bar", **_K_BAR)),
    ("agreement", _of("k-bar", **_AGREEMENT)),
)
GRAINS: _Panels = (
    ("number of grains", _of("grains", **{"n_grains_from_*": ""})),
    ("mean diameter\n(Å)", _of("grains", grain_diameter_A="mean diameter")),
    ("share", _of("grains", share_in_grains="atoms in grains", boundary_share="at boundaries")),
)
_NEW = {"grown_atoms": "grown", "nucleated_atoms": "nucleated", "loose_atoms": "in no grain"}
GROWTH: _Panels = (
    ("new crystal-like\natoms", _of("growth", **_NEW)),
    ("grown of new", _of("growth", growth_share="share grown")),
)
GAMMA: _Panels = (
    ("largest γ", _of("gamma", gamma_max="largest γ")),
    ("share of atoms\nabove", _of("gamma", **{"gamma_above_*": ""})),
)
MOTIFS: _Panels = (
    ("share", _of("motifs", homopolar_share="homopolar bonds", **{"tetrahedral_*": ""})),
    ("bond-length\nratio", _of("motifs", bond_length_ratio="longer over shorter")),
    ("neighbours", _of("motifs", **{"coordination_*": ""})),
)
ORIGIN_COLOURS = ("#C9CCD1", "#5E4FA2", "#009E73", "#E69F00", "#56B4E9")


@styled
def through_time(steps: Steps, panels: _Panels) -> Figure | None:
    """Draw columns of series against time, an operation a column; crosses mark frames that could not be analysed."""
    panels = tuple((label, found) for label, curves in panels if (found := _there(steps, curves)))
    if not panels:
        return None
    figure = canvas(WIDE_IN, 0.9 + 1.75 * len(panels))
    grid = operation_columns(figure, list(steps), len(panels))
    start = 0.0
    for column, (name, run) in enumerate(steps):
        grid[0][column].set_title(name, color=palette.operation(run.protocol))
        for row, (_, curves) in zip(grid, panels, strict=True):
            for place, curve in enumerate(curves):
                _draw(row[column], run, curve, start, place)
        start += run.duration_ps
    for row, (label, curves) in zip(grid, panels, strict=True):
        row[0].set_ylabel(label)
        row[0].set_ylim(*_limits(row))
        if len(curves) > 1:
            entries = legend_entries(row)
            row[-1].legend([*entries.values()], [*entries], fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.align_ylabels([row[0] for row in grid])
    figure.supxlabel("time (ps)", fontsize=10.5)
    return figure


def _there(steps: Steps, curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Return the curves that some run has; those with a star one by one, labels with the anion."""
    found: dict[str, Curve] = {}
    for curve in curves:
        for _, run in steps:
            series = newest(run, curve.analysis)
            for name in series.numbers if series is not None else []:
                stem = curve.column.removesuffix("*")
                if name == curve.column or (stem != curve.column and name.startswith(stem)):
                    label = curve.label or readable_number(name)
                    found[name] = Curve(curve.analysis, name, with_anion(label, series))
    return tuple(found.values())


def with_anion(text: str, series: Series | None) -> str:
    """Return a text with the anion of a series, its symbol in place of {anion} and its name in place of {name}."""
    anion = ANION if series is None else series.anion
    return text.replace("{anion}", anion).replace("{name}", element_name(anion))


def readable_number(name: str) -> str:
    """Return the name of a number or curve of an analysis for axes and legends."""
    for stem, words in (("n_grains_from_", "from {} {{anion}} atoms"), ("gamma_above_", "γ above {}"), ("rdf.", "{}"),
                        ("angles.", "{}"), ("tetrahedral_", "tetrahedral {}"), ("coordination_", "{}")):  # fmt: skip
        if name.startswith(stem):
            rest = name.removeprefix(stem)
            return words.format(rest.replace("_", "." if "gamma" in stem else "–"))
    return name.replace("_", " ")


def _draw(axes: Axes, run: Trajectory, curve: Curve, start: float, place: int) -> None:
    series = newest(run, curve.analysis)
    if series is None:
        return
    time, values = series.column(curve.column)
    start -= (run.thermo.get("time_ps") or [0.0])[0]
    colour = palette.method(place)
    style = "-" if place < len(palette.METHODS) else "--"
    axes.plot(start + time, values, style, marker="o", ms=3, color=colour, label=curve.label)
    gaps = [row["time_ps"] for row in series.rows.values() if "problem" in row]
    if gaps and place == 0:
        axes.plot(start + np.array(gaps), np.full(len(gaps), 0.03), "x", ms=5, color="#D6453D", clip_on=False,
                  transform=axes.get_xaxis_transform(), label="no result")  # fmt: skip


def _limits(row: Sequence[Axes]) -> tuple[float, float]:
    """Return limits from nothing, or somewhat below the lowest value where all values are far above nothing."""
    values = [np.asarray(line.get_ydata(), dtype=float) for axes in row for line in axes.get_lines()
              if line.get_label() != "no result"]  # fmt: skip
    joined = np.concatenate([each[np.isfinite(each)] for each in values] or [np.zeros(1)])
    low, high = (float(joined.min()), float(joined.max())) if len(joined) else (0.0, 1.0)
    if not low > 0.5 * high or high - low < 1e-6 * high:
        low = min(0.0, low)
    room = 0.06 * max(high - low, 1e-3 * abs(high), 1e-9)
    return low - room, high + room


@styled
def field_along_z(steps: Steps, artifacts: ArtifactStore, field: Field) -> Figure | None:
    """Draw a field as colour over time and z, for all runs."""
    return z_time_map(
        [(name, run, _along_z(run, artifacts, field)) for name, run in steps], field.colours, field.label, field.limits
    )


def _along_z(
    run: Trajectory, artifacts: ArtifactStore, field: Field
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    series = newest(run, field.analysis)
    frames = [] if series is None else [series.arrays(artifacts, step, "z.") for step in series.steps]
    if series is None or not frames or f"z.{field.array}" not in frames[0]:
        return None
    edges = frames[0]["z.z_A"]
    time = np.array([series.rows[step]["time_ps"] for step in series.steps])
    # a cell whose height changes keeps the number of its bins
    return 0.5 * (edges[1:] + edges[:-1]), time, np.array([frame[f"z.{field.array}"] for frame in frames])


@styled
def fields_over_xz(steps: Steps, artifacts: ArtifactStore) -> Figure | None:
    """Draw the fields over x and z at the end of each run, a row a field; dashed: what the last pulse heated."""
    ends = {(field, name): found for field in FIELDS for name, run in steps
            if (found := _at_end(run, artifacts, field, "xz.")) is not None}  # fmt: skip
    fields = [field for field in FIELDS if any(key[0] == field for key in ends)]
    if not fields or not any(dome_of(run) for _, run in steps):
        return None
    sample = next(iter(ends.values()))
    aspect = float(sample["xz.z_A"][-1] / sample["xz.x_A"][-1])
    width = (WIDE_IN - 1.6) / len(steps)
    figure = canvas(WIDE_IN, len(fields) * (width * aspect + 0.3) + 0.7)
    grid = figure.subplots(len(fields), len(steps), sharex=True, sharey=True, squeeze=False)
    for row, field in zip(grid, fields, strict=True):
        _field_row(figure, row, field, steps, ends)
    for axes, (name, run) in zip(grid[0], steps, strict=True):
        axes.set_title(f"end of {name}", fontsize=9, color=palette.operation(run.protocol))
    for axes in grid[:, 0]:
        axes.set_ylabel("z (nm)")
    figure.supxlabel("x (nm)", fontsize=10.5)
    return figure


def _field_row(
    figure: Figure, row: Any, field: Field, steps: Steps, ends: dict[tuple[Field, str], dict[str, np.ndarray]]
) -> None:
    tops = [float(np.nanmax(found[f"xz.{field.array}"])) for (each, _), found in ends.items() if each == field]
    image, heated = None, None
    for axes, (name, run) in zip(row, steps, strict=True):
        heated = dome_of(run) or heated
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.set_facecolor("#B9BEC6")
        found = ends.get((field, name))
        if found is None:
            continue
        top = field.limits[1] if field.limits[1] is not None else max(tops)
        low = min(np.nanmin(e[f"xz.{field.array}"]) for (f, _), e in ends.items() if f == field)
        low = low if field.limits[0] is None else field.limits[0]
        values = np.ma.masked_invalid(found[f"xz.{field.array}"].T)
        image = axes.pcolormesh(found["xz.x_A"] / 10, found["xz.z_A"] / 10, values, cmap=field.colours, vmin=low,
                                vmax=top, rasterized=True)  # fmt: skip
        if heated is not None:
            dome_outline(axes, heated)
    if image is not None:
        figure.colorbar(image, ax=row, label=field.label, pad=0.01, aspect=12)


def _at_end(run: Trajectory, artifacts: ArtifactStore, field: Field, prefix: str) -> dict[str, np.ndarray] | None:
    series = newest(run, field.analysis)
    if series is None or not series.steps:
        return None
    found = series.arrays(artifacts, series.steps[-1], prefix)
    return found if f"{prefix}{field.array}" in found else None


@styled
def fields_by_radius(steps: Steps, artifacts: ArtifactStore) -> Figure | None:
    """Draw the fields against the distance from the electrode at the end of each run."""
    ends: list[tuple[Field, list[tuple[str, dict[str, np.ndarray]]]]] = []
    for field in FIELDS:
        each = [(name, end) for name, run in steps if (end := _at_end(run, artifacts, field, "r.")) is not None]
        if each:
            ends.append((field, each))
    if not ends:
        return None
    figure = canvas(WIDE_IN, 2.9 * -(-len(ends) // 3) + 0.4)
    grid = panel_grid(figure, len(ends), 3)
    for axes, (field, found) in zip(grid, ends, strict=True):
        for place, (name, arrays) in enumerate(found):
            edges = arrays["r.r_A"]
            colour = palette.method(place)
            axes.plot(0.05 * (edges[1:] + edges[:-1]), arrays[f"r.{field.array}"], color=colour, label=f"end of {name}")
        axes.set(xlabel="distance from the electrode (nm)", ylabel=field.label)
    return legend_below(*grid, columns=5, fontsize=8.5)


@dataclass(frozen=True)
class OriginMap:
    """Atoms by where they came from, at the end of a run: title, their bins in x and z, `Growth.origin` of each.

    `dome` is the profile that the last pulse heated, `first` the order of the first state.
    """

    title: str
    bins: Bins
    origin: np.ndarray
    dome: dict[str, Any] | None = None
    first: OrderMap | None = None


@styled
def origin_maps(maps: Sequence[OriginMap]) -> Figure | None:
    """Draw in squares of x and z what most atoms are: crystal from before, grown, nucleated or disordered."""
    if not maps:
        return None
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    columns = 2 if len(maps) in (2, 4) else min(3, len(maps))
    rows = -(-len(maps) // columns)
    sides = maps[0].bins.edges_A
    aspect = float(sides["z"][-1] / sides["x"][-1])
    figure = canvas(WIDE_IN, rows * (WIDE_IN * 0.9 / columns * aspect + 0.65) + 0.7)
    grid = panel_grid(figure, len(maps), columns, sharex=True, sharey=True)
    for axes, each in zip(grid, maps, strict=True):
        counts = np.array([each.bins.mean(each.origin == code, 0.2) for code in range(len(ORIGINS))])
        most = np.where(np.isfinite(counts[0]), np.argmax(np.nan_to_num(counts), axis=0), np.nan)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.pcolormesh(each.bins.edges_A["x"] / 10, each.bins.edges_A["z"] / 10, np.ma.masked_invalid(most.T),
                        cmap=ListedColormap(ORIGIN_COLOURS), vmin=-0.5, vmax=4.5, rasterized=True)  # fmt: skip
        if each.dome is not None:
            dome_outline(axes, each.dome)
        if each.first is not None:
            x, z = (0.05 * (edges[1:] + edges[:-1]) for edges in (each.first.x_A, each.first.z_A))
            axes.contour(x, z, smooth_order(each.first).T, levels=[LEAST_ORDER], colors="black", linewidths=1.4)
        axes.set_title(each.title)
        axes.set(xlabel="x (nm)", ylabel="z (nm)")
        axes.tick_params(labelbottom=True)
    handles = [Patch(color=colour, label=name) for colour, name in zip(ORIGIN_COLOURS, ORIGINS, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8.5)
    return figure


@dataclass(frozen=True)
class LiquidStructure:
    """Means of the liquid analysis of one run.

    Title, mean curves by name, whether from first principles, documents as `collection/id`, and means with standard
    errors by name.
    """

    title: str
    curves: dict[str, np.ndarray]
    first_principles: bool = False
    made_of: Sequence[str] = ()
    means: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


@styled
def liquid_curves(structures: Sequence[LiquidStructure], kind: str) -> Figure | None:
    """Draw g(r) by pair (`kind` rdf) or bond angles by element (`angles`); dashed: from first principles."""
    axis = {"rdf": "rdf.r_A", "angles": "angles.deg"}[kind]
    names = list(dict.fromkeys(n for each in structures for n in each.curves if n.startswith(f"{kind}.") and n != axis))
    if not names:
        return None
    columns = min(3, len(names))
    figure = canvas(WIDE_IN, 2.5 * -(-len(names) // columns) + 0.5)
    grid = panel_grid(figure, len(names), columns, sharex=True)
    for axes, name in zip(grid, names, strict=True):
        for place, each in enumerate(structures):
            if name in each.curves:
                colour = palette.method(place)
                style = "--" if each.first_principles else "-"
                axes.plot(each.curves[axis], each.curves[name], style, color=colour, label=each.title)
        if not any(np.isfinite(each.curves.get(name, np.nan)).any() for each in structures):
            # of an element whose pairs have no first minimum of g(r), bonds cannot be told
            axes.text(0.5, 0.5, "no bonds found", ha="center", va="center", transform=axes.transAxes)
            axes.set_yticks([])
        axes.set_title(name.partition(".")[2])
        axes.set(xlabel="r (Å)" if kind == "rdf" else "angle (°)", ylabel="g(r)" if kind == "rdf" else "density (1/°)")
    return legend_below(*grid, columns=4, fontsize=8.5)


@styled
def straight_pairs(structures: Sequence[LiquidStructure]) -> Figure | None:
    """Draw the density of the lengths of two distances that lie straight (ALTBC), a panel a run."""
    chosen = [each for each in structures if "altbc.density" in each.curves][:4]
    if not chosen:
        return None
    figure = canvas(min(WIDE_IN, 1.0 + PANEL_IN[0] * 0.75 * len(chosen)), 2.9)
    (row,) = figure.subplots(1, len(chosen), sharex=True, sharey=True, squeeze=False)
    for axes, each in zip(row, chosen, strict=True):
        edges = each.curves["altbc.edges_A"]
        axes.pcolormesh(edges, edges, each.curves["altbc.density"].T, cmap="magma_r", rasterized=True)
        axes.plot(edges[[0, -1]], edges[[0, -1]], ":", color=GREY, lw=0.8)
        axes.set_aspect("equal")
        axes.set(xlabel="first (Å)", title=each.title)
    row[0].set_ylabel("second (Å)")
    return figure


@styled
def motif_means(structures: Sequence[LiquidStructure]) -> Figure | None:
    """Draw means of motifs with standard errors, a panel a motif; open: from first principles."""
    panels = [(label, names) for label, curves in MOTIFS if (names := _motifs_of(structures, curves))]
    if not panels:
        return None
    figure = canvas(WIDE_IN, 3.9)
    widths = [len(names) + 1 for _, names in panels]
    (row,) = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)
    for axes, (label, names) in zip(row, panels, strict=True):
        for place, each in enumerate(structures):
            x = np.arange(len(names)) + 0.12 * (place - (len(structures) - 1) / 2)
            value, error = np.array([each.means.get(name, (np.nan, np.nan)) for name in names]).T
            colour = palette.method(place)
            face = "white" if each.first_principles else colour
            axes.errorbar(x, value, np.nan_to_num(error), fmt="o", ms=5, mfc=face, capsize=2, color=colour,
                          label=each.title)  # fmt: skip
        axes.set_xticks(range(len(names)), [readable_number(name) for name in names], rotation=40, ha="right")
        axes.set_ylabel(label)
        axes.margins(x=0.5 / len(names) if len(names) > 1 else 1.0)
    return legend_below(*row, fontsize=8.5)


def _motifs_of(structures: Sequence[LiquidStructure], curves: Sequence[Curve]) -> list[str]:
    """Return the names of the means that belong to `curves`; a star stands for any ending."""
    known = dict.fromkeys(name for each in structures for name, (value, _) in each.means.items() if np.isfinite(value))
    stems = [(curve.column.removesuffix("*"), curve.column.endswith("*")) for curve in curves]
    return [name for name in known if any(name == stem or (open_ and name.startswith(stem)) for stem, open_ in stems)]
