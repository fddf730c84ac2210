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
    """What an import does with its files."""

    fingerprint: str | None = Field(None, description="Method of labels whose file does not tell it; none: refused")
    method: dict[str, Any] = Field(default_factory=dict, description="The method itself, as `Method` dumps it")
    config_types: dict[str, ConfigType] = Field(
        default_factory=dict, description="From the files' config types to ours; our own names need no entry"
    )
    default_config_type: ConfigType | None = Field(None, description="For all others; none: they are bad records")
    iteration: int = Field(0, ge=0, description="Of the structures")
    tags: list[str] = Field(default_factory=list, description="Of the structures")
    min_distance_A: float = Field(0.8, gt=0, description="A structure with closer atoms is a bad record")
    dry_run: bool = Field(False, description="Check everything and write nothing")
    strict: bool = Field(False, description="Stop at the first bad record or warning; what was before it stays")
    format: str | None = Field(None, description="Of the files; none: told by first bytes and name")
    type_map: dict[int, str] = Field(
        default_factory=dict, description="Element by LAMMPS atom type, for files that do not name their elements"
    )
    group_key: str | None = Field(None, description="Records of a file that agree in this key of info are one group")
    one_group: bool = Field(False, description="All records of a file are one group")
    energy_corrected: bool = Field(False, description="Take pacemaker's energy_corrected in rows without an energy")
    energy_key: str | None = Field(None, description="Name of the label's energy; see `labels.computed_of`")
    forces_key: str | None = Field(None, description="Name of its forces")
    stress_key: str | None = Field(None, description="Name of its stress, or of its virial")
    free_atoms_eV: dict[str, float] = Field(
        default_factory=dict, description="Energies of free atoms by the method of the labels, stored as labels"
    )
    allow_stand_in: bool = Field(False, description="Accept what a stand-in for VASP wrote, in tests")

    @model_validator(mode="after")
    def _consistent(self) -> ImportOptions:
        if self.group_key is not None and self.one_group:
            raise ValueError("group_key and one_group exclude each other: give one")
        name = (self.stress_key or "stress").lower()
        if ("virial" in name) == ("stress" in name):
            raise ValueError(f"stress_key {name}: the name has to say stress or virial, for their signs differ")
        for kind, element in self.type_map.items():
            if kind < 1 or element not in chemical_symbols[1:]:
                raise ValueError(f"type_map: {kind}={element} is not a type (from 1) and an element")
        for element, energy_eV in self.free_atoms_eV.items():
            if element not in chemical_symbols[1:] or not math.isfinite(energy_eV):
                raise ValueError(f"free_atoms_eV: {element}={energy_eV} is not an element and a finite energy")
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


def assignments(option: str, text: str, example: str) -> dict[str, str]:
    """Read `"1=Ge,2=Sb,3=Te"`.

    Raises
    ------
    InputError
        A part is not NAME=VALUE, or a name comes twice.
    """
    table: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = (word.strip() for word in part.partition("="))
        if not key or not value or key in table:
            raise InputError(f"{option} {text}: '{part}'", f"write NAME=VALUE once for each, e.g. {option} {example}")
        table[key] = value
    return table


def known_config_type(name: str) -> ConfigType:
    """Return `name` if it is one of our config types, else raise InputError."""
    for known in get_args(ConfigType):
        if name == known:
            return known
    raise InputError(f"'{name}' is not a config type", nearest(name, get_args(ConfigType)))
