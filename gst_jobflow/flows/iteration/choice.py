"""Choose among the candidates of one source: by extrapolation grade, energy, and how much they differ."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import find_project
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.datasets.duplicates import without_near_duplicates
from gst_jobflow.documents import Potential, Structure
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.dynamics.single_point import single_points
from gst_jobflow.selection.choice import choose, grade
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.selection.grade import Grade
from gst_jobflow.selection.pick import farthest_points, most_diverse
from gst_jobflow.selection.sample import shares
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.structures.composition import parse_formula


class Choice(StrictModel):
    """Which candidates of a source get labels; the default is all of them."""

    number: int | None = Field(
        None, ge=1, description="Largest number, dealt out evenly over the compositions; null: all"
    )
    by: Literal["diverse", "farthest", "gamma", "random"] = Field(
        "diverse",
        description="How `number` are chosen: diverse: D-optimal in SOAP spectra; farthest: farthest points in them; "
        "gamma: D-optimal in the potential's own functions; random",
    )
    gamma: tuple[float, float] | None = Field(
        None, description="Window of the largest extrapolation grade by the current potential, [2, 25]"
    )
    energy_window_eV: float | None = Field(
        None, gt=0, description="Leave out what lies further above the lowest of its composition, eV/atom"
    )
    near_duplicates_A: float | None = Field(
        None, gt=0, le=1, description="Keep one of candidates whose interatomic distances differ by less, Å"
    )

    @model_validator(mode="after")
    def _window_rises(self) -> Choice:
        if self.gamma is not None and not 0 <= self.gamma[0] < self.gamma[1]:
            raise UnfitValueError(f"gamma {self.gamma[0]:g}-{self.gamma[1]:g} is no window", "write [2, 25]")
        if self.by == "gamma" and self.number is None:
            raise UnfitValueError("by: gamma has no number", "add number: how many to choose")
        return self

    @property
    def needs_potential(self) -> bool:
        """Whether it looks at candidates with the current potential."""
        return self.gamma is not None or self.energy_window_eV is not None or self.by == "gamma"


def composition_of(structure: Structure, formulas: Sequence[str]) -> str:
    """Return the nearest of `formulas` by atomic fractions, as small cells meet theirs only about; else its own."""
    own = parse_formula(structure.formula)

    def distance(formula: str) -> float:
        other = parse_formula(formula)
        return sum(
            abs(own.get(element, 0) / sum(own.values()) - other.get(element, 0) / sum(other.values()))
            for element in own.keys() | other.keys()
        )

    return min(formulas, key=distance, default=structure.formula)


def choose_structures(
    results: Results,
    candidates: Sequence[Structure],
    choice: Choice,
    potential: Potential | None,
    seed: int,
    formulas: Sequence[str] = (),
) -> list[Structure]:
    """Choose structures, `choice.number` of them dealt out to the compositions `formulas`; raises as `largest_grades`.

    The choice depends on the candidates and the seed, not on their order.
    """
    composition = {each.id: composition_of(each, formulas) for each in candidates}
    left = sorted({each.id: each for each in candidates}.values(), key=lambda each: (composition[each.id], each.id))
    if choice.near_duplicates_A is not None:
        left = without_near_duplicates(results, left, choice.near_duplicates_A)
    if choice.energy_window_eV is not None and potential is not None:
        left = _low_enough(results, left, composition, potential, choice.energy_window_eV)
    if choice.gamma is not None and potential is not None:
        left = _in_window(results, left, potential, choice.gamma)
    if choice.number is None or choice.number >= len(left):
        return left
    parts = [[*part] for _, part in groupby(left, key=lambda each: composition[each.id])]
    numbers = shares([len(part) for part in parts], choice.number)
    return [
        part[place]
        for part, number in zip(parts, numbers, strict=True)
        for place in _places(results, part, number, choice, potential, seed)
    ]


def _places(
    results: Results, part: list[Structure], number: int, choice: Choice, potential: Potential | None, seed: int
) -> list[int]:
    """Return the places of those chosen of one composition."""
    if number >= len(part):
        return list(range(len(part)))
    if choice.by == "random":
        return sorted(np.random.default_rng(seed).choice(len(part), number, replace=False).tolist())
    if choice.by == "gamma" and potential is not None:
        found = _found(results, part)
        graded = list(zip(found, _grades(results, found, potential), strict=True))
        settings = find_project().settings
        chosen = choose(results, settings, potential, graded, choice.gamma or (0.0, np.inf), number)
        places = {each.id: place for place, each in enumerate(part)}
        return [places[str(each.found.structure_id)] for each in chosen]
    structures = [atoms_of(each, results.artifacts) for each in part]
    elements = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    describe = partial(mean_spectrum, options=SoapOptions(species=True), elements=elements)
    return (farthest_points if choice.by == "farthest" else most_diverse)(structures, number, describe)


def largest_grades(results: Results, structures: Sequence[Structure], potential: Potential) -> list[float]:
    """Return the largest extrapolation grade of each structure by a potential; InputError if it has no active set."""
    return [each.maximum for each in _grades(results, _found(results, structures), potential)]


def _found(results: Results, structures: Sequence[Structure]) -> list[FoundStructure]:
    return [FoundStructure(each.id, atoms_of(each, results.artifacts), each.id) for each in structures]


def _grades(results: Results, found: list[FoundStructure], potential: Potential) -> list[Grade]:
    return grade(results, find_project().settings, potential, found, cores=cores())


def _in_window(
    results: Results, left: list[Structure], potential: Potential, window: tuple[float, float]
) -> list[Structure]:
    grades = largest_grades(results, left, potential) if left else []
    return [each for each, gamma in zip(left, grades, strict=True) if window[0] <= gamma <= window[1]]


def _low_enough(
    results: Results, left: list[Structure], composition: dict[str, str], potential: Potential, window_eV: float
) -> list[Structure]:
    """Leave out structures whose energy lies further above the lowest of their composition."""
    energies = _energies(results, [atoms_of(each, results.artifacts) for each in left], potential)
    lowest: dict[str, float] = {}
    for each, energy in zip(left, energies, strict=True):
        lowest[composition[each.id]] = min(energy, lowest.get(composition[each.id], np.inf))
    return [
        each for each, energy in zip(left, energies, strict=True) if energy <= lowest[composition[each.id]] + window_eV
    ]


def _energies(results: Results, structures: Sequence[Atoms], potential: Potential) -> list[float]:
    """Return energies by LAMMPS, eV/atom."""
    engine = lammps_engine(find_project().settings, n_ranks=1)
    with tempfile.TemporaryDirectory(prefix="gst_energies_") as name:
        files = link_potential(results, potential, Path(name))
        points = single_points(engine, files, structures, Path(name) / "cells") if structures else []
    return [point.energy_eV / len(atoms) for point, atoms in zip(points, structures, strict=True)]
