"""What is stored of a device cycle."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from gst_jobflow.documents.base import Document, Index, Part


class Operation(Part):
    """One step of a cycle and, once it ran, what came of it."""

    kind: Literal["RESET", "SET", "HOLD"]
    state: Literal["waiting", "finished", "failed"] = "waiting"
    stages: list[dict[str, Any]]
    trajectory_id: str | None = None
    duration_ps: float = Field(ge=0)
    asked_energy_eV: float = 0.0
    added_energy_eV: float | None = None
    max_temperature_K: float | None = None
    final_temperature_K: float | None = None
    crystalline_fraction: float | None = None


class Cycle(Document):
    """A device cell and its operations in order."""

    collection: ClassVar[str] = "cycles"
    mutable: ClassVar[bool] = True
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("device", 1), ("state", 1)]),
        Index(keys=[("potential_id", 1)]),
        Index(keys=[("structure_id", 1)]),
        Index(keys=[("barrier_structure_id", 1)]),
        Index(keys=[("formula", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    device: Literal["cross-point", "mushroom"]
    formula: str
    n_atoms: int = Field(ge=1)
    groups: dict[str, list[int]] = Field(description="First and last atom id of each group, counted from 1")
    potential_id: str
    structure_id: str = Field(description="The cell before the first operation")
    barrier_structure_id: str | None = None
    state: Literal["waiting", "running", "finished", "failed"] = "waiting"
    operations: list[Operation]
    seed: int
    cell_report: dict[str, Any] = Field(default_factory=dict)
