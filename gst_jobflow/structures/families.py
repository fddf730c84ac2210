"""Families of structures to label: random hard spheres, and strained and rattled crystals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from gst_jobflow.base.strict import UnfitValueError
from gst_jobflow.structures.contacts import PairDistances, push_apart
from gst_jobflow.structures.crystals import (
    check_centred,
    exchanged,
    rocksalt,
    rocksalt_counts,
    rocksalt_edge_A,
    trigonal,
    trigonal_counts,
    trigonal_phase,
    trigonal_primitive,
)
from gst_jobflow.structures.hard_sphere import HardSphereSpec, Positive, generate
from gst_jobflow.structures.material import OfMaterial

_ALWAYS_A = 1.0
"""Smallest distance of pairs without a given one, if others have one."""


class CrystalSpec(OfMaterial):
    """Specification of strained and rattled copies of a crystal."""

    kind: Literal["rocksalt", "trigonal"]
    formula: str
    repeat: tuple[int, int, int] = (1, 1, 1)
    lattice_A: float | None = Field(None, gt=0, description="Rock-salt lattice constant; none: the material's")
    primitive: bool = Field(False, description="Trigonal phases on the small rhombohedral cell, not the orthogonal one")
    disorder: bool = Field(False, description="Mixed cations in the trigonal phases")
    volume_scales: tuple[Positive, ...] = Field((1.0,), description="Volume relative to the reference cell")
    rattles_A: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        (0.0,), description="Standard deviation of random displacements, Å"
    )
    n_each: int = Field(1, ge=1, description="Structures for each volume and rattle")
    min_distances_A: dict[str, float] = Field(
        default_factory=dict, description="By pair, {'Ge-Te': 2.5}: rattled atoms that come closer are pushed apart"
    )
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> CrystalSpec:
        if self.kind == "trigonal" and self.lattice_A is not None:
            raise UnfitValueError("lattice_A is for rock-salt only", "strain a trigonal phase by volume_scales")
        for name in ("primitive", "disorder"):
            if self.kind == "rocksalt" and getattr(self, name):
                raise UnfitValueError(f"{name} is for trigonal phases only", f"leave {name} out")
        if self.primitive and self.disorder:
            raise UnfitValueError("disorder needs the orthogonal cell", "leave primitive out")
        return self

    @model_validator(mode="after")
    def _can_be_built(self) -> CrystalSpec:
        if self.kind == "rocksalt":
            rocksalt_counts(self.formula, self.repeat, self.material)
            if self.lattice_A is None:
                rocksalt_edge_A(self.material)
            return self
        trigonal_counts(self.formula, self.repeat, material=self.material)
        if self.primitive:
            check_centred(self.formula, self.material)
        if self.disorder:
            exchanged(*trigonal_phase(self.formula, self.material), self.material)
        return self


def hard_sphere_family(specs: list[HardSphereSpec], n_each: int) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    """Yield (atoms, source) of `n_each` structures of every specification."""
    for spec in specs:
        for index in range(n_each):
            source = {"builder": "hard_sphere", "index": index, "spec": spec.model_dump(mode="json", exclude_none=True)}
            yield generate(spec, index), source


def crystal_family(spec: CrystalSpec) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    """Yield (atoms, source) for every volume, rattle and copy, each with its own disorder and displacements."""
    number = 0
    for scale in spec.volume_scales:
        for rattle in spec.rattles_A:
            for _ in range(spec.n_each):
                seed = spec.seed * 10_000 + number
                atoms = _crystal(spec, seed)
                atoms.set_cell(atoms.cell * scale ** (1 / 3), scale_atoms=True)
                if rattle:
                    _rattle(atoms, rattle, seed, spec.min_distances_A)
                source = {
                    "builder": spec.kind,
                    "formula": spec.formula,
                    "repeat": list(spec.repeat),
                    "volume_scale": scale,
                    "rattle_A": rattle,
                    "min_distances_A": spec.min_distances_A,
                    "seed": seed,
                }
                yield atoms, source
                number += 1


def _crystal(spec: CrystalSpec, seed: int) -> Atoms:
    if spec.kind == "trigonal" and spec.primitive:
        return trigonal_primitive(spec.formula, spec.repeat, spec.material)
    if spec.kind == "trigonal":
        return trigonal(spec.formula, spec.repeat, disorder=spec.disorder, seed=seed, material=spec.material)
    return rocksalt(spec.formula, spec.repeat, spec.lattice_A, seed, spec.material)


def _rattle(atoms: Atoms, rattle_A: float, seed: int, min_distances_A: dict[str, float]) -> None:
    atoms.positions += np.random.default_rng(seed).normal(scale=rattle_A, size=(len(atoms), 3))
    if min_distances_A:
        push_apart(atoms, PairDistances(atoms.get_chemical_symbols(), min_distances_A, _ALWAYS_A))
