"""All figures by name; `find_kind` also knows their numbers in the reference paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gst_jobflow.base.errors import InputError, MissingProgramError, nearest
from gst_jobflow.base.plugins import distribution, known, offered, resolve
from gst_jobflow.documents import Cycle, Dataset, Study, Trajectory
from gst_jobflow.report.catalogue import cycles, runs, scaling, studies, validation
from gst_jobflow.report.catalogue.kinds import Drawn, FigureKind, FigureRequest
from gst_jobflow.report.figures.analysis import liquid_curves, motif_means

_NAMES_OF_SERIES = {"$map": {"input": {"$objectToArray": "$analysis.frames"}, "in": "$$this.v.name"}}
# keys of series end in a hash, so the names within are looked at
_WITH_LIQUID: dict[str, Any] = {
    "analysis.frames": {"$exists": True},
    # the server may look at this of a run without frames, too
    "$expr": {"$in": ["liquid", {"$ifNull": [_NAMES_OF_SERIES, []]}]},
}
_WITH_MELTS: dict[str, Any] = {
    "$or": [{"kind": "iteration", "table.success": {"$type": "number"}}, {"kind": "robustness", "state": "finished"}]
}
_Draw = Callable[[FigureRequest], Drawn]


_SCALING = (
    ("weak-scaling", "weak", ("1c",), "Efficiency and communication at the same atoms a rank"),
    ("strong-scaling", "strong", ("1d",), "Speed, efficiency and communication of one cell against ranks"),
    ("steps-per-day", "size", ("1e",), "Steps a day against the number of atoms"),
    ("memory", "memory", (), "Memory an atom against the number of atoms"),
)


def _of_scaling(name: str, mode: str, paper: tuple[str, ...], shows: str) -> FigureKind:
    needs, made_by = f"finished scaling study ({mode})", f"gst submit scaling {mode} POTENTIAL…"
    where, overlays = {"kind": "scaling", "state": "finished", "plan.mode": mode}, mode != "weak"
    return FigureKind(
        name, paper, shows, Study, needs, made_by, scaling.draw_scaling, where, joins=True, overlays=overlays
    )


def _of_cycle(name: str, paper: tuple[str, ...], shows: str, draw: _Draw, *, overlays: bool = False) -> FigureKind:
    ran = {"operations.trajectory_id": {"$type": "string"}}
    made_by = "gst submit cycle cross-point --potential POTENTIAL --programme cross-point-small"
    return FigureKind(name, paper, shows, Cycle, "device cycle", made_by, draw, ran, overlays=overlays)


def _of_run(name: str, shows: str, draw: _Draw) -> FigureKind:
    made_by = "gst submit melt-quench --potential POTENTIAL, then gst analyse RUN --what liquid"
    return FigureKind(name, (), shows, Trajectory, "run", made_by, draw, _WITH_LIQUID, joins=True, beside=True)


def _of_validation(name: str, shows: str, draw: _Draw) -> FigureKind:
    where = {"kind": "validation", "state": "finished"}
    return FigureKind(name, (), shows, Study, "finished validation", "gst submit validate POTENTIAL…", draw, where)


def _of_search(name: str, shows: str, draw: _Draw) -> FigureKind:
    made_by = "gst submit hyperopt DATASET --preset xpot-gst"
    return FigureKind(name, (), shows, Study, "search of hyperparameters", made_by, draw, {"kind": "hyperopt"})


FIGURES = (
    *(_of_scaling(*row) for row in _SCALING),
    FigureKind(
        "ablation",
        ("table-1",),
        "Errors, relative speed and robustness of the fits of an ablation",
        Study,
        "finished ablation",
        "gst submit ablation DATASET --vary embedding.n_densities=1,2,3",
        studies.draw_ablation,
        {"kind": "ablation", "state": "finished"},
        overlays=True,
    ),
    FigureKind(
        "success-by-iteration",
        ("2a",),
        "Share of hot melts that the potential of each iteration survives",
        Study,
        "training protocol with hot melts, or finished robustness study",
        "gst submit iterate, or gst submit robustness POTENTIAL…",
        studies.draw_success_by_iteration,
        _WITH_MELTS,
        joins=True,
        overlays=True,
    ),
    FigureKind(
        "success-by-share",
        ("2b",),
        "Share of hot melts survived against the share of random structures in the training set",
        Study,
        "finished ablation of random structures",
        "gst submit ablation DATASET --share random=1,0.5,0.25,0 --robustness",
        studies.draw_success_by_share,
        {"kind": "ablation", "state": "finished", "plan.random_shares": {"$exists": True}},
        overlays=True,
    ),
    _of_cycle(
        "cycle",
        ("3c", "3d"),
        "Potential energy, temperature and crystal-like fraction through a cycle, with nucleation and growth marked",
        cycles.draw_cycle,
    ),
    _of_cycle(
        "snapshots",
        ("3b", "4c", "4d", "4e"),
        "Slices of the cell before and after each operation, coloured by k-bar; domes are drawn",
        cycles.draw_snapshots,
    ),
    _of_cycle(
        "grains",
        ("4f",),
        "Slices of the cell coloured by the orientation of grains, and their sizes",
        cycles.draw_grains,
        overlays=True,
    ),
    _of_cycle(
        "growth-region",
        ("4g",),
        "What of the new crystal grew and what nucleated, in squares of x and z",
        cycles.draw_growth,
        overlays=True,
    ),
    _of_cycle(
        "temperature-profiles",
        (),
        "Temperature along z during the pulses of a cycle",
        cycles.draw_temperature,
        overlays=True,
    ),
    _of_cycle("gamma", (), "Extrapolation grades through a cycle", cycles.draw_gamma),
    _of_run(
        "rdf",
        "Partial radial distribution functions beside first principles",
        partial(runs.draw_liquid, what="g(r)", draw=partial(liquid_curves, kind="rdf")),
    ),
    _of_run(
        "angles",
        "Distributions of bond angles beside first principles",
        partial(runs.draw_liquid, what="bond angles", draw=partial(liquid_curves, kind="angles")),
    ),
    _of_run(
        "motifs",
        "Homopolar bonds, tetrahedra, bond lengths and neighbours beside first principles",
        partial(runs.draw_liquid, what="motifs", draw=motif_means, remark="Bars: standard errors. "),
    ),
    _of_validation(
        "validation",
        "Differences of amorphous cells from first-principles dynamics, with standard errors",
        validation.draw_differences,
    ),
    _of_validation(
        "validation-rdf",
        "Partial g(r) of amorphous cells beside first-principles dynamics, and their difference",
        partial(validation.draw_compared_curves, family="rdf"),
    ),
    _of_validation(
        "validation-angles",
        "Bond angles of amorphous cells beside first-principles dynamics, and their difference",
        partial(validation.draw_compared_curves, family="angles"),
    ),
    _of_search(
        "hyperparameters",
        "Table of the best fits of a search, with their fields and errors",
        studies.draw_hyperparameters,
    ),
    _of_search("search", "Loss of each fit of a search, and the best so far", studies.draw_search),
    FigureKind(
        "data",
        (),
        "Structures of a dataset by config type and split",
        Dataset,
        "dataset",
        "gst dataset create",
        studies.draw_data,
        overlays=True,
    ),
)


def all_figures() -> list[FigureKind]:
    """Return our figures, and those of plugins; raises MissingProgramError if one of these cannot be imported."""
    own = {each.name: each for each in FIGURES}
    return [_figure(name, own) for name in known("figures", own)]


def _figure(name: str, own: dict[str, FigureKind]) -> FigureKind:
    found = resolve("figures", name, own)
    if not isinstance(found, FigureKind):
        package = distribution(offered("figures")[name])
        raise MissingProgramError(f"figure '{name}' of {package} is no FigureKind", f"pip install -U {package}")
    return found


def find_kind(name: str) -> FigureKind:
    """Return the figure of a name, or of its number in the paper; raises InputError with the nearest name."""
    by_name = {each.name: each for each in FIGURES} | {number: each for each in FIGURES for number in each.paper}
    found = by_name.get(name.lower().removeprefix("fig-").removeprefix("fig."))
    if found is not None:
        return found
    if name not in (names := known("figures", by_name)):
        raise InputError(f"no figure '{name}'", f"{nearest(name.lower(), names)} (gst figure lists all)")
    return _figure(name, {})
