"""Grade structures, and choose a diverse set on which a potential extrapolates."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Settings
from gst_jobflow.documents import ConfigType, Potential, Structure, Trajectory
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.selection.documents import derived, origin_of
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.selection.grade import Grade, gammas
from gst_jobflow.selection.pick import Rows, most_informative
from gst_jobflow.selection.projections import coordinates
from gst_jobflow.store import Results


@dataclass(frozen=True)
class ChosenStructure:
    """A structure that is worth a label.

    `gain` is that in the log determinant of the information, given the active set and earlier choices.
    """

    found: FoundStructure
    grade: Grade
    gain: float


def grade(
    results: Results,
    settings: Settings,
    potential: Potential,
    found: Sequence[FoundStructure],
    threshold: float = 1.0,
    cores: int = 1,
) -> list[Grade]:
    """Return the extrapolation grade of each structure, over its mobile atoms.

    Raises as :func:`gst_jobflow.selection.grade.gammas`, and MissingProgramError without LAMMPS.
    """
    engine = lammps_engine(settings, n_ranks=1)
    with tempfile.TemporaryDirectory(prefix="gst_gamma_") as name:
        files = link_potential(results, potential, Path(name))
        values = gammas(engine, files, [each.atoms for each in found], Path(name), cores)
    return [Grade.of(each, gamma, threshold) for each, gamma in zip(found, values, strict=True)]


def choose(
    results: Results,
    settings: Settings,
    potential: Potential,
    graded: Sequence[tuple[FoundStructure, Grade]],
    window: tuple[float, float],
    number: int,
) -> list[ChosenStructure]:
    """Choose up to `number` structures with a grade in `window` by greedy D-optimality.

    Raises InputError if no grade is in the window.
    """
    low, high = window
    inside = [(found, each) for found, each in graded if low <= each.maximum <= high]
    if not inside:
        least, most = min(each.maximum for _, each in graded), max(each.maximum for _, each in graded)
        raise InputError(
            f"none of {len(graded)} structures has gamma in {low:g}..{high:g}",
            f"widen --gamma: theirs is {least:.3g} to {most:.3g}",
        )
    with tempfile.TemporaryDirectory(prefix="gst_select_") as name:
        files = link_potential(results, potential, Path(name))
        rows = coordinates(settings, files, [found.atoms for found, _ in inside])
    rows = [_of_mobile(found, of_one) for (found, _), of_one in zip(inside, rows, strict=True)]
    return [ChosenStructure(*inside[place], gain) for place, gain in most_informative(rows, number)]


def _of_mobile(found: FoundStructure, rows: Rows) -> dict[str, np.ndarray]:
    """Return the coordinates of mobile atoms; those of an element are in the order of the structure."""
    symbols, mobile = np.array(found.atoms.symbols), found.is_mobile
    return {element: block[mobile[symbols == element]] for element, block in rows.items()}


def candidates(
    results: Results,
    potential: Potential,
    chosen: Sequence[ChosenStructure],
    trajectory: Trajectory | None,
    tags: list[str],
    iteration: int,
    config_type: ConfigType | None = None,
) -> list[Structure]:
    """Return the documents of chosen structures; stored ones only gain the tags.

    `config_type` is for frames; None: that of the trajectory's last structure, else of its start.
    """
    if trajectory is None:
        known = results.get_many(Structure, [str(each.found.structure_id) for each in chosen])
        return [each.model_copy(update={"tags": tags}) for each in known]
    origin, builder = origin_of(results, trajectory, config_type), {"builder": "gamma", "trajectory_id": trajectory.id}
    documents = []
    for each in chosen:
        grades = {"max_gamma": each.grade.maximum, "gain": each.gain}
        source = {**builder, "step": each.found.step, "potential_id": potential.id, **grades}
        documents.append(derived(results, each.found.atoms, origin, source, tags, iteration))
    return documents
