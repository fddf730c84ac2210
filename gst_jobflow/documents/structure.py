"""Model of a structure."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from gst_jobflow.documents.base import ArtifactRef, ConfigType, Document, Index

LARGE_STRUCTURE_ATOMS = 100_000
"""Largest structure with coordinates in its document, which MongoDB limits to 16 MB."""


class Structure(Document):
    """A periodic arrangement of atoms; `_id` is the hash of its content.

    `numbers` are atomic numbers (N bytes), `positions` Å (N × 3 float64, packed). Structures of more than
    `LARGE_STRUCTURE_ATOMS` atoms have both in `atoms_artifact` (npz).
    """

    collection: ClassVar[str] = "structures"
    indexes: ClassVar[tuple[Index, ...]] = (
        # equality, sort order, range: the index gives the first page directly
        Index(keys=[("formula", 1), ("created_at", -1), ("min_distance_A", 1)]),
        Index(keys=[("config_type", 1), ("created_at", -1), ("iteration", 1)]),
        Index(keys=[("iteration", 1), ("created_at", -1)]),
        Index(keys=[("n_atoms", 1), ("created_at", -1)]),
        Index(keys=[("min_distance_A", 1)]),
        # most structures have none; a condition for one parent implies this one
        Index(keys=[("parents", 1)], partial={"parents": {"$gt": ""}}),
        Index(keys=[("tags", 1), ("created_at", -1)]),
        Index(keys=[("created_at", -1)]),
    )

    formula: str = Field(description="Reduced formula")
    elements: list[str]
    composition: dict[str, float] = Field(description="Atomic fractions")
    n_atoms: int = Field(ge=1)
    config_type: ConfigType
    iteration: int = Field(0, ge=0, description="Iteration of the training protocol")
    parents: list[str] = Field(default_factory=list, description="Structures from which it was made")
    group: str = Field(
        min_length=1,
        description="Trajectory of the frame, else first parent or itself; splits keep groups whole",
    )
    min_distance_A: float | None = Field(None, gt=0, description="Closest contact, periodic images included")
    density_g_cm3: float = Field(gt=0)
    volume_per_atom_A3: float = Field(gt=0)
    pbc: list[bool] = Field(min_length=3, max_length=3)
    cell_A: list[list[float]] = Field(min_length=3, max_length=3, description="Rows are lattice vectors, Å")
    numbers: bytes | None = None
    positions: bytes | None = None
    atoms_artifact: ArtifactRef | None = None
    source: dict[str, Any] = Field(default_factory=dict, description="Builder and its parameters")
    tags: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _holds_all_atoms(self) -> Structure:
        if self.atoms_artifact is not None:
            return self
        if self.numbers is None or self.positions is None:
            raise ValueError("a structure needs numbers and positions, or an atoms_artifact")
        if len(self.numbers) != self.n_atoms or len(self.positions) != 24 * self.n_atoms:
            raise ValueError(f"numbers and positions do not hold {self.n_atoms} atoms")
        return self
