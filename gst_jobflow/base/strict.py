"""The base of every typed input: unknown keys are refused, with the nearest known key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gst_jobflow.base.errors import InputError, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


@cache
def _known_keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()} | set(model.model_fields)


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = _known_keys(cls)
            if known.issuperset(data):
                return data
            # monty adds @module, @class and @version when jobflow stores a model
            data = {key: value for key, value in data.items() if not str(key).startswith("@")}
            unknown = [str(key) for key in data if key not in known]
            if unknown:
                raise ValueError(f"unknown key '{unknown[0]}' in {cls.__name__}: {nearest(unknown[0], known)}")
        return data

    def as_dict(self) -> dict[str, Any]:
        """Monty's protocol: jobflow stores makers by it, and would write a bare pydantic model in a list as text."""
        return {"@module": type(self).__module__, "@class": type(self).__name__, **self.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The model of what `as_dict` gave."""
        return cls.model_validate(values)


def checked(model: type[ModelT], values: dict[str, Any], where: str = "") -> ModelT:
    """Make a model of a user's values; what does not fit is one line that names the key.

    Parameters
    ----------
    model
        The model.
    values
        What the user gave.
    where
        The file or option that they came from.

    Raises
    ------
    InputError
        A key is unknown or a value does not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as err:
        first = err.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(": ".join(part for part in (where, key, message) if part), "mend this value") from err


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with those of `over` in their place; what `over` does not name stays, at every depth."""
    found = dict(values)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return found
