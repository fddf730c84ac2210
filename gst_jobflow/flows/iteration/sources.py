"""Sources of candidates for labels, as a plan names them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.devices.cell import device_counts
from gst_jobflow.devices.programme import CyclePlan, load_programme
from gst_jobflow.documents.base import derive_id
from gst_jobflow.dynamics.stages import TIMESTEP_FS, Anneal, Hold, Protocol, Quench, Stage, steps_in
from gst_jobflow.flows.iteration.choice import Choice
from gst_jobflow.selection.failures import FailureFrames
from gst_jobflow.selection.random_search import RandomSearchPlan, Range
from gst_jobflow.store.query import make_query
from gst_jobflow.structures.families import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.material import OfMaterial


def seed_of(*parts: Any) -> int:
    """Return a seed that depends on all parts and nothing else."""
    return int(derive_id("iteration seed", *parts)[:7], 16) + 1


class _Source(StrictModel):
    always_needs_potential: ClassVar[bool] = False
    choose: Choice = Field(default_factory=Choice)

    @property
    def formulas(self) -> list[str]:
        """Formulas of its candidates, as far as the plan knows them."""
        return list(getattr(self, "compositions", None) or ())

    @property
    def needs_potential(self) -> bool:
        """Whether it, or the choice among its candidates, needs a potential."""
        return self.always_needs_potential or self.choose.needs_potential

    @property
    def candidates(self) -> int | None:
        """Number of its candidates; None: unknown before it runs."""
        return getattr(self, "number", None)

    @property
    def most(self) -> int | None:
        """Largest number of structures that get labels; None: unknown before it runs."""
        return min((n for n in (self.candidates, self.choose.number) if n is not None), default=None)


class CrystalSource(_Source):
    """Strained and rattled crystals."""

    kind: Literal["crystals"] = "crystals"
    crystals: list[CrystalSpec] = Field(min_length=1)

    @property
    def formulas(self) -> list[str]:
        """Formulas of its candidates."""
        return list(dict.fromkeys(crystal.formula for crystal in self.crystals))

    @property
    def candidates(self) -> int:
        """Number of its candidates."""
        return sum(len(each.volume_scales) * len(each.rattles_A) * each.n_each for each in self.crystals)


class HardSphereSource(_Source, OfMaterial):
    """Hard-sphere random structures; size, volume and closest contact are drawn for each."""

    kind: Literal["hard-spheres"] = "hard-spheres"
    compositions: list[str] = Field(min_length=1)
    number: int = Field(ge=1, description="Structures to draw")
    n_atoms: tuple[int, int] = Field((6, 40), description="Fewest and most atoms of a cell")
    volume_per_atom_A3: Range = Field(default_factory=lambda given: given["material"].volume_per_atom_A3)
    min_distance_A: Range = Field(
        default_factory=lambda given: given["material"].close_contacts_A,
        description="Range of the closest contact, well below a bond",
    )

    @model_validator(mode="after")
    def _can_be_drawn(self) -> HardSphereSource:
        self.cells(1)
        return self

    def cells(self, seed: int) -> RandomSearchPlan:
        """Return the plan whose cells, before their relaxation, are the candidates."""
        return RandomSearchPlan(
            material=self.material, compositions=self.compositions, cells=self.number, n_atoms=self.n_atoms, seed=seed,
            volume_per_atom_A3=self.volume_per_atom_A3, min_distance_A=self.min_distance_A,
        )  # fmt: skip


class StoredSource(_Source):
    """Structures that the database holds already, such as imported ones."""

    kind: Literal["stored"] = "stored"
    where: list[str] = Field(min_length=1, description="Conditions, as gst query structures takes them")

    @field_validator("where")
    @classmethod
    def _can_be_read(cls, conditions: list[str]) -> list[str]:
        make_query("structures", conditions)
        return conditions


def _melt_quench_crystallise() -> list[Stage]:
    return [
        Anneal(temperature_K=2000, duration_ps=10),
        Quench(start_K=2000, end_K=300, duration_ps=20),
        Hold(temperature_K=600, duration_ps=10),
    ]


class DomainSource(_Source, OfMaterial):
    """Frames of melt-quench and crystallisation by the current potential.

    A run that breaks is a result: its frames count up to the last one without a collapsed pair.
    """

    always_needs_potential: ClassVar[bool] = True
    kind: Literal["domain"] = "domain"
    compositions: list[str] = Field(min_length=1)
    runs: int = Field(1, ge=1, description="Runs at each composition")
    n_atoms: int = Field(100, ge=2, le=1000, description="Atoms of a run; whole frames are labelled")
    density_g_cm3: float = Field(default_factory=lambda given: given["material"].density_g_cm3, gt=0)
    min_distance_A: float = Field(
        default_factory=lambda given: given["material"].least_contact_A,
        gt=0,
        description="Closest contact of the start, Å",
    )
    stages: list[Stage] = Field(default_factory=_melt_quench_crystallise, min_length=1)
    timestep_fs: float = Field(TIMESTEP_FS, gt=0)
    every_ps: float = Field(1.0, gt=0, description="Time between two frames that are candidates")

    @property
    def candidates(self) -> int:
        """Number of its candidates."""
        return self.runs * len(self.compositions) * int(self.protocol(1).duration_ps / self.every_ps)

    @model_validator(mode="after")
    def _can_run(self) -> DomainSource:
        for formula in self.compositions:
            self.start(formula, 1)
        steps_in(self.every_ps, self.timestep_fs, "every_ps")
        if self.every_ps > (duration_ps := self.protocol(1).duration_ps):
            raise UnfitValueError(f"every_ps {self.every_ps:g} is longer than a run", f"at most {duration_ps:g}")
        return self

    def start(self, formula: str, seed: int) -> HardSphereSpec:
        """Return the start of a run."""
        return HardSphereSpec(
            formula=formula, n_atoms=self.n_atoms, density_g_cm3=self.density_g_cm3, cell_shape="cubic",
            min_distance_A=self.min_distance_A, rounding="nearest", seed=seed,
        )  # fmt: skip

    def protocol(self, seed: int) -> Protocol:
        """Return the stages of a run."""
        return Protocol(name="domain", stages=self.stages, timestep_fs=self.timestep_fs, seed=seed)


class SearchSource(_Source, RandomSearchPlan):
    """Random structures, relaxed under pressure by the current potential; see `gst submit random-search`."""

    always_needs_potential: ClassVar[bool] = True
    kind: Literal["search"] = "search"

    @model_validator(mode="after")
    def _has_enough_cells(self) -> SearchSource:
        if self.number > self.cells and not self.on_the_way:
            raise UnfitValueError(f"number {self.number} is more than the {self.cells} cells", "draw more cells")
        return self


class FailureSource(_Source):
    """Last sound frames before the failures of the robustness runs of the iteration before."""

    always_needs_potential: ClassVar[bool] = True
    kind: Literal["failures"] = "failures"
    frames: FailureFrames = Field(default_factory=FailureFrames)


class CycleSource(_Source):
    """Cells around atoms on which the current potential extrapolates in a device cycle."""

    always_needs_potential: ClassVar[bool] = True
    kind: Literal["cycle"] = "cycle"
    programme: CyclePlan = Field(description="Name of a shipped programme, a file, or the programme itself")
    gamma: tuple[float, float] = Field((2.0, 25.0), description="Window of the grade of the atoms in the middle")
    number: int = Field(20, ge=1, description="Cells to cut out")
    max_atoms: int = Field(300, ge=1, description="Largest number of atoms of a cell")
    every: int = Field(1, ge=1, description="Only each n-th frame")

    @field_validator("programme", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return load_programme(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_a_cell(self) -> CycleSource:
        if self.programme.cell is None:
            raise UnfitValueError(f"programme {self.programme.name} has no cell", "add a cell to it")
        if (n_atoms := sum(device_counts(self.programme.cell).values())) <= self.max_atoms:
            raise UnfitValueError(
                f"the cell has {n_atoms} atoms, and cells of up to {self.max_atoms} are cut out of it",
                "take a larger one",
            )
        if not 0 <= self.gamma[0] < self.gamma[1]:
            raise UnfitValueError(f"gamma {self.gamma[0]:g}-{self.gamma[1]:g} is no window", "write [2, 25]")
        return self

    @property
    def formulas(self) -> list[str]:
        """Formulas of its candidates."""
        return [self.programme.cell.formula] if self.programme.cell is not None else []


Source = Annotated[
    CrystalSource | HardSphereSource | StoredSource | DomainSource | SearchSource | FailureSource | CycleSource,
    Field(discriminator="kind"),
]
OF_COMPOSITIONS = ("hard-spheres", "domain", "search")
"""Kinds of sources that take the compositions of the plan unless they name their own."""
