"""What is stored of a fitted potential."""

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
    """The files of a potential: pacemaker's, LAMMPS's, and the active set of the extrapolation grade.

    An imported potential may have only what LAMMPS reads. The active set belongs to the `.yaml`. Of GRACE/FS there is
    one file, `yaml`.
    """

    yaml: ArtifactRef | None = None
    yace: ArtifactRef | None = None
    asi: ArtifactRef | None = None


class LammpsCheck(Part):
    """How far LAMMPS is from the predictions of the fit on a few test structures, with the files that it reads."""

    state: Literal["passed", "not_checked"]
    reason: str = Field("", description="Why it was not checked")
    n_structures: int = Field(0, ge=0)
    styles: list[str] = Field(default_factory=list, description="Pair styles that were compared")
    max_energy_difference_meV_per_atom: float | None = Field(None, ge=0)
    max_force_difference_meV_per_A: float | None = Field(None, ge=0)
    version: str = Field("", description="Of LAMMPS")


class ActiveSet(Part):
    """Which training atoms the extrapolation grade is measured against, and how large it is on the training set."""

    atoms: Literal["well_fitted", "all"] = Field(description="well_fitted: without outliers of the force error")
    reason: str = Field("", description="Why it is not what the fit asked for")
    max_gamma: float = Field(ge=0, description="Largest grade of an atom of the training set")
    share_above_1: float = Field(ge=0, le=1, description="Share of atoms above 1.01, the tolerance of MaxVol")
    n_atoms: int = Field(ge=1, description="Atoms of the training set")


class Speed(Part):
    """What molecular dynamics with the potential costs, measured in LAMMPS or, where that cannot, by pyace in ASE."""

    us_per_atom_step: float = Field(gt=0, description="Wall time by atoms and steps, µs")
    ranks: int = Field(ge=1)
    n_atoms: int = Field(ge=1)
    formula: str
    n_steps: int = Field(ge=1)
    pair_style: str
    processor: str
    version: str = Field("", description="Of LAMMPS, or of pyace")


class PotentialShape(Protocol):
    """What a potential consists of, as a reader of its files says it."""

    elements: tuple[str, ...]
    n_densities: int
    n_functions: int
    n_parameters: int
    cutoff_A: float


class Potential(Document):
    """An ACE or GRACE/FS potential: what it was fitted to, how, how well, and its files."""

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
    kind: Literal["ace", "grace/fs"] = "ace"
    dataset_id: str | None = Field(None, description="None for an imported potential")
    parent_id: str | None = Field(None, description="The potential that an upfit started from")
    elements: list[str]
    n_densities: int = Field(ge=1, description="P, the atomic properties of the embedding")
    n_functions: int = Field(ge=1)
    n_parameters: int | None = Field(None, ge=1)
    cutoff_A: float = Field(gt=0)
    rmse: dict[str, Rmse] = Field(default_factory=dict, description="{train,test}")
    rmse_by_config_type: dict[str, dict[str, RmseOfType]] = Field(default_factory=dict)
    mae: dict[str, Errors] = Field(default_factory=dict, description="Mean absolute errors, {train,test}")
    max_error: dict[str, Errors] = Field(default_factory=dict, description="Largest absolute errors, {train,test}")
    converged: bool | None = Field(None, description="Whether the optimiser ended by itself; None where not known")
    stop_reason: str = Field("", description="Why the fit ended")
    lammps_check: LammpsCheck | None = None
    speed: Speed | None = None
    active_set: ActiveSet | None = Field(None, description="None where it is not known, as of an imported potential")
    artifacts: PotentialArtifacts
    files: list[ArtifactRef] = Field(default_factory=list, description="input.yaml, parity data, logs")
    config: dict[str, Any] = Field(default_factory=dict, description="The typed fit input")
    cost: Cost | None = None
    seed: int | None = None
    source: str = Field("", description="Where an imported potential is from, as whoever imported it says")
    tags: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    job_uuid: str = ""

    @classmethod
    def of(
        cls, identity: Sequence[Any], shape: PotentialShape, stored: Mapping[str, ArtifactRef], **fields: Any
    ) -> Potential:
        """Build the document of a potential whose files are stored.

        Parameters
        ----------
        identity
            JSON-able parts that make the id: the same parts give the same potential.
        shape
            What the potential consists of.
        stored
            Its files by ending: yaml, yace, asi.
        fields
            Further fields of the document; `n_parameters` is that of `shape` unless it is given.
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
