"""Model of a label: energy, forces and stress of one structure by one method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field, model_validator

from gst_jobflow.documents.base import ArtifactRef, ConfigType, Document, Index, Part, derive_id, pack
from gst_jobflow.documents.structure import Structure

if TYPE_CHECKING:
    import numpy as np

COMPLETE = ("converged", "excluded")
"""States of a label that holds its numbers."""
WRONG_METHOD = "wrong_method"
"""Failure class of a result computed by another method than requested."""


class Labelled(Protocol):
    """What a label repeats of its structure."""

    @property
    def id(self) -> str: ...
    @property
    def formula(self) -> str: ...
    @property
    def config_type(self) -> str: ...
    @property
    def n_atoms(self) -> int: ...


class Exclusion(Part):
    """Why a person left a label out, who and when."""

    reason: str = Field(min_length=1)
    by: str
    at: datetime


class Label(Document):
    """Result of one method for one structure.

    A failed, quarantined or excluded label never enters a dataset; an excluded one keeps its numbers. `forces` are eV/Å
    (N × 3 float64, packed); `stress_eV_A3` is Voigt xx, yy, zz, yz, xz, xy with ASE's sign (positive is tension).
    """

    collection: ClassVar[str] = "labels"
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("structure_id", 1), ("fingerprint", 1)], unique=True),
        Index(keys=[("fingerprint", 1), ("state", 1), ("created_at", -1), ("config_type", 1)]),
        Index(keys=[("state", 1), ("failure_class", 1)]),
        # imported labels have none; a condition for one job implies this one
        Index(keys=[("job_uuid", 1)], partial={"job_uuid": {"$gt": ""}}),
        Index(keys=[("max_force_eV_A", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    structure_id: str
    fingerprint: str = Field(description="Hash of all parameters of the method that change the physics")
    method: dict[str, Any]
    state: Literal["converged", "failed", "quarantined", "excluded"]
    exclusion: Exclusion | None = Field(None, description="Of an excluded label, which was converged before")
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
        """Return the id of the label of a structure by a method."""
        return derive_id("label", structure_id, fingerprint)

    @classmethod
    def of(cls, structure: Structure, fingerprint: str, method: dict[str, Any], **values: Any) -> Label:
        """Build the label of a structure; see `values_of`."""
        return cls(**cls.values_of(structure, fingerprint, method, **values))

    @classmethod
    def values_of(
        cls,
        structure: Labelled,
        fingerprint: str,
        method: dict[str, Any],
        *,
        energy_eV: float | None = None,
        forces_eV_A: np.ndarray | None = None,
        stress_eV_A3: Sequence[float] | np.ndarray | None = None,
        failure_class: str = "",
        reason: str = "",
        **fields: Any,
    ) -> dict[str, Any]:
        """Return the values of the label of a structure.

        Parameters
        ----------
        fingerprint, method
            The method, and its hash.
        energy_eV, forces_eV_A, stress_eV_A3
            The result: total energy, forces of shape (N, 3), stress as Voigt xx, yy, zz, yz, xz, xy. A failed or
            quarantined label keeps none of them.
        failure_class, reason
            Why the result must not be used; empty for a converged label. `WRONG_METHOD` makes a quarantined label,
            every other class a failed one.
        """
        if not failure_class:
            assert energy_eV is not None and forces_eV_A is not None  # checked by the caller
            largest = _largest(forces_eV_A)
            fields |= {
                "energy_eV": float(energy_eV),
                "energy_per_atom_eV": float(energy_eV) / structure.n_atoms,
                "forces": pack(forces_eV_A, known_finite=math.isfinite(largest)),
                "max_force_eV_A": largest,
                "stress_eV_A3": None if stress_eV_A3 is None else [float(value) for value in stress_eV_A3],
            }
        return {
            "id": cls.id_for(structure.id, fingerprint),
            "structure_id": structure.id,
            "fingerprint": fingerprint,
            "method": method,
            "state": "converged" if not failure_class else "quarantined" if failure_class == WRONG_METHOD else "failed",
            "failure_class": failure_class,
            "reason": reason,
            "formula": structure.formula,
            "config_type": structure.config_type,
            "n_atoms": structure.n_atoms,
            **fields,
        }

    @model_validator(mode="after")
    def _converged_means_complete(self) -> Label:
        if (self.state == "excluded") != (self.exclusion is not None):
            raise ValueError("an excluded label needs its exclusion, and no other one has it")
        if self.state not in COMPLETE:
            if not self.failure_class:
                raise ValueError(f"a {self.state} label needs a failure_class")
            return self
        if self.energy_eV is None or self.forces is None:
            raise ValueError(f"a {self.state} label needs its energy and forces")
        if len(self.forces) != 24 * self.n_atoms:
            raise ValueError(f"forces do not hold {self.n_atoms} atoms")
        return self


def _largest(forces_eV_A: np.ndarray) -> float:
    """Return the length of the largest force; one that overflows is infinite, which no label takes."""
    import numpy as np

    with np.errstate(over="ignore"):
        x, y, z = (forces_eV_A * forces_eV_A).T
        # a sum over rows of three takes as long as all of this
        return math.sqrt((x + y + z).max())
