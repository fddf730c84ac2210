"""Figures of device cycles (Fig. 3 and 4): series through the cycle, slices, grains, growth, temperature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gst_jobflow.analysis.series import Series, newest
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, Numbers, named
from gst_jobflow.report.collect import CycleData
from gst_jobflow.report.figures import cycle as figures
from gst_jobflow.report.figures.analysis import GAMMA, origin_maps, through_time
from gst_jobflow.report.figures.slices import Slice, grain_slices, orientation_colours, slice_of, value_slices
from gst_jobflow.report.frames import origins
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms


def cycle_data(request: FigureRequest) -> CycleData:
    """Return the cycle of a request with its trajectories, None where one has not run; raises DataError if none has."""
    (cycle,) = request.documents
    wanted = [each.trajectory_id for each in cycle.operations]
    known = {run.id: run for run in request.results.get_many(Trajectory, [id for id in wanted if id])}
    data = CycleData(cycle, [known.get(id) if id else None for id in wanted])
    if not data.steps:
        raise DataError(f"no operation of cycle {cycle.name} has run", "gst status says what it waits for")
    return data


def _made_of(data: CycleData) -> list[str]:
    return named(data.cycle, *(run for _, run in data.steps))


def draw_cycle(request: FigureRequest) -> Drawn:
    """Draw Fig. 3c, d: potential energy, temperature and crystal-like fraction, with nucleation and growth marked."""
    data = cycle_data(request)
    figure = figures.cycle_overview(data)
    if figure is None:
        raise DataError(f"the runs of cycle {data.cycle.name} have no series", "run the cycle again")
    methods = sorted({str(run.analysis.get("crystalline", {}).get("method", "")) for _, run in data.steps} - {""})
    marks = "Marks: nucleation from the first new grain to the most grains, then growth." * any(
        figures.grain_stages(run) for _, run in data.steps
    )
    return Drawn(figure, _made_of(data), " ".join([*(f"Crystal-like: {each}." for each in methods), marks]).strip())


def draw_snapshots(request: FigureRequest) -> Drawn:
    """Draw Fig. 3b, 4c-e: slices of the cell before and after each operation, coloured by k-bar."""
    data = cycle_data(request)
    slices = [
        slice_of(title, atoms, series.arrays(request.results.artifacts, step, "k_bar")["k_bar"], dome)
        for title, atoms, series, step, dome in _states(request.results, data, "k-bar")
    ]
    inside = np.concatenate([each.value for each in slices])
    low, high = np.nanpercentile(inside, [1, 99])
    figure = value_slices(slices, "k-bar", "viridis", (float(low), float(high)))
    assert figure is not None  # there are slices
    rows = [
        [each.title, int(atom), *place, value]
        for each in slices
        for atom, place, value in zip(each.numbers, each.place_nm.tolist(), each.value.tolist(), strict=True)
    ]
    remark = "Slices of 1.2 nm in the middle of the cell, seen along y; dashed: heated by the last pulse."
    return Drawn(figure, _made_of(data), remark, Numbers(["state", "atom", "x_nm", "z_nm", "k_bar"], rows))


def draw_grains(request: FigureRequest) -> Drawn:
    """Draw Fig. 4f: slices coloured by the orientation of grains."""
    data = cycle_data(request)
    slices: list[Slice] = []
    rows: list[list[Any]] = []
    for title, atoms, series, step, dome in _states(request.results, data, "grains"):
        arrays = series.arrays(request.results.artifacts, step, "grain")
        colours = orientation_colours(arrays["grain"], arrays["grain.orientation"])
        slices.append(slice_of(title, atoms, colours, dome))
        for number, atoms_in in enumerate(arrays["grain.atoms"].tolist()):
            turned = arrays["grain.orientation"][number].tolist()
            rows.append([title, number + 1, int(atoms_in), float(arrays["grain.diameter_A"][number]) / 10, *turned])
    figure = grain_slices(slices)
    assert figure is not None  # there are slices
    columns = ["state", "grain", "atoms", "diameter_nm", "qx", "qy", "qz", "qw"]
    remark = "Colours: crystal direction along y, by the corners of the standard triangle; slices of 1.2 nm."
    if request.paper and data.cycle.device == "cross-point":
        paper = paper_numbers()["cross_point"]
        remark += f" The paper: {paper['n_grains']} grains of {paper['grain_diameter_nm']} nm on average after the SET."
        rows.append(["reference paper, after SET", paper["n_grains"], None, paper["grain_diameter_nm"], *4 * [None]])
    return Drawn(figure, _made_of(data), remark, Numbers(columns, rows))


def _states(
    results: Results, data: CycleData, analysis: str
) -> Iterator[tuple[str, Any, Series, int, dict[str, Any] | None]]:
    """Yield title, atoms, series, step and heated dome of the start and of the end, analysed, of each operation."""
    dome, begun = None, False
    for name, run in data.steps:
        series = newest(run, analysis)
        if series is None or run.n_steps not in series.steps or run.final_structure_id is None:
            raise DataError(
                f"the end of {name} of cycle {data.cycle.name} has no {analysis}",
                f"gst analyse {data.cycle.id} --what {analysis}",
            )
        if not begun and 0 in series.steps and run.start_structure_id is not None:
            yield "start", load_atoms(results, run.start_structure_id), series, 0, None
        begun = True
        dome = figures.dome_of(run) or dome
        yield f"after {name}", load_atoms(results, run.final_structure_id), series, run.n_steps, dome


def draw_growth(request: FigureRequest) -> Drawn:
    """Draw Fig. 4g: where the crystal at the end of each operation grew from, and where it nucleated."""
    data = cycle_data(request)
    maps = origins(request.results, data.steps, data.cycle.groups)
    figure = origin_maps(maps)
    if figure is None:
        raise DataError(
            f"the ends of the runs of cycle {data.cycle.name} have no growth analysis",
            f"gst analyse {data.cycle.id} --what growth",
        )
    rows = []
    for name, run in data.steps:
        series = newest(run, "growth")
        if series is not None and series.steps:
            last = series.rows[series.steps[-1]]
            rows.append([name, *(last.get(key) for key in _GROWTH)])
    remark = "New crystal since the first frame of each operation."
    if request.paper and data.cycle.device == "mushroom":
        shares = [f"{each:.0%}" for each in paper_numbers()["mushroom"]["growth_share"]]
        remark += f" The paper's shares of growth, for its two domes: {' and '.join(shares)}."
        rows += [[f"reference paper, dome {n + 1}", None, None, None, None, share]
                 for n, share in enumerate(paper_numbers()["mushroom"]["growth_share"])]  # fmt: skip
    return Drawn(figure, _made_of(data), remark, Numbers(["operation", *_GROWTH], rows))


_GROWTH = ("new_atoms", "grown_atoms", "nucleated_atoms", "loose_atoms", "growth_share")


def draw_temperature(request: FigureRequest) -> Drawn:
    """Draw profiles of temperature along z during the pulses of a cycle."""
    data = cycle_data(request)
    ends = paper_numbers()["cross_point"] if request.paper and data.cycle.device == "cross-point" else None
    pulses = [(name, run) for name, run in data.steps if run.kicks or run.protocol == "RESET"]
    figure = figures.pulse_profiles(pulses, (ends["bottom_K"], ends["top_K"]) if ends else None)
    if figure is None:
        raise DataError(
            f"no pulse of cycle {data.cycle.name} has temperature profiles",
            "a programme with output.profile_every writes them",
        )
    remark = "Lines: times up to the hottest; dashed: the end."
    if ends:
        remark += f" Dotted: the paper's bottom (above {ends['bottom_K']:,} K) and top (about {ends['top_K']} K)."
    return Drawn(figure, _made_of(data), remark)


def draw_gamma(request: FigureRequest) -> Drawn:
    """Draw extrapolation grades through a cycle."""
    data = cycle_data(request)
    figure = through_time(data.steps, GAMMA)
    if figure is None:
        raise DataError(
            f"no run of cycle {data.cycle.name} has analysed grades",
            f"gst analyse {data.cycle.id} --what gamma, for runs with output.gamma_every",
        )
    return Drawn(figure, _made_of(data), "Of mobile atoms; crosses: frames without a result.")
