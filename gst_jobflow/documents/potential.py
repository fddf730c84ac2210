"""Model of a potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field

from gst_jobflow.documents.base import ArtifactRef, Cost, Document, Index, Part, derive_id


class Errors(Part):
    """Errors of energies and forces."""

    energy_meV_per_atom: float = Field(ge=0)
    force_meV_per_A: float = Field(ge=0, description="Over force components")


class Rmse(Errors):
    """Root-mean-square errors of one split."""


class RmseOfType(Rmse):
    """Root-mean-square errors of one config_type in one split."""

    n_structures: int = Field(ge=1)


class PotentialArtifacts(Part):
    """Files of a potential: for pacemaker, for LAMMPS, and the active set of `yaml` for the extrapolation grade.

    An imported potential may have only `yace`; GRACE/FS has only `yaml`; a kind of a plugin has only `other`.
    """

    yaml: ArtifactRef | None = None
    yace: ArtifactRef | None = None
    asi: ArtifactRef | None = None
    other: list[ArtifactRef] = Field(default_factory=list, description="Files of a plugin's kind, by their names")


class LammpsCheck(Part):
    """Difference between LAMMPS and the fit's predictions on a few test structures."""

    state: Literal["passed", "not_checked"]
    reason: str = Field("", description="Why it was not checked")
    n_structures: int = Field(0, ge=0)
    styles: list[str] = Field(default_factory=list, description="Pair styles compared")
    max_energy_difference_meV_per_atom: float | None = Field(None, ge=0)
    max_force_difference_meV_per_A: float | None = Field(None, ge=0)
    version: str = Field("", description="Version of LAMMPS")


class ActiveSet(Part):
    """Training atoms that define the extrapolation grade, and the grades of the training set."""

    atoms: Literal["well_fitted", "all"] = Field(description="well_fitted: without outliers in force error")
    reason: str = Field("", description="Why it differs from the request of the fit")
    max_gamma: float = Field(ge=0, description="Largest grade of an atom of the training set")
    share_above_1: float = Field(ge=0, le=1, description="Share of atoms above 1.01, the tolerance of MaxVol")
    n_atoms: int = Field(ge=1, description="Atoms of the training set")


class Speed(Part):
    """Cost of molecular dynamics with the potential in LAMMPS or, if it cannot run there, by pyace in ASE."""

    us_per_atom_step: float = Field(gt=0, description="Wall time per atom and step, µs")
    ranks: int = Field(ge=1)
    n_atoms: int = Field(ge=1)
    formula: str
    n_steps: int = Field(ge=1)
    pair_style: str
    processor: str
    version: str = Field("", description="Version of LAMMPS or pyace")


class PotentialShape(Protocol):
    """Composition of a potential, read from its files."""

    elements: tuple[str, ...]
    n_functions: int
    n_parameters: int
    cutoff_A: float

    @property
    def n_densities(self) -> int | None:
        """P, of kinds with an embedding."""


class Potential(Document):
    """A potential: dataset, settings, errors, files."""

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
    kind: str = Field("ace", pattern=r"^[a-z0-9][a-z0-9_./-]*$", description="ace, grace/fs, or that of a plugin")
    dataset_id: str | None = Field(None, description="None for an imported potential")
    parent_id: str | None = Field(None, description="Potential from which an upfit started")
    elements: list[str]
    n_densities: int | None = Field(
        None, ge=1, description="P, number of atomic properties in the embedding; None: a plugin's kind has none"
    )
    n_functions: int = Field(ge=1)
    n_parameters: int | None = Field(None, ge=1)
    cutoff_A: float = Field(gt=0)
    rmse: dict[str, Rmse] = Field(default_factory=dict, description="{train,test}")
    rmse_by_config_type: dict[str, dict[str, RmseOfType]] = Field(default_factory=dict)
    mae: dict[str, Errors] = Field(default_factory=dict, description="Mean absolute errors, {train,test}")
    max_error: dict[str, Errors] = Field(default_factory=dict, description="Largest absolute errors, {train,test}")
    converged: bool | None = Field(None, description="Whether the optimiser converged; None: unknown")
    stop_reason: str = Field("", description="Why the fit ended")
    lammps_check: LammpsCheck | None = None
    speed: Speed | None = None
    active_set: ActiveSet | None = Field(None, description="None: unknown, as for an imported potential")
    artifacts: PotentialArtifacts
    files: list[ArtifactRef] = Field(default_factory=list, description="input.yaml, parity data, logs")
    config: dict[str, Any] = Field(default_factory=dict, description="Typed settings of the fit")
    cost: Cost | None = None
    seed: int | None = None
    source: str = Field("", description="Source of an imported potential")
    tags: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    job_uuid: str = ""

    @classmethod
    def of(cls, identity: Sequence[Any], shape: PotentialShape, stored: Mapping[str, Any], **fields: Any) -> Potential:
        """Build the document of a potential whose files are stored.

        Parameters
        ----------
        identity
            JSON-able parts that determine the id.
        stored
            Its files by ending: yaml, yace, asi; a list of `other` ones.
        fields
            Further fields of the document; `n_parameters` defaults to that of `shape`.
        """
        return cls(
            id=derive_id(*identity),
            elements=list(shape.elements),
            n_densities=shape.n_densities,
            n_functions=shape.n_functions,
            cutoff_A=shape.cutoff_A,
            artifacts=PotentialArtifacts(**stored),
            **{"n_parameters": shape.n_parameters or None, **fields},
        )
