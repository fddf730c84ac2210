"""Read what was computed of frames for figures: origins of atoms at the end of runs, mean curves of liquids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.analysis.averages import BlockMean
from gst_jobflow.analysis.crystallinity import ANION, RMSD_CUTOFF, crystallinity
from gst_jobflow.analysis.disorder import OrderMap, order_map
from gst_jobflow.analysis.profiles import over_xz
from gst_jobflow.analysis.series import FRAMES, Series, newest
from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.report.figures.analysis import LiquidStructure, OriginMap
from gst_jobflow.report.figures.cycle import dome_of
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import get_located

if TYPE_CHECKING:
    from gst_jobflow.store import Results

_CURVE_FRAMES = 50
_FIRST_PRINCIPLES = 3
_BIN_A = 6.0


def origins(
    results: Results, steps: Sequence[tuple[str, Trajectory]], groups: dict[str, list[int]] | None
) -> list[OriginMap]:
    """Return for each run whose end was analysed where its mobile atoms came from, in squares of x and z.

    Parameters
    ----------
    groups
        Of the device's cell: first and last id of its mobile atoms; without it there are no maps.

    Raises
    ------
    DataError
        A file is gone.
    """
    maps: list[OriginMap] = []
    dome = None
    for name, run in steps:
        dome = dome_of(run) or dome
        series = newest(run, "growth")
        if groups is None or series is None or series.steps[-1:] != [run.n_steps] or run.final_structure_id is None:
            continue
        origin = series.arrays(results.artifacts, run.n_steps, "origin")["origin"]
        first, last = groups["mobile"]
        mobile = np.arange(first - 1, last)
        bins = over_xz(load_atoms(results, run.final_structure_id), _BIN_A, mobile)
        first_state = _first_state(results, run, series, mobile)
        maps.append(OriginMap(f"end of {name}", bins, origin[mobile], dome, first_state))
    return maps


def _first_state(results: Results, run: Trajectory, series: Series, mobile: np.ndarray) -> OrderMap | None:
    """Return the order of the state since which growth counts; None where it is not stored."""
    since = series.described["parameters"].get("since")
    id = run.start_structure_id if since is None else get_located(results, Trajectory, since).final_structure_id
    if id is None:
        return None
    atoms, tellurium = load_atoms(results, id), newest(run, "tellurium")
    if since is None and tellurium is not None and 0 in tellurium.steps:
        # stored: matching templates again takes long in a large cell
        mask = tellurium.arrays(results.artifacts, 0, "crystalline")["crystalline"] > 0.5
    else:
        parameters = {} if tellurium is None else tellurium.described["parameters"]
        cutoff, anion = parameters.get("rmsd_cutoff", RMSD_CUTOFF), parameters.get("anion", ANION)
        mask = crystallinity(atoms, None, cutoff, anion).mask
    return order_map(atoms, mask, mobile)


def liquid_structures(results: Results, steps: Sequence[tuple[str, Trajectory]]) -> list[LiquidStructure]:
    """Return the mean curves of runs with the analysis ``liquid``, and of up to three runs from first principles."""
    curves = [_mean_curves(results, name, run) for name, run in steps]
    there = [each for each in curves if each is not None]
    if not there:
        return []
    shown = {run.id for _, run in steps}
    for document in _from_first_principles(results, [run.formula for _, run in steps]):
        found = None if document.id in shown else _mean_curves(results, f"{document.name} (first principles)", document)
        if found is not None and len(there) < len(steps) + _FIRST_PRINCIPLES:
            there.append(found)
    return there


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


def _mean_curves(results: Results, title: str, run: Trajectory | Study) -> LiquidStructure | None:
    series = newest(run, "liquid")
    if series is None or not series.steps:
        return None
    chosen = series.steps[:: max(1, len(series.steps) // _CURVE_FRAMES)]
    frames = [series.arrays(results.artifacts, step) for step in chosen]
    names = [name for name in frames[0] if name.startswith(("rdf.", "angles.", "altbc."))]
    curves = {name: np.mean([frame[name] for frame in frames], axis=0) for name in names}
    first_principles = isinstance(run, Study) or run.potential_id is None
    return LiquidStructure(title, curves, first_principles, f"{run.collection}/{run.id}", _means(series))


def _means(series: Series) -> dict[str, tuple[float, float]]:
    """Return mean and standard error of each number of a series; NaN where they cannot be told."""
    found = {}
    for name in series.numbers:
        blocks = BlockMean()
        for value in series.column(name)[1]:
            blocks.add(value)
        mean = blocks.mean()
        found[name] = (float(mean.value), float(mean.error))
    return found
