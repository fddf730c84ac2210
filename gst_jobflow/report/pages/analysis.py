"""The part of a page that shows what was computed of the frames of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.analysis.crystallinity import RMSD_CUTOFF, crystallinity
from gst_jobflow.analysis.disorder import OrderMap, order_map
from gst_jobflow.analysis.profiles import over_xz
from gst_jobflow.analysis.series import FRAMES, Series, newest, series_of
from gst_jobflow.base.errors import GstError
from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.report import words
from gst_jobflow.report.figures import analysis as figures
from gst_jobflow.report.figures.cycle import dome_of
from gst_jobflow.report.pages.elements import Figure, Table, figure_of
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import get_located

if TYPE_CHECKING:
    from gst_jobflow.store import Results

Steps = Sequence[tuple[str, Trajectory]]
_CURVE_FRAMES = 50
_FIRST_PRINCIPLES = 3
_TIME = (
    (figures.ORDER, "Crystallinity by k-bar and by tellurium, and how far they agree, atom by atom."),
    (figures.GRAINS, "Grains of the tellurium sublattice: their number from several smallest sizes, size and share."),
    (figures.GROWTH, "Atoms that became crystal-like since the first frame: in grains joined to older crystal, "
     "in new grains, or in none."),
    (figures.GAMMA, "Extrapolation grades of the mobile atoms."),
    (figures.MOTIFS, "Local structure."),
)  # fmt: skip


def analysis_section(
    results: Results, steps: Steps, groups: dict[str, list[int]] | None = None
) -> dict[str, Any] | None:
    """Return figures, definitions and gaps of the analyses of runs; None where there are none.

    Parameters
    ----------
    groups
        Of the device's cell: first and last id of its mobile atoms.
    """
    steps = [(name, run) for name, run in steps if series_of(run)]
    if not steps:
        return None
    remarks: list[str] = []
    drawn: list[Figure] = []
    for panels, caption in _TIME:
        drawn += figure_of(figures.through_time(steps, panels), caption, caption, wide=True)
    for make in (_maps, _growth, _liquid):
        try:
            drawn += make(results, steps, groups)
        except GstError as error:
            remarks.append(f"not all analyses can be drawn: {error.message}")
    return {"figures": drawn, "definitions": _definitions(steps), "gaps": _gaps(steps), "remarks": remarks}


def _maps(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    drawn = figure_of(
        figures.fields_over_xz(steps, results.artifacts),
        "Maps over the whole depth at the end of each operation; grey: no mobile atoms; dashed: what the last pulse "
        "heated.",
        "Maps in x and z",
        wide=True,
    )
    drawn += figure_of(
        figures.fields_by_radius(steps, results.artifacts),
        "By the distance from the middle of the bottom electrode, at the end of each operation.",
        "Profiles by radius",
        wide=True,
    )
    for field in figures.FIELDS if groups else ():
        if field.analysis != "tellurium":
            caption = f"{field.label} of mobile atoms along z."
            drawn += figure_of(figures.field_along_z(steps, results.artifacts, field), caption, caption, wide=True)
    return drawn


def _growth(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    maps: list[figures.OriginMap] = []
    dome = None
    for name, run in steps:
        dome = dome_of(run) or dome
        series = newest(run, "growth")
        if groups is None or series is None or series.steps[-1:] != [run.n_steps] or run.final_structure_id is None:
            continue
        origin = series.arrays(results.artifacts, run.n_steps, "origin")["origin"]
        first, last = groups["mobile"]
        mobile = np.arange(first - 1, last)
        bins = over_xz(load_atoms(results, run.final_structure_id), 6.0, mobile)
        maps.append(
            figures.OriginMap(f"end of {name}", bins, origin[mobile], dome, _first_state(results, run, series, mobile))
        )
    return figure_of(
        figures.origin_maps(maps),
        "What most atoms of a square are, since the first state; black: border of what was disordered in that state; "
        "dashed: the dome that the last pulse heated.",
        "Maps of growth and nucleation",
        wide=True,
    )


def _first_state(results: Results, run: Trajectory, series: Series, mobile: np.ndarray) -> OrderMap | None:
    """Return the order of the state since which growth counts; None where it is not stored."""
    since = series.described["parameters"]["since"]
    id = run.start_structure_id if since is None else get_located(results, Trajectory, since).final_structure_id
    if id is None:
        return None
    atoms, tellurium = load_atoms(results, id), newest(run, "tellurium")
    cutoff = RMSD_CUTOFF if tellurium is None else tellurium.described["parameters"]["rmsd_cutoff"]
    return order_map(atoms, crystallinity(atoms, None, cutoff).mask, mobile)


def _liquid(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    curves = [_mean_curves(results, name, run) for name, run in steps]
    there = [each for each in curves if each is not None]
    if not there:
        return []
    shown = {run.id for _, run in steps}
    for document in _from_first_principles(results, [run.formula for _, run in steps]):
        found = None if document.id in shown else _mean_curves(results, f"{document.name} (first principles)", document)
        if found is not None and len(there) < len(steps) + _FIRST_PRINCIPLES:
            there.append(found)
    drawn = figure_of(
        figures.liquid_curves(there, "rdf"),
        "Partial g(r), means over frames; dashed: first principles.",
        "g(r)",
        wide=True,
    )
    drawn += figure_of(figures.liquid_curves(there, "angles"), "Bond angles by central element.", "Angles", wide=True)
    return drawn + figure_of(
        figures.straight_pairs(there),
        "Lengths of two distances that enclose at least 155° (ALTBC): two spots beside the diagonal are a Peierls-like "
        "distortion.",
        "ALTBC",
        wide=True,
    )


def _from_first_principles(results: Results, formulas: list[str]) -> Iterator[Trajectory | Study]:
    """Yield analysed runs of first principles of these compositions, and studies of stored frames of such runs."""
    where = {"potential_id": None, "formula": {"$in": formulas}, f"analysis.{FRAMES}": {"$exists": True}}
    yield from results.find(Trajectory, where, [("created_at", -1)])
    for study in results.find(Study, {"kind": "analysis", "state": "finished"}, [("created_at", -1)]):
        first = next((member.id for member in study.members if member.collection == "structures"), None)
        if first is not None:
            wanted = {"_id": first, "config_type": "aimd", "formula": {"$in": formulas}}
            if results.database["structures"].find_one(wanted, {"_id": 1}) is not None:
                yield study


def _mean_curves(results: Results, title: str, run: Trajectory | Study) -> figures.LiquidStructure | None:
    series = newest(run, "liquid")
    if series is None or not series.steps:
        return None
    chosen = series.steps[:: max(1, len(series.steps) // _CURVE_FRAMES)]
    frames = [series.arrays(results.artifacts, step) for step in chosen]
    names = [name for name in frames[0] if name.startswith(("rdf.", "angles.", "altbc."))]
    curves = {name: np.mean([frame[name] for frame in frames], axis=0) for name in names}
    return figures.LiquidStructure(title, curves, isinstance(run, Study) or run.potential_id is None)


def _definitions(steps: Steps) -> Table:
    """Each definition once, with its parameters and versions."""
    found: dict[str, Series] = {each.key: each for _, run in steps for each in series_of(run)}
    rows = [
        [
            each.name,
            each.described["definition"],
            _flat(each.described["parameters"]),
            _flat(each.described["versions"]),
        ]
        for each in found.values()
    ]
    return Table(["analysis", "definition", "parameters", "versions"], rows)


def _flat(values: dict[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        if isinstance(value, dict):
            parts.append(f"{name}: {_flat(value)}")
        elif value is not None:
            parts.append(f"{name} {words.number(value) if not isinstance(value, list) else value}")
    return ", ".join(parts)


def _gaps(steps: Steps) -> Table | None:
    """Frames without a result, and why."""
    rows = [
        [name, series.name, words.number(row.get("time_ps")), row["problem"]]
        for name, run in steps
        for series in series_of(run)
        for _, row in sorted(series.rows.items())
        if "problem" in row
    ]
    return Table(["of", "analysis", "time (ps)", "why there is no result"], rows[:50], frozenset({2})) if rows else None
