"""The part of a page that shows what was computed of the frames of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gst_jobflow.analysis.series import Series, series_of
from gst_jobflow.base.errors import GstError
from gst_jobflow.base.strict import flattened
from gst_jobflow.documents import Trajectory
from gst_jobflow.report import words
from gst_jobflow.report.figures import analysis as figures
from gst_jobflow.report.frames import origins
from gst_jobflow.report.liquid import liquid_structures
from gst_jobflow.report.pages.elements import Figure, Table, page_figures
from gst_jobflow.store import Results

Steps = Sequence[tuple[str, Trajectory]]
_TIME = (
    (figures.ORDER, "Crystallinity by k-bar and by {name}, and how far they agree, atom by atom."),
    (figures.GRAINS, "Grains of the {name} sublattice: their number from several smallest sizes, size and share."),
    (figures.GROWTH, "Atoms that became crystal-like since the first frame: in grains joined to older crystal, "
     "in new grains, or in none."),
    (figures.GAMMA, "Extrapolation grades of the mobile atoms."),
    (figures.MOTIFS, "Local structure."),
)  # fmt: skip

_OF_ANION = ("tellurium", "k-bar", "grains")


def analysis_section(
    results: Results, steps: Steps, groups: dict[str, list[int]] | None = None
) -> dict[str, Any] | None:
    """Return figures, definitions and gaps of the analyses of runs, None without any; `groups` as in a cycle."""
    steps = [(name, run) for name, run in steps if series_of(run)]
    if not steps:
        return None
    remarks: list[str] = []
    of_anion = next((each for _, run in steps for each in series_of(run) if each.name in _OF_ANION), None)
    captions = {panels: figures.with_anion(text, of_anion) for panels, text in _TIME}
    through_time = ((figures.through_time(steps, panels), text, text) for panels, text in captions.items())
    drawn = page_figures(*through_time, wide=True)
    for make in (_maps, _growth, _liquid):
        try:
            drawn += make(results, steps, groups)
        except GstError as error:
            remarks.append(f"not all analyses can be drawn: {error.message}")
    return {"figures": drawn, "definitions": _definitions(steps), "gaps": _gaps(steps), "remarks": remarks}


def _maps(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    maps = (
        "Maps over the whole depth at the end of each operation; grey: no mobile atoms; dashed: what the last pulse "
        "heated."
    )
    by_radius = "By the distance from the middle of the bottom electrode, at the end of each operation."
    along_z = [field for field in figures.FIELDS if groups and field.analysis != "tellurium"]
    captions = [f"{field.label} of mobile atoms along z." for field in along_z]
    return page_figures(
        (figures.fields_over_xz(steps, results.artifacts), maps, "Maps in x and z"),
        (figures.fields_by_radius(steps, results.artifacts), by_radius, "Profiles by radius"),
        *(
            (figures.field_along_z(steps, results.artifacts, field), caption, caption)
            for field, caption in zip(along_z, captions, strict=True)
        ),
        wide=True,
    )


def _growth(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    caption = (
        "What most atoms of a square are, since the first state; black: border of what was disordered in that state; "
        "dashed: the dome that the last pulse heated."
    )
    drawn = figures.origin_maps(origins(results, steps, groups))
    return page_figures((drawn, caption, "Maps of growth and nucleation"), wide=True)


def _liquid(results: Results, steps: Steps, groups: dict[str, list[int]] | None) -> list[Figure]:
    there, said = liquid_structures(results, steps)
    if not there:
        return []
    rdf = f"Partial g(r), means over frames; dashed: first principles. {said}"
    altbc = (
        "Lengths of two distances that enclose at least 155° (ALTBC): two spots beside the diagonal are a Peierls-like "
        "distortion."
    )
    return page_figures(
        (figures.liquid_curves(there, "rdf"), rdf, "g(r)"),
        (figures.liquid_curves(there, "angles"), "Bond angles by central element.", "Angles"),
        (figures.straight_pairs(there), altbc, "ALTBC"),
        wide=True,
    )


def _definitions(steps: Steps) -> Table:
    """Each definition once, with its parameters and versions."""
    found: dict[str, Series] = {each.key: each for _, run in steps for each in series_of(run)}
    rows = [
        [
            each.title,
            each.described["definition"],
            _flat(each.described["parameters"]),
            _flat(each.described["versions"]),
        ]
        for each in found.values()
    ]
    return Table(["analysis", "definition", "parameters", "versions"], rows)


def _flat(values: dict[str, Any]) -> str:
    return ", ".join(f"{path} {words.number(each)}" for path, each in flattened(values) if each is not None)


def _gaps(steps: Steps) -> Table | None:
    """Frames without a result, and why."""
    rows = [
        [name, series.title, words.number(row.get("time_ps")), row["problem"]]
        for name, run in steps
        for series in series_of(run)
        for _, row in sorted(series.rows.items())
        if "problem" in row
    ]
    return Table(["of", "analysis", "time (ps)", "why there is no result"], rows[:50], frozenset({2})) if rows else None
