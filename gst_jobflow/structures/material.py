"""What a project is about: elements, compositions, reference crystals, densities and contacts of a material.

Specifications of jobs carry their material, so that a worker computes the same whatever its own settings say. The
default is the shipped `gst`; it is left out of what is stored, as in documents that are older than material files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, WrapValidator, field_validator, model_validator

from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.shipped import Shipped, yaml_mapping
from gst_jobflow.base.strict import StrictModel, UnfitValueError, checked
from gst_jobflow.structures.composition import parse_formula, reduced_formula
from gst_jobflow.structures.contacts import pair_table
from gst_jobflow.structures.trigonal import TrigonalPhase, unit_cell

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

MATERIALS = Shipped("material", "gst_jobflow.structures")
DEFAULT = "gst"
VACANCY = "vacancy"
_ON_LINE = 1e-9
_CLOSEST = 2 / 3
# osmium has 22.6 g/cm3, and atoms of caesium are 5.2 Å apart
_DENSEST_G_CM3, _LONGEST_CONTACT_A = 25.0, 6.0


class Material(StrictModel):
    """Composition space and known crystals of a material, and what is derived from them."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1)
    description: str = ""
    elements: tuple[str, ...] = Field(min_length=1, description="In the order of atom types in files")
    anion: str = Field(description="Element of the close-packed sublattice, which tells crystal from glass")
    compositions: tuple[str, ...] = Field(min_length=1, description="Formulas of plans that name none")
    formula: str = Field(
        default_factory=lambda given: given["compositions"][0],
        description="Composition of cells that name none; default: the first one",
    )
    tie_line: tuple[str, str] | None = Field(
        None, description="Two compounds that all crystals are mixtures of; null: crystals have any composition"
    )
    rocksalt_A: float | None = Field(None, gt=0, description="Edge of the cubic cell of disordered rock salt, Å")
    trigonal: dict[str, TrigonalPhase] = Field(default_factory=dict, description="Layered crystals by formula")
    density_g_cm3: float = Field(
        gt=0, le=_DENSEST_G_CM3, description="Density of melt and glass: random starts and barriers"
    )
    volume_per_atom_A3: tuple[float, float] = Field(description="Range of the volume an atom in random search, Å³")
    min_contacts_A: dict[str, float] = Field(
        description="Closest sound contact of every pair in the glass, {Ge-Te: 2.5}: barriers, seams, random cells"
    )
    floors_A: dict[str, float] = Field(
        default_factory=dict,
        description="Contacts below which a hot melt has collapsed; a pair without one gets 0.65 of its covalent radii",
    )
    labels: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings by label backend, such as vasp: {potcars: {Cr: Cr_pv}}"
    )
    programmes: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Programmes of device cycles by name, as in a file of gst submit cycle"
    )

    @field_validator("elements")
    @classmethod
    def _are_elements(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        for element in elements:
            if parse_formula(element) != {element: 1}:
                raise UnfitValueError(f"'{element}' is no element", "write symbols: elements: [Ge, Sb, Te]")
        if len(set(elements)) < len(elements):
            raise UnfitValueError("an element is named twice", "name each once")
        return elements

    @model_validator(mode="after")
    def _is_of_its_elements(self) -> Self:
        if self.anion not in self.elements:
            raise UnfitValueError(
                f"anion {self.anion} is not an element of the material", f"choose one of {', '.join(self.elements)}"
            )
        for name in ("compositions", "tie_line"):
            for formula in getattr(self, name) or ():
                self.check_elements(formula, name)
        self.check_elements(self.formula, "formula")
        for formula, phase in self.trigonal.items():
            self.check_elements("".join(element for element, _ in phase.sites), f"trigonal.{formula}")
            if (name := reduced_formula(parse_formula(formula))) != formula:
                raise UnfitValueError(f"trigonal.{formula} is not a reduced formula", f"write {name}")
        return self

    @model_validator(mode="after")
    def _has_its_crystals_on_its_line(self) -> Self:
        if self.tie_line is None:
            return self
        one, other = self.tie_line
        if reduced_formula(parse_formula(one)) == reduced_formula(parse_formula(other)):
            raise UnfitValueError(f"tie_line names {one} twice", "name two compounds, or leave tie_line out")
        for where, formula in (("formula", self.formula), *(("trigonal", name) for name in self.trigonal)):
            if not self._on_line(formula):
                raise UnfitValueError(
                    f"{where} {formula} is not on the {one}–{other} line", f"crystals are ({one})n({other})m"
                )
        return self

    @model_validator(mode="after")
    def _has_all_contacts(self) -> Self:
        pairs = {"min_contacts_A": pair_table(self.min_contacts_A), "floors_A": pair_table(self.floors_A)}
        for name, table in pairs.items():
            if foreign := {element for pair in table for element in pair} - set(self.elements):
                raise UnfitValueError(f"{name} names {min(foreign)}, which is not among elements", "remove that pair")
        for pair in combinations_with_replacement(sorted(self.elements), 2):
            if pair not in pairs["min_contacts_A"]:
                name = "-".join(pair)
                raise UnfitValueError(f"min_contacts_A has no {name}", f"add '{name}: …', Å; every pair needs one")
            _check_contact(pair, pairs["min_contacts_A"][pair], pairs["floors_A"].get(pair, 0.0))
        low, high = self.volume_per_atom_A3
        if not 0 < low <= high:
            raise UnfitValueError(f"volume_per_atom_A3 {low:g} to {high:g} is no range", "write [low, high], Å³")
        return self

    @property
    def cations(self) -> tuple[str, ...]:
        """The elements beside the anion."""
        return tuple(element for element in self.elements if element != self.anion)

    @property
    def least_contact_A(self) -> float:
        """The smallest of the sound contacts, Å."""
        return min(self.min_contacts_A.values())

    @property
    def close_contacts_A(self) -> tuple[float, float]:
        """Range of closest contacts, Å, that teaches a potential repulsion: up to the least sound one."""
        return round(_CLOSEST * self.least_contact_A, 2), self.least_contact_A

    def check_elements(self, formula: str, where: str = "formula") -> None:
        """Refuse a formula that cannot be read, or with an element that the material lacks; raises InputError."""
        if foreign := sorted(set(parse_formula(formula)) - set(self.elements)):
            raise InputError(
                f"{where}: {formula} has {', '.join(foreign)}, and {self.name} is of {', '.join(self.elements)}",
                "write a formula of these elements, or choose another material",
            )

    def cation_weights(self, formula: str) -> dict[str, int]:
        """Return what shares the sites of the cations in rock salt, in whole proportions: cations, and vacancies.

        Raises InputError if the formula is off the line, or has no anion, or more cations than anions.
        """
        self.check_crystal(formula)
        counts = parse_formula(formula)
        weights = {element: counts.get(element, 0) for element in self.cations}
        n_vacancies = counts.get(self.anion, 0) - sum(weights.values())
        if n_vacancies < 0 or self.anion not in counts:
            raise InputError(
                f"{formula} has more cations than {self.anion}, which rock salt has no sites for",
                f"take a formula with at least as much {self.anion}, such as {self.formula}",
            )
        return weights | {VACANCY: n_vacancies}

    def check_crystal(self, formula: str) -> None:
        """Refuse a formula that is not of the material's elements, or off its tie line; raises InputError."""
        if self.tie_line is None:
            return self.check_elements(formula)
        if not self._on_line(formula):
            one, other = self.tie_line
            raise InputError(
                f"{formula} is not on the {one}–{other} line",
                f"its formulas are ({one})n({other})m, such as {self.formula}",
            )
        return None

    def _on_line(self, formula: str) -> bool:
        """Whether a formula is a mixture of the ends of the tie line."""
        assert self.tie_line is not None
        ends, counts = [parse_formula(end) for end in self.tie_line], parse_formula(formula)
        elements = sorted({*ends[0], *ends[1], *counts})
        rows = np.array([[of.get(element, 0) for element in elements] for of in (*ends, counts)], dtype=float)
        shares, _, _, _ = np.linalg.lstsq(rows[:2].T, rows[2], rcond=None)
        off = np.abs(shares @ rows[:2] - rows[2]).max() > _ON_LINE * rows.max()
        return bool(not off and shares.min() >= -_ON_LINE)

    def crystal_of(self, elements: Mapping[str, Any] | set[str]) -> str | None:
        """Return the composition of a rock-salt cell with exactly these elements; None if the material has none."""
        if self.rocksalt_A is None:
            return None
        known = (self.formula, *self.compositions)
        return next((formula for formula in known if set(parse_formula(formula)) == set(elements)), None)


def _check_contact(pair: tuple[str, str], contact_A: float, floor_A: float) -> None:
    name = "-".join(pair)
    if contact_A > _LONGEST_CONTACT_A:
        raise UnfitValueError(
            f"min_contacts_A {name} is {contact_A:g} Å", f"give the closest contact, at most {_LONGEST_CONTACT_A:g} Å"
        )
    if floor_A > contact_A:
        raise UnfitValueError(
            f"floors_A {name} is {floor_A:g} Å, above its sound contact of {contact_A:g} Å",
            "a floor is a collapse: give less than min_contacts_A",
        )


@cache
def shipped_material(name: str) -> Material:
    """Return a material of this package; raises InputError if there is none of this name."""
    check_known("no material", name, MATERIALS.names())
    return checked(Material, yaml_mapping(MATERIALS.text(name), name), name)


def default_material() -> Material:
    """Return the material of projects and documents that name none."""
    return shipped_material(DEFAULT)


def load_material(source: str | Mapping[str, Any], folder: Path) -> Material:
    """Return a material by name of a shipped one, by file (relative to `folder`), or by content.

    Raises InputError if there is no such material or file, a key or value does not fit, or sites do not build their
    trigonal phase.
    """
    if isinstance(source, Mapping):
        return _with_crystals(checked(Material, dict(source), "material"), "material")
    if source in MATERIALS.names():
        return shipped_material(source)
    return _with_crystals(checked(Material, yaml_mapping(MATERIALS.text(source, folder), source), source), source)


def stored_material(specification: Mapping[str, Any]) -> Material:
    """Return the material of a stored specification."""
    return checked(OfMaterial, {key: specification[key] for key in ("material",) if key in specification}).material


def material_of(project: Project) -> Material:
    """Return the material that a project's settings name; raises as `load_material`."""
    return load_material(project.settings.material, project.root)


def _with_crystals(material: Material, where: str) -> Material:
    """Return the material once its trigonal phases are what their names say."""
    for formula, phase in material.trigonal.items():
        try:
            unit_cell(formula, phase)
        except InputError as err:
            raise InputError(f"{where}: {err.message}", err.fix) from err
    return material


def _named_or_written(value: Any, validate: Callable[[Any], Material]) -> Material:
    """Return the material of a plan: a shipped one by name, or the content, whose phases are built to compare them."""
    if isinstance(value, str):
        return shipped_material(value)
    material = validate(value)
    return _with_crystals(material, "material") if isinstance(value, Mapping) else material


def _is_default(material: Material) -> bool:
    return material == default_material()


class OfMaterial(StrictModel):
    """Input of a job that depends on the material: fields that are not given take its values."""

    material: Annotated[Material, WrapValidator(_named_or_written)] = Field(
        default_factory=default_material,
        exclude_if=_is_default,
        description="Material whose values other fields take by default: a shipped name, or its content",
    )
