"""Space of a search: fields of a fit by dotted name, each with a range or choices."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.strict import StrictModel, checked
from gst_jobflow.fitting.config import FS_PARAMETERS, FitConfig

Value = float | int | str | bool
Point = dict[str, Any]
"""Value of each field of a space, by dotted name."""

# fields of no influence on the result, or fixed by the dataset
_NOT_SEARCHED = {
    "backend": "it changes how a fit is computed, not its result",
    "elements": "they belong to the dataset",
}
_INDEXED = re.compile(r"^(\w+)((?:\[\d+\])*)$")
# the only radial basis without a parameter
_WITHOUT_PARAMETER = "SBessel"


class Range(StrictModel):
    """Range of a field: between `low` and `high`, or one of `choices`."""

    field: str = Field(min_length=1, description="Dotted name, e.g. loss.kappa or embedding.fs_parameters[3]")
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log", "int", "int-log"] = "linear"
    choices: tuple[Any, ...] | None = Field(None, description="Categorical: two or more values")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Range:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError(f"{self.field}: give low and high, or choices, not both")
            distinct = {repr(choice) for choice in self.choices}
            if len(distinct) < 2 or len(distinct) < len(self.choices):
                raise ValueError(f"{self.field}: choices {list(self.choices)}, but a search needs two that differ")
            return self
        if self.low is None or self.high is None:
            raise ValueError(f"{self.field}: give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"{self.field}: low = {self.low:g} must be smaller than high = {self.high:g}")
        if self.scale in ("log", "int-log") and self.low <= 0:
            raise ValueError(f"{self.field}: low = {self.low:g}, but a logarithmic scale begins above 0")
        if self.scale in ("int", "int-log") and (self.low % 1 or self.high % 1):
            raise ValueError(f"{self.field}: low and high of a whole number are whole numbers")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to test before a search: both ends, or all choices."""
        if self.choices is not None:
            return self.choices
        low, high = self._bounds
        return (low, high) if self.is_continuous else (int(low), int(high))

    @property
    def is_continuous(self) -> bool:
        """Whether every number within the range is allowed."""
        return self.choices is None and not self.scale.startswith("int")

    def at(self, unit: float) -> Any:
        """Return the value at a position 0..1 of the range."""
        if self.choices is not None:
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        low, high = self._bounds
        value = low * (high / low) ** unit if "log" in self.scale else low + (high - low) * unit
        if self.is_continuous:
            return float(min(max(value, low), high))
        return int(min(max(round(value), low), high))

    def unit(self, value: Any) -> float:
        """Return the position 0..1 of a value in the range; for a choice, the middle of its share."""
        if self.choices is not None:
            return (self.place(value) + 0.5) / len(self.choices)
        low, high = self._bounds
        unit = math.log(value / low) / math.log(high / low) if "log" in self.scale else (value - low) / (high - low)
        return float(min(max(unit, 0.0), 1.0))

    def place(self, value: Any) -> int:
        """Return the index of a value among the choices."""
        return [repr(choice) for choice in self.choices or ()].index(repr(value))

    @property
    def _bounds(self) -> tuple[float, float]:
        assert self.low is not None and self.high is not None  # the model sees to it
        return self.low, self.high


class Space(StrictModel):
    """Fields of a fit to search, sorted by name.

    Also built from a mapping of names to ranges, as written in YAML; stored as a list, since MongoDB reads dots in keys
    as nesting.
    """

    fields: tuple[Range, ...] = Field(min_length=1)

    @field_validator("fields", mode="before")
    @classmethod
    def _of_a_mapping(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        for name, content in fields.items():
            if not isinstance(content, Mapping):
                raise ValueError(f"{name}: write 'low: …' and 'high: …' below it, or 'choices: […]'")
        return [{"field": name, **content} for name, content in fields.items()]

    @field_validator("fields")
    @classmethod
    def _sorted(cls, fields: tuple[Range, ...]) -> tuple[Range, ...]:
        names = [field.field for field in fields]
        if len(set(names)) < len(names):
            raise ValueError("a field is named twice: name each once")
        return tuple(sorted(fields, key=lambda field: field.field))

    @property
    def names(self) -> list[str]:
        """Names of the fields in order."""
        return [field.field for field in self.fields]

    def __getitem__(self, name: str) -> Range:
        """Return the range of a field."""
        return self.fields[self.names.index(name)]

    def at(self, unit: np.ndarray) -> Point:
        """Return the point at positions 0..1 of each range, in the order of `names`."""
        return {field.field: field.at(float(u)) for field, u in zip(self.fields, unit, strict=True)}

    def unit(self, point: Point) -> list[float]:
        """Return the positions 0..1 of a point in each range, in the order of `names`."""
        return [field.unit(point[field.field]) for field in self.fields]

    def check(self, fit: FitConfig) -> None:
        """Refuse unknown fields, values out of bounds, and fields without effect on the fit."""
        content = fit.model_dump()
        known = field_names(fit)
        for name in self.names:
            if name not in known:
                raise InputError(f"a fit has no field '{name}' to search", nearest(name, known))
            section = re.split(r"[.\[]", name)[0]
            if section in _NOT_SEARCHED:
                raise InputError(f"{name} cannot be searched: {_NOT_SEARCHED[section]}", "leave it out")
            for value in self[name].ends:
                config_of(fit, {name: value})
        self._check_effect(content)

    def _check_effect(self, content: Mapping[str, Any]) -> None:
        """Refuse fields that pacemaker's fits do not read."""
        if "radial.dcut_A" in self.names:
            raise InputError(
                "radial.dcut_A has no effect on a fit: pacemaker's evaluator does not read it",
                "leave it out of the search",
            )
        searched = "radial.radbase" in self.names
        bases = (self["radial.radbase"].choices or ()) if searched else (content["radial"]["radbase"],)
        if set(bases) == {_WITHOUT_PARAMETER}:
            for name in self.names:
                if name.startswith("radial.radparameters"):
                    raise InputError(
                        f"{name} has no effect with radial.radbase = {_WITHOUT_PARAMETER}, which has no parameter",
                        "choose ChebExpCos or ChebPow as radial.radbase of the fit, or leave it out",
                    )


def config_of(fit: FitConfig, point: Mapping[str, Any]) -> FitConfig:
    """Return `fit` with the values of a point; raises InputError if they do not fit together."""
    content = fit.model_dump()
    number = point.get("embedding.n_densities")
    if fit.embedding.has_default_exponents and isinstance(number, int) and number in FS_PARAMETERS:
        content["embedding"]["fs_parameters"] = FS_PARAMETERS[number]
    for name, value in point.items():
        _put(content, name, value)
    return checked(FitConfig, content, ", ".join(f"{name} = {_short(value)}" for name, value in point.items()))


def field_names(fit: FitConfig) -> set[str]:
    """Return the dotted names of all fields of a fit that hold a number, word or flag."""
    return {name for name, value in _leaves(fit.model_dump()) if value is None or isinstance(value, Value)}


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return [(path, value)]
    return list(itertools.chain.from_iterable(_leaves(item, name) for name, item in parts))


def _put(content: dict[str, Any], name: str, value: Any) -> None:
    """Set one leaf of nested settings; tuples on the way become lists."""
    steps: list[Any] = []
    for part in name.split("."):
        match = _INDEXED.match(part)
        if match is None:
            raise InputError(
                f"'{name}' is not the name of a field", "names as loss.kappa or embedding.fs_parameters[3]"
            )
        steps += [match[1], *(int(index) for index in re.findall(r"\d+", match[2]))]
    place: Any = content
    for step in steps[:-1]:
        if isinstance(place, dict) and not isinstance(place.get(step), dict | list | tuple):
            place[step] = {}  # the model names the nearest section
        if isinstance(place[step], tuple):
            place[step] = list(place[step])
        place = place[step]
    try:
        place[steps[-1]] = value
    except IndexError as error:
        raise InputError(f"a fit of these values has no {name}", "leave one of the fields out") from error


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
