"""A kind of potentials: Morse functions of all pairs of elements, fitted by least squares, run by LAMMPS' `morse`.

The energy of a pair is D (exp(-2 a (r - r0)) - 2 exp(-a (r - r0))), shifted to 0 at the cutoff. Free atoms have no
energy, so the dataset needs their energies as its reference energies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import least_squares

from gst_jobflow.fitting.engine import FitData, PluginConfig, PluginFit

FILE = "morse.json"
FORCE_WEIGHT_A = 0.3
"""Å by which a force error is multiplied to count like an energy error an atom."""


class MorseConfig(PluginConfig):
    """Settings of the fit."""

    cutoff_A: float = Field(7.0, gt=0, description="No pair acts beyond it")
    evaluations: int = Field(200, ge=1, description="Most evaluations of the least squares")


@dataclass(frozen=True)
class Pairs:
    """Neighbours of a structure: atoms, distances, vectors, and which pair of elements each is."""

    n_atoms: int
    first: NDArray
    second: NDArray
    distance_A: NDArray
    vector_A: NDArray
    kind: NDArray

    @classmethod
    def of(cls, atoms: Atoms, elements: Sequence[str], cutoff_A: float) -> Pairs:
        """List the neighbours; each pair comes twice."""
        first, second, distance, vector = neighbour_list("ijdD", atoms, cutoff_A)
        place = np.array([elements.index(symbol) for symbol in atoms.symbols])
        table = np.zeros((len(elements), len(elements)), dtype=int)
        for number, (one, other) in enumerate(combinations_with_replacement(range(len(elements)), 2)):
            table[one, other] = table[other, one] = number
        return cls(len(atoms), first, second, distance, vector, table[place[first], place[second]])


def energy_and_forces(pairs: Pairs, parameters: NDArray, cutoff_A: float) -> tuple[float, NDArray]:
    """Return energy, eV, and forces, eV/Å; `parameters` are D, a and r0 of each pair of elements, shape (pairs, 3)."""
    depth, steepness, bond = parameters[pairs.kind].T

    def values(distance: NDArray) -> tuple[NDArray, NDArray]:
        decay = np.exp(-steepness * (distance - bond))
        return depth * decay * (decay - 2), -2 * depth * steepness * decay * (decay - 1)

    (energy, slope), (shift, _) = values(pairs.distance_A), values(np.full(len(pairs.distance_A), cutoff_A))
    along = (slope / pairs.distance_A)[:, None] * pairs.vector_A
    forces = [np.bincount(pairs.first, along[:, axis], pairs.n_atoms) for axis in range(3)]
    return 0.5 * float((energy - shift).sum()), np.transpose(forces)


class MorseCalculator(Calculator):
    """Predict energies and forces by fitted Morse functions."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, fitted: Mapping[str, Any]) -> None:
        super().__init__()
        self.fitted = fitted

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute both properties."""
        super().calculate(atoms, properties, system_changes)
        cutoff_A = self.fitted["cutoff_A"]
        pairs = Pairs.of(self.atoms, self.fitted["elements"], cutoff_A)
        energy, forces = energy_and_forces(pairs, np.array(self.fitted["parameters"]), cutoff_A)
        self.results = {"energy": energy, "forces": forces}


class MorseEngine:
    """The fit engine `morse`."""

    config = MorseConfig

    def fit(self, config: MorseConfig, data: FitData, directory: Path) -> PluginFit:
        """Fit depth, steepness and bond of each pair of elements to energies and forces."""
        references, items = data.reference_energies, data.train
        pairs = [Pairs.of(item.atoms, config.elements, config.cutoff_A) for item in items]
        free = [sum(references[symbol] for symbol in item.atoms.symbols) for item in items]

        def misfits(flat: NDArray) -> NDArray:
            rows = []
            for item, listed, zero in zip(items, pairs, free, strict=True):
                energy, forces = energy_and_forces(listed, flat.reshape(-1, 3), config.cutoff_A)
                rows.append([(energy + zero - item.energy_eV) / listed.n_atoms])
                rows.append(FORCE_WEIGHT_A * (forces - item.forces_eV_A).ravel())
            return np.concatenate(rows)

        start = self._start(config.elements)
        low, high = np.tile([1e-6, 0.2, 1.0], len(start)), np.tile([20.0, 10.0, 6.0], len(start))
        found = least_squares(misfits, start.ravel(), bounds=(low, high), x_scale="jac", max_nfev=config.evaluations)
        content = {
            "elements": list(config.elements),
            "cutoff_A": config.cutoff_A,
            "parameters": found.x.reshape(-1, 3).tolist(),
        }
        (directory / FILE).write_text(json.dumps(content, indent=1) + "\n")
        return PluginFit(
            elements=config.elements,
            files={FILE: directory / FILE},
            n_functions=len(start),
            n_parameters=found.x.size,
            cutoff_A=config.cutoff_A,
            converged=found.status > 0,
            stop_reason=found.message,
        )

    @staticmethod
    def _start(elements: Sequence[str]) -> NDArray:
        radius = {element: covalent_radii[atomic_numbers[element]] for element in elements}
        bonds = [radius[one] + radius[other] for one, other in combinations_with_replacement(elements, 2)]
        return np.array([[0.3, 1.5, bond] for bond in bonds])

    def pair_lines(self, files: Mapping[str, Path], elements: Sequence[str]) -> list[str]:
        """Return the lines of LAMMPS; the numbers stand in them, so no file is named."""
        fitted = json.loads(files[FILE].read_text())
        numbers = combinations_with_replacement([elements.index(each) + 1 for each in fitted["elements"]], 2)
        coefficients = [
            f"pair_coeff {min(pair)} {max(pair)} {' '.join(f'{value:.15g}' for value in values)}"
            for pair, values in zip(numbers, fitted["parameters"], strict=True)
        ]
        return [f"pair_style morse {fitted['cutoff_A']:.15g}", "pair_modify shift yes", *coefficients]

    def calculator(self, files: Mapping[str, Path], elements: Sequence[str]) -> MorseCalculator:
        """Return the calculator for ASE."""
        return MorseCalculator(json.loads(files[FILE].read_text()))


ENGINE = MorseEngine()
