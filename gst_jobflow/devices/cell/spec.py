"""What a device cell must be like, and what a finished one holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.structures.composition import tie_line_units
from gst_jobflow.structures.contacts import pair_table
from gst_jobflow.structures.crystals import ROCKSALT_A, Repeat, rocksalt_counts, trigonal_counts, trigonal_phase
from gst_jobflow.structures.hard_sphere import Positive

if TYPE_CHECKING:
    from ase import Atoms

IdRange = tuple[int, int]

AMORPHOUS_G_CM3 = 5.9
"""Density of amorphous GST that barriers get unless told otherwise."""
MIN_CONTACT_A = 2.5
"""Smallest distance across the seams of a new cell, of pairs that no table names."""
MIN_CONTACTS_A = {"Ge-Ge": 2.4, "Ge-Sb": 2.5, "Ge-Te": 2.5, "Sb-Sb": 2.7, "Sb-Te": 2.7, "Te-Te": 2.7}
"""Smallest distance across the seams by pair unless told otherwise: about 0.1 Å below a bond of amorphous GST."""
OVERLAP_A = 2.0
"""Atoms of a barrier that are nearer than this overlap: the shortest bonds of amorphous GST, Ge-Ge, are 2.4 to 2.5 Å,
and vibrations take 0.2 Å off them. A `min_contact_A` that is smaller still allows as much."""
BLOCK_ATOMS = 3000
"""Barriers of more atoms than this are tiles of one melted and quenched block."""


def _readable(contacts: float | dict[str, float]) -> float | dict[str, float]:
    Floors.of(contacts)
    return contacts


Contacts = Annotated[Positive | dict[str, Positive], AfterValidator(_readable)]


@dataclass(frozen=True)
class Floors:
    """Smallest distances by pair of elements, Å: those of `pairs`, and `other` for the rest."""

    pairs: dict[tuple[str, str], float]
    other: float

    @classmethod
    def of(cls, contacts: float | dict[str, float]) -> Floors:
        """Read a `min_contact_A`."""
        return cls(pair_table(contacts), MIN_CONTACT_A) if isinstance(contacts, dict) else cls({}, contacts)

    def of_pair(self, first: str, second: str) -> float:
        """Smallest distance of two elements, Å."""
        return self.pairs.get((min(first, second), max(first, second)), self.other)

    @property
    def largest_A(self) -> float:
        return max([self.other, *self.pairs.values()])

    @property
    def least_A(self) -> float:
        return min([self.other, *self.pairs.values()])


class CrossPointSpec(StrictModel):
    """A cross-point cell: crystal with a frozen amorphous heat barrier across the periodic boundary along z.

    Attributes
    ----------
    formula
        A trigonal compound of `crystals.TRIGONAL_PHASES`; with `phase` rocksalt any composition on the line.
    repeat
        Cells along x, y, z before the barrier is put in: orthogonal trigonal ones, or cubic ones of rock-salt.
    barrier_thickness_A
        Asked thickness in Å; the nearest whole number of blocks (or layers) is replaced.
    barrier_density_g_cm3
        Density of the barrier, by default that of amorphous GST; the cell grows along z by the difference. None keeps
        the crystal's volume, and so squeezes the barrier.
    phase
        ``trigonal`` is the stable crystal, ``rocksalt`` the metastable one with cations and vacancies at random.
    cut
        ``block`` replaces whole van der Waals blocks: exact composition, seams in the gaps. ``layer`` cuts between any
        two layers, for thin barriers; the barrier then has the composition of the layers that it replaces. Rock-salt
        has layers only, all of one composition.
    disorder
        See `crystals.trigonal`.
    lattice_scale
        Lattice parameters of the crystal relative to the measured ones: a potential learnt from another method has
        another equilibrium, and a cell that is off it is under pressure.
    min_contact_A
        Smallest distance across the seam, of each pair of elements or one for all; barrier atoms are moved until it is
        kept. A pair that is not named has `MIN_CONTACT_A`.
    block_atoms
        A barrier of more atoms is made of tiles with at most about as many.
    seed
        Of cation disorder and of the barrier's random start.
    """

    kind: Literal["cross-point"] = "cross-point"
    formula: str = "Ge1Sb2Te4"
    repeat: Repeat
    barrier_thickness_A: Positive
    barrier_density_g_cm3: Positive | None = AMORPHOUS_G_CM3
    phase: Literal["trigonal", "rocksalt"] = "trigonal"
    cut: Literal["block", "layer"] = "block"
    disorder: bool = False
    lattice_scale: float = Field(default=1.0, gt=0.8, lt=1.25)
    min_contact_A: Contacts = Field(default_factory=MIN_CONTACTS_A.copy)
    block_atoms: int = Field(default=BLOCK_ATOMS, ge=100)
    seed: int = Field(default=0, ge=0)

    @classmethod
    def paper(cls, **changes: Any) -> CrossPointSpec:
        """The reference paper's cell (doi 10.1038/s41467-025-63732-4, Fig. 3): 532,980 atoms, 20 x 20 x 40 nm3.

        Its text does not say how thick the slab is; 3 nm, two van der Waals blocks, is our choice.
        """
        return cls(**{"repeat": (47, 27, 10), "barrier_thickness_A": 30.0, **changes})

    @field_validator("repeat")
    @classmethod
    def _is_a_supercell(cls, repeat: Repeat) -> Repeat:
        return _supercell(repeat)

    @model_validator(mode="after")
    def _phase_has_formula(self) -> CrossPointSpec:
        tie_line_units(self.formula)
        if self.phase == "rocksalt":
            if self.disorder:
                raise ValueError("disorder is of the trigonal phase: rock-salt has its cations at random anyway")
            return self
        try:
            trigonal_phase(self.formula)
        except InputError as error:
            raise InputError(error.message, f"{error.fix}; or take phase 'rocksalt'") from error
        return self


class Electrode(StrictModel):
    """Contact of the bottom electrode of a mushroom cell: a strip along y in the middle of the cell's bottom.

    Attributes
    ----------
    width_A
        Along x, Å; by default a fifth of the cell: 20 nm in the paper's, whose text does not give it.
    height_A
        How far up the strip's atoms reach, Å.
    """

    width_A: Positive | None = None
    height_A: Positive = 10.0


class MushroomSpec(StrictModel):
    """A mushroom cell: a thin slab of rock-salt crystal, z up, a frozen amorphous heat barrier on top.

    Periodic along x (width), y (the few nm of depth) and z; along z the barrier keeps top and bottom apart.

    Attributes
    ----------
    formula
        Any composition on the GeTe–Sb2Te3 line.
    repeat
        Cubic cells along x (width), y (depth) and z (height) before the barrier is put in.
    barrier_thickness_A
        Asked thickness in Å; the nearest whole number of atomic layers is replaced.
    barrier_density_g_cm3, min_contact_A, block_atoms, seed
        As in `CrossPointSpec`.
    lattice_A
        Edge of the cubic cell in Å.
    electrode
        Where the bottom electrode touches.
    """

    kind: Literal["mushroom"] = "mushroom"
    formula: str = "Ge1Sb2Te4"
    repeat: Repeat
    barrier_thickness_A: Positive
    barrier_density_g_cm3: Positive | None = AMORPHOUS_G_CM3
    lattice_A: Positive = ROCKSALT_A
    electrode: Electrode = Field(default_factory=Electrode)
    min_contact_A: Contacts = Field(default_factory=MIN_CONTACTS_A.copy)
    block_atoms: int = Field(default=BLOCK_ATOMS, ge=100)
    seed: int = Field(default=0, ge=0)

    @classmethod
    def paper(cls, **changes: Any) -> MushroomSpec:
        """The reference paper's cell (doi 10.1038/s41467-025-63732-4, Fig. 4): 794,808 atoms, 100 x 5 x 40 nm3.

        166 cells wide, 9 deep, and 76 high, which hold the 40 nm of crystal and the about 6 nm of barrier.
        """
        return cls(**{"repeat": (166, 9, 76), "barrier_thickness_A": 60.0, **changes})

    @field_validator("formula")
    @classmethod
    def _is_on_the_line(cls, formula: str) -> str:
        tie_line_units(formula)
        return formula

    @field_validator("repeat")
    @classmethod
    def _is_a_supercell(cls, repeat: Repeat) -> Repeat:
        return _supercell(repeat)


def _kind_of(value: Any) -> str:
    """A cell without a kind is a cross-point cell: files of the time before there were others."""
    if isinstance(value, dict):
        return value.get("kind", "cross-point")
    return getattr(value, "kind", "cross-point")


DeviceSpec = Annotated[
    Annotated[CrossPointSpec, Tag("cross-point")] | Annotated[MushroomSpec, Tag("mushroom")], Discriminator(_kind_of)
]
"""A cell of either kind, for fields of models; told apart by ``kind``."""


@dataclass(frozen=True)
class Layer:
    """A slab of mobile atoms.

    Attributes
    ----------
    z_A
        Lower and upper boundary, Å.
    ids
        First and last atom id of each run of ids, from 1, both included.
    """

    z_A: tuple[float, float]
    ids: list[IdRange]

    def count(self) -> int:
        """Number of atoms."""
        return sum(last - first + 1 for first, last in self.ids)


@dataclass(frozen=True)
class DeviceCell:
    """A cell ready for LAMMPS.

    Attributes
    ----------
    atoms
        Mobile atoms first (those of the electrode region before the others), then the barrier; tags 0 and 1.
    groups
        First and last atom id, from 1, both included, of ``mobile``, ``barrier`` and, in a mushroom cell, ``electrode``
        (a part of mobile).
    layers
        The mobile atoms in slabs along z of about 1 nm, from the bottom up.
    report
        Counts, box, densities, contacts, and how far barrier atoms were moved; plain numbers.
    """

    atoms: Atoms
    groups: dict[str, IdRange]
    report: dict[str, Any]
    layers: list[Layer] = field(default_factory=list)


def device_counts(spec: DeviceSpec) -> dict[str, int]:
    """Return how many atoms of each element the finished cell has, without building it."""
    if is_trigonal(spec):
        return trigonal_counts(spec.formula, spec.repeat)
    counts = rocksalt_counts(spec.formula, spec.repeat)
    return {element: count for element, count in counts.items() if count and element != "vacancy"}


def is_trigonal(spec: DeviceSpec) -> bool:
    """Whether the crystal is a trigonal one; else it is rock-salt."""
    return isinstance(spec, CrossPointSpec) and spec.phase == "trigonal"


def _supercell(repeat: Repeat) -> Repeat:
    if min(repeat) < 1:
        raise ValueError("repeat needs three whole numbers of at least 1")
    return repeat
