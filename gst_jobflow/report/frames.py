"""Read for figures where atoms at the end of runs came from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gst_jobflow.analysis.crystallinity import ANION, RMSD_CUTOFF, crystallinity
from gst_jobflow.analysis.disorder import OrderMap, order_map
from gst_jobflow.analysis.profiles import over_xz
from gst_jobflow.analysis.series import Series, newest
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.figures.analysis import OriginMap
from gst_jobflow.report.figures.cycle import dome_of
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import get_located

_BIN_A = 6.0


def origins(
    results: Results, steps: Sequence[tuple[str, Trajectory]], groups: dict[str, list[int]] | None
) -> list[OriginMap]:
    """Return where the mobile atoms of runs whose end was analysed came from, in squares of x and z.

    `groups` of the device's cell hold first and last id of these; without it there are no maps. Raises DataError if a
    file is gone.
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
