"""All figures by name; `find_kind` also knows their numbers in the reference paper."""

from __future__ import annotations

from functools import partial
from typing import Any

from gst_jobflow.base.errors import InputError, MissingProgramError, nearest
from gst_jobflow.base.plugins import distribution, known, offered, resolve
from gst_jobflow.documents import Cycle, Dataset, Study, Trajectory
from gst_jobflow.report.catalogue import cycles, runs, scaling, studies, validation
from gst_jobflow.report.catalogue.kinds import FigureKind

_CYCLE = "gst submit cycle cross-point --potential POTENTIAL --programme cross-point-small"
_RAN = {"operations.trajectory_id": {"$type": "string"}}
_SEARCH = "gst submit hyperopt DATASET --preset xpot-gst"
_MELT = "gst submit melt-quench --potential POTENTIAL, then gst analyse RUN --what liquid"
_VALIDATION, _VALIDATE = "finished validation", "gst submit validate POTENTIAL"
_VALIDATED = {"kind": "validation", "state": "finished"}
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
FIGURES = (
    FigureKind(
        "weak-scaling",
        ("1c",),
        "Efficiency and communication at the same atoms a rank",
        Study,
        "finished weak scaling study",
        "gst submit scaling weak POTENTIAL…",
        scaling.draw_scaling,
        {"kind": "scaling", "state": "finished", "plan.mode": "weak"},
        joins=True,
    ),
    FigureKind(
        "strong-scaling",
        ("1d",),
        "Speed, efficiency and communication of one cell against ranks",
        Study,
        "finished strong scaling study",
        "gst submit scaling strong POTENTIAL…",
        scaling.draw_scaling,
        {"kind": "scaling", "state": "finished", "plan.mode": "strong"},
        joins=True,
        overlays=True,
    ),
    FigureKind(
        "steps-per-day",
        ("1e",),
        "Steps a day against the number of atoms",
        Study,
        "finished scaling study of size",
        "gst submit scaling size POTENTIAL…",
        scaling.draw_scaling,
        {"kind": "scaling", "state": "finished", "plan.mode": "size"},
        joins=True,
        overlays=True,
    ),
    FigureKind(
        "memory",
        (),
        "Memory an atom against the number of atoms",
        Study,
        "finished scaling study of memory",
        "gst submit scaling memory POTENTIAL…",
        scaling.draw_scaling,
        {"kind": "scaling", "state": "finished", "plan.mode": "memory"},
        joins=True,
        overlays=True,
    ),
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
    FigureKind(
        "cycle",
        ("3c", "3d"),
        "Potential energy, temperature and crystal-like fraction through a cycle, with nucleation and growth marked",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_cycle,
        _RAN,
    ),
    FigureKind(
        "snapshots",
        ("3b", "4c", "4d", "4e"),
        "Slices of the cell before and after each operation, coloured by k-bar; domes are drawn",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_snapshots,
        _RAN,
    ),
    FigureKind(
        "grains",
        ("4f",),
        "Slices of the cell coloured by the orientation of grains, and their sizes",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_grains,
        _RAN,
        overlays=True,
    ),
    FigureKind(
        "growth-region",
        ("4g",),
        "What of the new crystal grew and what nucleated, in squares of x and z",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_growth,
        _RAN,
        overlays=True,
    ),
    FigureKind(
        "temperature-profiles",
        (),
        "Temperature along z during the pulses of a cycle",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_temperature,
        _RAN,
        overlays=True,
    ),
    FigureKind(
        "gamma",
        (),
        "Extrapolation grades through a cycle",
        Cycle,
        "device cycle",
        _CYCLE,
        cycles.draw_gamma,
        _RAN,
    ),
    FigureKind(
        "rdf",
        (),
        "Partial radial distribution functions beside first principles",
        Trajectory,
        "run",
        _MELT,
        runs.draw_rdf,
        _WITH_LIQUID,
        joins=True,
        beside=True,
    ),
    FigureKind(
        "angles",
        (),
        "Distributions of bond angles beside first principles",
        Trajectory,
        "run",
        _MELT,
        runs.draw_angles,
        _WITH_LIQUID,
        joins=True,
        beside=True,
    ),
    FigureKind(
        "motifs",
        (),
        "Homopolar bonds, tetrahedra, bond lengths and neighbours beside first principles",
        Trajectory,
        "run",
        _MELT,
        runs.draw_motifs,
        _WITH_LIQUID,
        joins=True,
        beside=True,
    ),
    FigureKind(
        "validation",
        (),
        "Differences of amorphous cells from first-principles dynamics, with standard errors",
        Study,
        _VALIDATION,
        _VALIDATE,
        validation.draw_differences,
        _VALIDATED,
    ),
    FigureKind(
        "validation-rdf",
        (),
        "Partial g(r) of amorphous cells beside first-principles dynamics, and their difference",
        Study,
        _VALIDATION,
        _VALIDATE,
        partial(validation.draw_compared_curves, family="rdf"),
        _VALIDATED,
    ),
    FigureKind(
        "validation-angles",
        (),
        "Bond angles of amorphous cells beside first-principles dynamics, and their difference",
        Study,
        _VALIDATION,
        _VALIDATE,
        partial(validation.draw_compared_curves, family="angles"),
        _VALIDATED,
    ),
    FigureKind(
        "hyperparameters",
        (),
        "Table of the best fits of a search, with their fields and errors",
        Study,
        "search of hyperparameters",
        _SEARCH,
        studies.draw_hyperparameters,
        {"kind": "hyperopt"},
    ),
    FigureKind(
        "search",
        (),
        "Loss of each fit of a search, and the best so far",
        Study,
        "search of hyperparameters",
        _SEARCH,
        studies.draw_search,
        {"kind": "hyperopt"},
    ),
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
    """Return our figures, and those of plugins.

    Raises
    ------
    MissingProgramError
        A plugin cannot be imported, or offers something else.
    """
    own = {each.name: each for each in FIGURES}
    return [_figure(name, own) for name in known("figures", own)]


def _figure(name: str, own: dict[str, FigureKind]) -> FigureKind:
    found = resolve("figures", name, own)
    if not isinstance(found, FigureKind):
        package = distribution(offered("figures")[name])
        raise MissingProgramError(f"figure '{name}' of {package} is no FigureKind", f"pip install -U {package}")
    return found


def find_kind(name: str) -> FigureKind:
    """Return the figure of a name, or of its number in the paper.

    Raises
    ------
    InputError
        There is no such figure; the nearest name is given.
    """
    by_name = {each.name: each for each in FIGURES} | {number: each for each in FIGURES for number in each.paper}
    found = by_name.get(name.lower().removeprefix("fig-").removeprefix("fig."))
    if found is not None:
        return found
    if name not in (names := known("figures", by_name)):
        raise InputError(f"no figure '{name}'", f"{nearest(name.lower(), names)} (gst figure lists all)")
    return _figure(name, {})
