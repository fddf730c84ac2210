"""Model of a device cycle."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from gst_jobflow.base.energy import PulseEnergy
from gst_jobflow.documents.base import Document, Index, Part


class Operation(Part):
    """One operation of a cycle and, once it ran, its results."""

    kind: Literal["RESET", "SET", "HOLD", "READ"]
    state: Literal["waiting", "finished", "failed", "skipped"] = "waiting"
    stages: list[dict[str, Any]]
    trajectory_id: str | None = None
    duration_ps: float = Field(ge=0)
    asked_energy_eV: float = 0.0
    added_energy_eV: float | None = None
    asked_energy_pJ: float | None = None
    added_energy_pJ: float | None = None
    added_energy_eV_per_atom: float | None = Field(None, description="Energy that each heated atom got")
    max_temperature_K: float | None = Field(None, description="Highest instantaneous value, often right after a kick")
    final_temperature_K: float | None = Field(None, description="Last instantaneous value; a cooling's kick sets it")
    max_equilibrated_K: float | None = Field(None, description="Highest mean over the second half between two kicks")
    end_equilibrated_K: float | None = Field(None, description="Same mean before the last kick, or over the last 2 ps")
    max_gamma: float | None = Field(None, description="Largest extrapolation grade of a mobile atom")
    crystalline_fraction: float | None = None
    asked: dict[str, Any] = Field(default_factory=dict, description="The operation as in the programme")
    heated_atoms: int | None = Field(None, description="Number of atoms heated by a pulse")
    energy_eV_per_atom: float | None = Field(None, description="Energy per heated atom")
    profile: str = Field("", description="Distribution of a pulse among the atoms, in words")
    gradient_K_per_nm: float | None = Field(None, description="Temperature gradient along z at the end of a pulse")
    ended_by: str = Field("", description="Why it ended early or was skipped")
    until: dict[str, Any] | None = Field(None, description="Skip the operation if one of `rounds_end` met this")
    rounds_end: list[int] = Field(default_factory=list, description="Indices of operations that ended earlier rounds")

    @property
    def added_energy(self) -> PulseEnergy | None:
        """Energy that a pulse added, by its log; None before it ran and for other operations."""
        if not self.asked_energy_eV or self.added_energy_eV is None:
            return None
        return PulseEnergy(self.added_energy_eV, self.heated_atoms)


class Cycle(Document):
    """A device cell and its operations in order."""

    collection: ClassVar[str] = "cycles"
    mutable: ClassVar[bool] = True
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("device", 1), ("state", 1)]),
        Index(keys=[("potential_id", 1)]),
        Index(keys=[("structure_id", 1)]),
        Index(keys=[("barrier_structure_id", 1)]),
        Index(keys=[("parent_trajectory_id", 1)]),
        Index(keys=[("formula", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    device: Literal["cross-point", "mushroom"]
    formula: str
    n_atoms: int = Field(ge=1)
    groups: dict[str, list[int]] = Field(description="First and last atom id of each group, from 1")
    potential_id: str
    structure_id: str = Field(description="The cell before the first operation")
    barrier_structure_id: str | None = None
    state: Literal["waiting", "running", "finished", "failed"] = "waiting"
    operations: list[Operation]
    seed: int
    cell_report: dict[str, Any] = Field(default_factory=dict)
    cell: dict[str, Any] = Field(default_factory=dict, description="Specification of the cell")
    settings: dict[str, Any] = Field(default_factory=dict, description="Output, limits, tuning, analysis")
    parent_trajectory_id: str | None = Field(None, description="Run whose end is the start of this cycle")
    replica: int | None = Field(None, ge=0, description="Number of the replica, from 0; replicas differ in their seeds")
