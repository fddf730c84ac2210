"""Specifications of device cells, and the finished cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from ase import Atoms
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SerializeAsAny, Tag, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.plugins import distribution, offered, resolve
from gst_jobflow.base.strict import StrictModel, checked
from gst_jobflow.structures.contacts import pair_table
from gst_jobflow.structures.crystals import Repeat, rocksalt_counts, rocksalt_edge_A, trigonal_counts, trigonal_phase
from gst_jobflow.structures.hard_sphere import Positive
from gst_jobflow.structures.material import VACANCY, OfMaterial

IdRange = tuple[int, int]

MIN_CONTACT_A = 2.5
"""Default smallest distance across the seam for pairs that `min_contact_A` does not name."""
OVERLAP_A = 2.0
"""Barrier atoms closer than this overlap: the shortest bonds of amorphous GST, Ge-Ge, are 2.4 to 2.5 Å, and vibrations
shorten them by 0.2 Å. A smaller `min_contact_A` lowers the limit."""
BLOCK_ATOMS = 3000
"""A barrier of more atoms is tiled from one melted and quenched block."""


def _readable(contacts: float | dict[str, float]) -> float | dict[str, float]:
    Floors.of(contacts)
    return contacts


Contacts = Annotated[Positive | dict[str, Positive], AfterValidator(_readable)]


@dataclass(frozen=True)
class Floors:
    """Smallest distances by pair of elements, Å; `other` serves pairs that are not named."""

    pairs: dict[tuple[str, str], float]
    other: float

    @classmethod
    def of(cls, contacts: float | dict[str, float]) -> Floors:
        """Read a `min_contact_A`."""
        return cls(pair_table(contacts), MIN_CONTACT_A) if isinstance(contacts, dict) else cls({}, contacts)

    def of_pair(self, first: str, second: str) -> float:
        """Return the smallest distance of two elements, Å."""
        return self.pairs.get((min(first, second), max(first, second)), self.other)

    @property
    def largest_A(self) -> float:
        return max([self.other, *self.pairs.values()])

    @property
    def least_A(self) -> float:
        return min([self.other, *self.pairs.values()])


def _supercell(repeat: Repeat) -> Repeat:
    if min(repeat) < 1:
        raise ValueError("repeat needs three whole numbers of at least 1")
    return repeat


class _CellSpec(OfMaterial):
    kind: str
    formula: str = Field(default_factory=lambda given: given["material"].formula)
    repeat: Annotated[Repeat, AfterValidator(_supercell)]
    barrier_thickness_A: Positive
    barrier_density_g_cm3: Positive | None = Field(default_factory=lambda given: given["material"].density_g_cm3)
    min_contact_A: Contacts = Field(default_factory=lambda given: given["material"].min_contacts_A.copy())
    block_atoms: int = Field(default=BLOCK_ATOMS, ge=100)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_of_the_material(self) -> Self:
        self.material.check_crystal(self.formula)
        return self


class CrossPointSpec(_CellSpec):
    """A cross-point cell: crystal with a frozen amorphous heat barrier across the periodic boundary along z.

    Attributes
    ----------
    formula
        A trigonal compound of the material; with `phase` rocksalt any composition of its crystals.
    repeat
        Cells along x, y, z before the barrier is put in: orthogonal trigonal ones, or cubic ones of rock-salt.
    barrier_thickness_A
        Asked thickness in Å; the barrier replaces the nearest whole number of blocks (or layers).
    barrier_density_g_cm3
        Density of the barrier, by default that of the material's glass; the cell grows along z accordingly. None keeps
        the crystal's volume, and so compresses the barrier.
    phase
        ``trigonal`` is the stable crystal, ``rocksalt`` the metastable one with random cations and vacancies.
    cut
        ``block`` replaces whole van der Waals blocks: exact composition, seams in the gaps. ``layer`` cuts between any
        two layers, for thin barriers, which then have the composition of the layers that they replace. Rock-salt has
        layers only, all of one composition.
    disorder
        See `crystals.trigonal`.
    lattice_scale
        Lattice parameters relative to the measured ones. Away from the equilibrium of the potential, which is that of
        its labels, a cell is under pressure.
    min_contact_A
        Smallest distance across the seam, by pair of elements or one for all; barrier atoms move until it is kept.
        Pairs that are not named have `MIN_CONTACT_A`.
    block_atoms
        Atoms of a tile, about: a barrier of more atoms is tiled.
    seed
        Seed of cation disorder and of the barrier's random start.
    """

    PAPER: ClassVar[dict[str, Any]] = {"repeat": (47, 27, 10), "barrier_thickness_A": 30.0}

    kind: Literal["cross-point"] = "cross-point"
    phase: Literal["trigonal", "rocksalt"] = "trigonal"
    cut: Literal["block", "layer"] = "block"
    disorder: bool = False
    lattice_scale: float = Field(default=1.0, gt=0.8, lt=1.25)

    @classmethod
    def paper(cls, **changes: Any) -> CrossPointSpec:
        """Return the reference paper's cell (doi 10.1038/s41467-025-63732-4, Fig. 3): 532,980 atoms, 20 x 20 x 40 nm3.

        The paper does not give the thickness of the slab; 3 nm, two van der Waals blocks, is our choice.
        """
        return cls(**{**cls.PAPER, **changes})

    @model_validator(mode="after")
    def _phase_has_formula(self) -> CrossPointSpec:
        if self.phase == "rocksalt":
            if self.disorder:
                raise ValueError("disorder belongs to the trigonal phase: rock-salt always has random cations")
            rocksalt_edge_A(self.material)
            return self
        try:
            trigonal_phase(self.formula, self.material)
        except InputError as error:
            raise InputError(error.message, f"{error.fix}; or take phase 'rocksalt'") from error
        return self


class Electrode(StrictModel):
    """Contact of the bottom electrode of a mushroom cell: a strip along y in the middle of the cell's bottom.

    By default its width along x is a fifth of the cell (20 nm in the paper's cell; the paper gives no number).
    """

    width_A: Positive | None = None
    height_A: Positive = 10.0


class MushroomSpec(_CellSpec):
    """A mushroom cell: a thin slab of rock-salt crystal, z up, a frozen amorphous heat barrier on top.

    Periodic along x (width), y (the few nm of depth) and z; along z the barrier keeps top and bottom apart.

    Attributes
    ----------
    formula
        Any composition of crystals of the material.
    repeat
        Cubic cells along x (width), y (depth) and z (height) before the barrier is put in.
    barrier_thickness_A
        Asked thickness in Å; the barrier replaces the nearest whole number of atomic layers.
    barrier_density_g_cm3, min_contact_A, block_atoms, seed
        As in `CrossPointSpec`.
    lattice_A
        Edge of the cubic cell in Å; by default the material's.
    electrode
        Contact of the bottom electrode.
    """

    PAPER: ClassVar[dict[str, Any]] = {"repeat": (166, 9, 76), "barrier_thickness_A": 60.0}

    kind: Literal["mushroom"] = "mushroom"
    lattice_A: Positive = Field(default_factory=lambda given: rocksalt_edge_A(given["material"]))
    electrode: Electrode = Field(default_factory=Electrode)

    @classmethod
    def paper(cls, **changes: Any) -> MushroomSpec:
        """Return the reference paper's cell (doi 10.1038/s41467-025-63732-4, Fig. 4): 794,808 atoms, 100 x 5 x 40 nm3.

        166 x 9 x 76 cells: 40 nm of crystal and about 6 nm of barrier along z.
        """
        return cls(**{**cls.PAPER, **changes})


CELLS: dict[str, type[CrossPointSpec] | type[MushroomSpec]] = {"cross-point": CrossPointSpec, "mushroom": MushroomSpec}
"""Our cells by kind; a plugin's derives from one of them."""


def _of_plugin(value: Any) -> Any:
    """Return the specification of a plugin's cell; leave others to the union."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in CELLS or kind not in offered("cells"):
        return value
    model: Any = resolve("cells", kind, CELLS)
    package = distribution(offered("cells")[kind])
    derives = isinstance(model, type) and issubclass(model, tuple(CELLS.values()))
    if not derives:
        raise InputError(f"cell '{kind}' of {package} derives from no cell of ours", f"pip install -U {package}")
    return checked(model, value)


def _kind_of(value: Any) -> str:
    """Return the kind of a cell; specifications older than the mushroom cell have none and are cross-point cells."""
    if isinstance(value, dict):
        return value.get("kind", "cross-point")
    return next((kind for kind, model in CELLS.items() if isinstance(value, model)), "cross-point")


DeviceSpec = Annotated[
    Annotated[SerializeAsAny[CrossPointSpec], Tag("cross-point")]
    | Annotated[SerializeAsAny[MushroomSpec], Tag("mushroom")],
    Discriminator(_kind_of),
    BeforeValidator(_of_plugin),
]
"""A cell of any kind; ``kind`` tells them apart."""


@dataclass(frozen=True)
class Layer:
    """A slab of mobile atoms: its boundaries in Å, and the ranges (first, last) of its ids, from 1 and inclusive."""

    z_A: tuple[float, float]
    ids: list[IdRange]

    def count(self) -> int:
        """Return the number of atoms."""
        return sum(last - first + 1 for first, last in self.ids)


@dataclass(frozen=True)
class DeviceCell:
    """A cell ready for LAMMPS.

    `atoms` are the mobile ones first (those of the electrode region before the others), then the barrier; tags 0 and 1.
    `groups` are first and last atom id, from 1, both included, of ``mobile``, ``barrier`` and, in a mushroom cell,
    ``electrode`` (a part of mobile). `layers` are the mobile atoms in slabs along z of about 1 nm, from the bottom up.
    `report` has counts, box, densities, contacts, and moves of barrier atoms; plain numbers.
    """

    atoms: Atoms
    groups: dict[str, IdRange]
    report: dict[str, Any]
    layers: list[Layer] = field(default_factory=list)


def device_counts(spec: DeviceSpec) -> dict[str, int]:
    """Return the atoms of each element of the finished cell, without building it."""
    if is_trigonal(spec):
        return trigonal_counts(spec.formula, spec.repeat, material=spec.material)
    counts = rocksalt_counts(spec.formula, spec.repeat, spec.material)
    return {element: count for element, count in counts.items() if count and element != VACANCY}


def is_trigonal(spec: DeviceSpec) -> bool:
    """Whether the crystal is trigonal; otherwise it is rock-salt."""
    return isinstance(spec, CrossPointSpec) and spec.phase == "trigonal"
