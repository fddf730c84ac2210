"""Atoms as plain values, for many of them: making `ase.Atoms` takes as long as reading and checking the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.structures.lattice import Vector, volume_A3

if TYPE_CHECKING:
    from ase import Atoms


@dataclass
class PlainAtoms:
    """What `ase.Atoms` holds, without its methods; a change is a new object.

    Rows of `cell_A` are lattice vectors, Å. `arrays` are as in ASE: at least ``numbers``, shape (n,), int64, and
    ``positions``, Å, shape (n, 3), float64. `info` has values of the structure as a whole, `results` those of its
    calculator.

    `farthest_A` is the largest coordinate, whatever its sign; `is_finite`: all positions, the cell and its volume are.
    """

    cell_A: list[Vector]
    pbc: list[bool]
    arrays: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    volume_A3: float = field(init=False)
    farthest_A: float = field(init=False)
    is_finite: bool = field(init=False)

    def __post_init__(self) -> None:
        self.volume_A3 = volume_A3(self.cell_A)
        # NaN if a position is
        self.farthest_A = float(np.abs(self.positions).max(initial=0.0))
        # each number of the cell is a factor of its volume
        self.is_finite = math.isfinite(self.farthest_A) and math.isfinite(self.volume_A3)

    @classmethod
    def of(cls, atoms: Atoms | PlainAtoms) -> PlainAtoms:
        """Return the plain values of atoms, which share their arrays."""
        if isinstance(atoms, PlainAtoms):
            return atoms
        results = getattr(atoms.calc, "results", None) or {}
        return cls(atoms.cell.array.tolist(), atoms.pbc.tolist(), atoms.arrays, atoms.info, results)

    def __len__(self) -> int:
        return len(self.arrays["numbers"])

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers."""
        return self.arrays["numbers"]

    @property
    def positions(self) -> np.ndarray:
        """Å."""
        return self.arrays["positions"]

    @cached_property
    def values(self) -> dict[str, Any]:
        """All values by name, those of the calculator before others."""
        values = {**self.info, **self.arrays, **self.results}
        return {name: value for name, value in values.items() if value is not None}

    def atoms(self) -> Atoms:
        """Return `ase.Atoms` without a calculator."""
        from ase import Atoms

        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell_A, pbc=self.pbc, info=self.info)
        for name, values in self.arrays.items():
            if name not in ("numbers", "positions"):
                atoms.new_array(name, values)
        return atoms
