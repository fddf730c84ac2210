"""What an import is told: method, config types, tags, limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, get_args

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.documents import ConfigType


class ImportOptions(StrictModel):
    """What an import does with its files.

    Parameters
    ----------
    fingerprint, method
        Of the labels, as a `Method` gives them; None: files with energies are refused.
    config_types
        From the files' config types to ours; those that carry our names need no entry.
    default_config_type
        For all others, and for records without one; None: they are bad records.
    iteration, tags
        Of the structures.
    min_distance_A
        A structure with closer atoms is a bad record.
    dry_run
        Check everything and write nothing.
    strict
        Stop at the first bad record or warning. What was before it stays; ids make doing it again harmless.
    format
        Name of the files' format; None: told by name and first bytes.
    type_map
        Element by LAMMPS atom type, for LAMMPS files that do not name their elements.
    group_key
        Records of a file whose info under this key agrees are one group.
    one_group
        All records of a file are one group.
    energy_corrected
        Take pacemaker's `energy_corrected` for the energy where a row has no `energy`.
    energy_key, forces_key, stress_key
        Names of the label, see `labels.computed_of`; None: energy, forces and stress (or virial).
    free_atoms_eV
        Energy of the free atom of each element by the method of the labels, stored as labels of single atoms.
    allow_stand_in
        Accept what a stand-in for VASP wrote, in tests.
    """

    fingerprint: str | None = None
    method: dict[str, Any] = Field(default_factory=dict)
    config_types: dict[str, ConfigType] = Field(default_factory=dict)
    default_config_type: ConfigType | None = None
    iteration: int = Field(0, ge=0)
    tags: list[str] = Field(default_factory=list)
    min_distance_A: float = Field(0.8, gt=0)
    dry_run: bool = False
    strict: bool = False
    format: str | None = None
    type_map: dict[int, str] = Field(default_factory=dict)
    group_key: str | None = None
    one_group: bool = False
    energy_corrected: bool = False
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    free_atoms_eV: dict[str, float] = Field(default_factory=dict)
    allow_stand_in: bool = False

    @model_validator(mode="after")
    def _one_rule_of_groups(self) -> ImportOptions:
        if self.group_key is not None and self.one_group:
            raise ValueError("group_key and one_group are two rules for the same")
        return self

    @model_validator(mode="after")
    def _sign_of_stress(self) -> ImportOptions:
        if self.stress_key is not None and ("virial" in self.stress_key.lower()) == (
            "stress" in self.stress_key.lower()
        ):
            raise ValueError(
                f"stress_key {self.stress_key}: the name has to say stress or virial, for their signs differ"
            )
        return self

    @model_validator(mode="after")
    def _types_are_elements(self) -> ImportOptions:
        for kind, element in self.type_map.items():
            if kind < 1 or element not in chemical_symbols[1:]:
                raise ValueError(f"type_map: {kind}={element} is not a type (from 1) and an element")
        return self


def config_type_map(assignments: Iterable[str]) -> dict[str, ConfigType]:
    """Read `["surface_001=crystal"]`.

    Raises
    ------
    InputError
        Not NAME=TYPE, or a type that is not ours.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        theirs, sign, ours = assignment.rpartition("=")
        if not sign or not theirs:
            raise InputError(f"--config-type {assignment}: not THEIRS=OURS", "for example --config-type liquid=aimd")
        table[theirs] = known_config_type(ours)
    return table


def type_map(text: str) -> dict[int, str]:
    """Read `"1=Ge,2=Sb,3=Te"`.

    Raises
    ------
    InputError
        Not TYPE=ELEMENT, an unknown element, or one type twice.
    """
    example = "for example --type-map 1=Ge,2=Sb,3=Te"
    table = _assignments("--type-map", text, example)
    for kind, element in table.items():
        if not kind.isdecimal() or int(kind) < 1:
            raise InputError(f"--type-map {text}: '{kind}={element}' is not TYPE=ELEMENT", example)
        _check_element("--type-map", text, element, example)
    return {int(kind): element for kind, element in table.items()}


def free_atoms(text: str) -> dict[str, float]:
    """Read energies of free atoms in eV: `"Ge=-4.1,Te=-3.2"`.

    Raises
    ------
    InputError
        Not ELEMENT=ENERGY, an unknown element, or one twice.
    """
    example = "for example --free-atoms Ge=-4.1,Te=-3.2 (eV)"
    energies: dict[str, float] = {}
    for element, value in _assignments("--free-atoms", text, example).items():
        _check_element("--free-atoms", text, element, example)
        try:
            energies[element] = float(value)
        except ValueError as err:
            raise InputError(f"--free-atoms {text}: '{value}' is not a number", example) from err
        if not math.isfinite(energies[element]):
            raise InputError(f"--free-atoms {text}: '{value}' is not finite", example)
    return energies


def _assignments(option: str, text: str, example: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for part in text.split(","):
        key, sign, value = (word.strip() for word in part.partition("="))
        if not (key and sign and value):
            raise InputError(f"{option} {text}: '{part}' has no '='", example)
        if key in table:
            raise InputError(f"{option} {text}: {key} twice", "name each once")
        table[key] = value
    return table


def _check_element(option: str, text: str, element: str, example: str) -> None:
    if element not in chemical_symbols[1:]:
        raise InputError(f"{option} {text}: '{element}' is not an element", example)


def known_config_type(name: str) -> ConfigType:
    """Return `name` if it is one of our config types, else raise InputError."""
    for known in get_args(ConfigType):
        if name == known:
            return known
    raise InputError(f"'{name}' is none of our config types", nearest(name, get_args(ConfigType)))
