"""What is stored of a fitted potential."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from gst_jobflow.documents.base import ArtifactRef, Cost, Document, Index, Part


class Rmse(Part):
    """Root-mean-square errors of one split."""

    energy_meV_per_atom: float = Field(ge=0)
    force_meV_per_A: float = Field(ge=0, description="Over force components")


class RmseOfType(Rmse):
    """Root-mean-square errors of one config_type in one split."""

    n_structures: int = Field(ge=1)


class PotentialFiles(Part):
    """The files of a potential: pacemaker's, LAMMPS's, and the active set of the extrapolation grade."""

    yaml: ArtifactRef
    yace: ArtifactRef
    asi: ArtifactRef | None = None


class Potential(Document):
    """An ACE potential: what it was fitted to, how, how well, and its files."""

    collection: ClassVar[str] = "potentials"
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("name", 1)]),
        Index(keys=[("dataset_id", 1)]),
        Index(keys=[("parent_id", 1)]),
        Index(keys=[("job_uuid", 1)]),
        Index(keys=[("rmse.test.force_meV_per_A", 1)]),
        Index(keys=[("rmse.test.energy_meV_per_atom", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    dataset_id: str | None = Field(None, description="None for an imported potential")
    parent_id: str | None = Field(None, description="The potential that an upfit started from")
    elements: list[str]
    n_densities: int = Field(ge=1, description="P, the atomic properties of the embedding")
    n_functions: int = Field(ge=1)
    n_parameters: int | None = Field(None, ge=1)
    cutoff_A: float = Field(gt=0)
    rmse: dict[str, Rmse] = Field(default_factory=dict, description="{train,test}")
    rmse_by_config_type: dict[str, dict[str, RmseOfType]] = Field(default_factory=dict)
    artifacts: PotentialFiles
    files: list[ArtifactRef] = Field(default_factory=list, description="input.yaml, parity data, logs")
    config: dict[str, Any] = Field(default_factory=dict, description="The typed fit input")
    cost: Cost | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    job_uuid: str = ""
