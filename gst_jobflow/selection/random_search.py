"""Random structure search: draw cells, relax them under pressure, choose what is worth a label.

After Pickard and Needs (J. Phys. Condens. Matter 23, 053201, 2011) and the search of autoplex 0.3, with one difference:
what does not converge or collapses is kept, since it shows what the potential has to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gst_jobflow.documents.base import derive_id
from gst_jobflow.dynamics.relax import Relaxed, RelaxOptions
from gst_jobflow.selection.pick import most_diverse
from gst_jobflow.structures.composition import Formula, elements_in, fewest_atoms, parse_formula
from gst_jobflow.structures.hard_sphere import HardSphereSpec, Range, generate
from gst_jobflow.structures.material import OfMaterial

_BINS = 10
_DRAWN = 3
"""Candidates that are drawn by their enthalpy for each one that is chosen of them by its surroundings."""


class RandomSearchPlan(OfMaterial):
    """What is drawn, how it is relaxed, and how much of it is chosen."""

    compositions: list[Formula] = Field(
        default_factory=lambda given: list(given["material"].compositions),
        min_length=1,
        description="Formulas, taken in turn",
    )
    cells: int = Field(200, ge=1, description="Cells to draw and relax")
    n_atoms: tuple[int, int] = Field((8, 40), description="Fewest and most atoms of a cell")
    volume_per_atom_A3: Range = Field(
        default_factory=lambda given: given["material"].volume_per_atom_A3,
        description="Range of the volume an atom before relaxation, Å³",
    )
    min_distance_A: Range = Field(
        default_factory=lambda given: given["material"].close_contacts_A,
        description="Range of the closest contact before relaxation, Å",
    )
    pressure_GPa: float = Field(100.0, ge=0, description="P0 of the pressure P0 x, where x is drawn for each cell")
    pressure_scale: float = Field(0.2, gt=0, description="Mean of x, which has an exponential distribution")
    relax: RelaxOptions = Field(default_factory=RelaxOptions)
    number: int = Field(50, ge=1, description="Structures to choose for labels")
    collapsed_share: float = Field(
        0.25, ge=0, le=1, description="Share of these that are last sound frames of cells that collapsed or crashed"
    )
    kT_eV: float = Field(0.2, gt=0, description="Width of the Boltzmann weights of the enthalpy an atom, eV")
    on_the_way: bool = Field(True, description="Whether frames on the way to a minimum are candidates, too")
    seed: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _ranges_rise(self) -> RandomSearchPlan:
        for name in ("n_atoms", "volume_per_atom_A3", "min_distance_A"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is a range from low to high, not {low:g} to {high:g}")
        fewest = max(len(parse_formula(formula)) for formula in self.compositions)
        if self.n_atoms[0] < fewest:
            raise ValueError(f"n_atoms begins at {self.n_atoms[0]}, a cell needs an atom of each of {fewest} elements")
        for formula in self.compositions:
            if (needed := fewest_atoms(formula)) > self.n_atoms[1]:
                raise ValueError(f"n_atoms ends at {self.n_atoms[1]}, a cell of {formula} needs {needed} atoms")
        return self

    @property
    def elements(self) -> list[str]:
        """All elements of the compositions, sorted."""
        return sorted(elements_in(self.compositions))


@dataclass(frozen=True)
class RandomCell:
    """A cell before relaxation, and the pressure under which it is relaxed."""

    atoms: Atoms
    formula: str
    pressure_GPa: float


@dataclass(frozen=True)
class SearchCandidate:
    """A configuration that may get a label.

    `enthalpy_eV` is E + PV an atom, above the lowest of its composition that did not collapse. `kind` is ``minimum``,
    ``unfinished`` (the last step that there was time for), ``frame`` (on the way) or ``collapsed`` (the last sound
    frame before).
    """

    atoms: Atoms
    cell: int
    formula: str
    kind: str
    step: int
    pressure_GPa: float
    enthalpy_eV: float


def draw_cells(plan: RandomSearchPlan) -> list[RandomCell]:
    """Draw all cells of a plan; each depends on the seed and its number only."""
    cells = []
    for number in range(plan.cells):
        rng = np.random.default_rng([plan.seed, number])
        formula = plan.compositions[number % len(plan.compositions)]
        fewest = max(plan.n_atoms[0], fewest_atoms(formula))
        spec = HardSphereSpec(
            formula=formula, n_atoms=int(rng.integers(fewest, plan.n_atoms[1] + 1)), rounding="nearest",
            volume_per_atom_A3=plan.volume_per_atom_A3, min_distance_A=plan.min_distance_A,
            seed=int(derive_id("random search", plan.seed)[:7], 16),
        )  # fmt: skip
        pressure_GPa = plan.pressure_GPa * float(rng.exponential(plan.pressure_scale))
        cells.append(RandomCell(generate(spec, number), formula, pressure_GPa))
    return cells


def candidates_of(
    cells: Sequence[RandomCell], relaxed: Sequence[Relaxed | None], on_the_way: bool
) -> list[SearchCandidate]:
    """Return what may be labelled of each relaxed cell; a cell that broke at once is a candidate as it was drawn."""
    found = [
        (number, cell, atoms, kind)
        for number, (cell, result) in enumerate(zip(cells, relaxed, strict=True))
        if result is not None
        for atoms, kind in _kinds(cell, result, on_the_way)
    ]
    lowest: dict[str, float] = {}
    for _, cell, atoms, kind in found:
        if kind != "collapsed":
            lowest[cell.formula] = min(lowest.get(cell.formula, np.inf), _enthalpy_eV(atoms))
    return [
        SearchCandidate(
            atoms, number, cell.formula, kind, int(atoms.info.get("step", 0)), cell.pressure_GPa,
            _enthalpy_eV(atoms) - lowest.get(cell.formula, np.nan),
        )
        for number, cell, atoms, kind in found
    ]  # fmt: skip


def _kinds(cell: RandomCell, result: Relaxed, on_the_way: bool) -> list[tuple[Atoms, str]]:
    last = {"converged": "minimum", "unfinished": "unfinished"}.get(result.state, "collapsed")
    if not result.frames:
        return [(cell.atoms, "collapsed")]
    # the way into a collapse is no way to a minimum
    way = [(frame, "frame") for frame in result.frames[:-1]] if on_the_way and last != "collapsed" else []
    return [*way, (result.frames[-1], last)]


def _enthalpy_eV(atoms: Atoms) -> float:
    return float(atoms.info.get("enthalpy_eV", np.nan)) / len(atoms)


def choose_candidates(
    candidates: Sequence[SearchCandidate], plan: RandomSearchPlan, describe: Callable[[Atoms], NDArray]
) -> list[SearchCandidate]:
    """Choose what is worth a label: by flattened Boltzmann weights, then those whose surroundings differ most.

    Enthalpies are drawn without replacement with weights exp(−H / kT) / n, where n counts the candidates in the same of
    ten bins of H, so that low ones are frequent and rare ones not left out. Of three times as many as are wanted,
    greedy D-optimality on descriptors takes the most diverse. Collapsed ones have no meaningful enthalpy and are chosen
    by their descriptors alone.

    `describe` returns one vector for a configuration, such as the mean of its atoms' SOAP spectra.
    """
    sound = [each for each in candidates if each.kind != "collapsed"]
    collapsed = [each for each in candidates if each.kind == "collapsed"]
    n_collapsed = min(len(collapsed), round(plan.collapsed_share * plan.number))
    n_sound = min(len(sound), plan.number - n_collapsed)
    n_collapsed = min(len(collapsed), plan.number - n_sound)
    drawn = [sound[place] for place in _drawn(np.array([each.enthalpy_eV for each in sound]), _DRAWN * n_sound, plan)]
    return [
        part[place]
        for part, n_part in ((drawn, n_sound), (collapsed, n_collapsed))
        for place in most_diverse([each.atoms for each in part], n_part, describe)
    ]


def _drawn(enthalpy_eV: NDArray, number: int, plan: RandomSearchPlan) -> list[int]:
    if number >= len(enthalpy_eV):
        return list(range(len(enthalpy_eV)))
    counts, edges = np.histogram(enthalpy_eV, bins=_BINS)
    of_bin = counts[np.clip(np.digitize(enthalpy_eV, edges) - 1, 0, _BINS - 1)]
    log_weight = -enthalpy_eV / plan.kT_eV - np.log(of_bin)
    # Gumbel noise on logarithms draws without replacement, also where weights are too small for numbers
    noise = np.random.default_rng([plan.seed, len(enthalpy_eV)]).gumbel(size=len(enthalpy_eV))
    return sorted(np.argsort(-(log_weight + noise), kind="stable")[:number].tolist())
