"""What is stored of a label: energy, forces and stress of one structure by one method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from gst_jobflow.documents.base import ArtifactRef, ConfigType, Document, Index, derive_id


class Label(Document):
    """Result of one method on one structure; keyed by both.

    A failed or quarantined label says why and never enters a dataset. `forces` are eV/Å (N × 3 float64, packed);
    `stress_eV_A3` is Voigt xx, yy, zz, yz, xz, xy with ASE's sign (positive is tension).
    """

    collection: ClassVar[str] = "labels"
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("structure_id", 1), ("fingerprint", 1)], unique=True),
        Index(keys=[("fingerprint", 1), ("state", 1), ("created_at", -1), ("config_type", 1)]),
        Index(keys=[("state", 1), ("failure_class", 1)]),
        Index(keys=[("job_uuid", 1)]),
        Index(keys=[("energy_per_atom_eV", 1)]),
        Index(keys=[("max_force_eV_A", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    structure_id: str
    fingerprint: str = Field(description="Hash of everything in the method that changes the physics")
    method: dict[str, Any]
    state: Literal["converged", "failed", "quarantined"]
    failure_class: str = ""
    reason: str = ""
    formula: str
    config_type: ConfigType
    n_atoms: int = Field(ge=1)
    energy_eV: float | None = None
    energy_per_atom_eV: float | None = None
    forces: bytes | None = None
    max_force_eV_A: float | None = Field(None, ge=0)
    stress_eV_A3: list[float] | None = Field(None, min_length=6, max_length=6)
    wall_s: float = Field(ge=0)
    host: str = ""
    job_uuid: str = ""
    files: list[ArtifactRef] = Field(default_factory=list)

    @staticmethod
    def id_for(structure_id: str, fingerprint: str) -> str:
        """The id of the one label that this structure can have by this method."""
        return derive_id("label", structure_id, fingerprint)

    @model_validator(mode="after")
    def _converged_means_complete(self) -> Label:
        if self.state != "converged":
            if not self.failure_class:
                raise ValueError(f"a {self.state} label needs a failure_class")
            return self
        if self.energy_eV is None or self.forces is None:
            raise ValueError("a converged label needs its energy and forces")
        if len(self.forces) != 24 * self.n_atoms:
            raise ValueError(f"forces do not hold {self.n_atoms} atoms")
        return self
