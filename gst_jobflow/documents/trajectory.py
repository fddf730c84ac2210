"""Model of a trajectory, without its frames."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from gst_jobflow.base.segments import SegmentFolder
from gst_jobflow.documents.base import ArtifactRef, Cost, Document, Index, Part, derive_id
from gst_jobflow.documents.structure import Structure


class Segment(Part):
    """A part of a trajectory run without interruption."""

    directory: str
    host: str
    first_step: int = Field(ge=0)
    last_step: int = Field(ge=0)
    wall_s: float = Field(ge=0)

    @classmethod
    def of(cls, folder: SegmentFolder) -> Segment:
        """Build the part that a segment of a run has in its trajectory."""
        own = {name: getattr(folder, name) for name in ("host", "first_step", "last_step", "wall_s")}
        return cls(directory=str(folder.directory), **own)


class Kick(Part):
    """One addition (negative: removal) of kinetic energy in a pulse (or cooling)."""

    time_ps: float
    asked_eV: float
    added_eV: float


class Trajectory(Document):
    """One molecular-dynamics run: atoms, potential or method, duration, files.

    `thermo` holds thinned series of equal length (`time_ps`, `potential_eV`, `temperature_K`, …); `analysis` the
    series and profiles computed from frames, which alone grow after the run.
    """

    collection: ClassVar[str] = "trajectories"
    mutable: ClassVar[bool] = True
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("potential_id", 1)]),
        Index(keys=[("cycle_id", 1), ("operation_index", 1)]),
        Index(keys=[("start_structure_id", 1)]),
        Index(keys=[("final_structure_id", 1)]),
        Index(keys=[("job_uuid", 1)]),
        Index(keys=[("protocol", 1)]),
        Index(keys=[("formula", 1)]),
        Index(keys=[("state", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    protocol: str = Field(description="anneal, melt_quench, RESET, SET, …")
    stages: list[dict[str, Any]]
    potential_id: str | None = Field(None, description="Potential of the dynamics")
    fingerprint: str = Field("", description="Method of first-principles dynamics")
    cycle_id: str | None = None
    operation_index: int | None = Field(None, ge=0)
    start_structure_id: str | None = None
    final_structure_id: str | None = None
    formula: str
    n_atoms: int = Field(ge=1)
    groups: dict[str, int] = Field(default_factory=dict, description="Number of atoms in each group")
    state: Literal["finished", "failed"]
    failure_class: str = ""
    reason: str = ""
    timestep_fs: float = Field(gt=0)
    n_steps: int = Field(ge=0)
    duration_ps: float = Field(ge=0)
    n_frames: int = Field(ge=0)
    seed: int
    asked_energy_eV: float | None = None
    added_energy_eV: float | None = None
    removed_energy_eV: float | None = None
    kicks: list[Kick] = Field(default_factory=list)
    max_temperature_K: float | None = Field(None, description="Highest instantaneous value, often right after a kick")
    final_temperature_K: float | None = Field(None, description="Last instantaneous value; a cooling's kick sets it")
    max_equilibrated_K: float | None = Field(None, description="Highest mean over the second half between two kicks")
    end_equilibrated_K: float | None = Field(None, description="Same mean before the last kick, or over the last 2 ps")
    crystalline_fraction: float | None = None
    ended_by: str = Field("", description="Why it ended early")
    max_drift_A_ps: float | None = Field(None, description="Largest mean velocity of the atoms after a kick, Å/ps")
    max_gamma: float | None = Field(None, description="Largest extrapolation grade of a mobile atom")
    thermo: dict[str, list[float]] = Field(default_factory=dict)
    analysis: dict[str, Any] = Field(default_factory=dict)
    files: list[ArtifactRef] = Field(default_factory=list)
    segments: list[Segment] = Field(default_factory=list)
    cost: Cost | None = None
    us_per_atom_step: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    host: str = ""
    job_uuid: str = ""

    @classmethod
    def of(
        cls,
        start: Structure,
        what: tuple[str, str],
        *,
        directory: str,
        job_uuid: str,
        timestep_fs: float,
        n_steps: int,
        groups: dict[str, int] | None = None,
        **fields: Any,
    ) -> Trajectory:
        """Build the document of a run, finished or failed.

        Parameters
        ----------
        what
            Name of the protocol, and the outcome; a run continued later is another document.
        directory, job_uuid
            Directory and job; the directory identifies a run outside of a job.
        groups
            Number of atoms in each group; None: all are mobile.
        fields
            Further fields of the document; `name` defaults to the protocol.
        """
        protocol, outcome = what
        return cls(
            id=derive_id("trajectory", job_uuid or directory, protocol, outcome),
            protocol=protocol,
            start_structure_id=start.id,
            formula=start.formula,
            n_atoms=start.n_atoms,
            groups=groups or {"mobile": start.n_atoms},
            timestep_fs=timestep_fs,
            n_steps=n_steps,
            duration_ps=n_steps * timestep_fs * 1e-3,
            job_uuid=job_uuid,
            **{"name": protocol, **fields},
        )
