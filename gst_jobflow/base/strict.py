"""Refuse unknown keys and unfit values of typed input, and name the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gst_jobflow.base.errors import InputError, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


@cache
def _known_keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()} | set(model.model_fields)


class UnfitValueError(ValueError):
    """A fault that a model's validator found, with its remedy."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}: {fix}")
        self.message, self.fix = message, fix


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown keys and names the nearest known one."""

    # a command or job builds the validators of the few models that it uses
    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True, defer_build=True)

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
                raise UnfitValueError(f"unknown key '{unknown[0]}' in {cls.__name__}", nearest(unknown[0], known))
        return data

    def as_dict(self) -> dict[str, Any]:
        """Return the model in monty's form; jobflow would write a bare pydantic model in a list as text."""
        return {"@module": type(self).__module__, "@class": type(self).__name__, **self.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the model that `as_dict` described."""
        return cls.model_validate(values)


def checked(model: type[ModelT], values: dict[str, Any], where: str = "") -> ModelT:
    """Build a model from a user's values, from the file or option `where`.

    An unknown key or unfit value is an InputError of one line that names the key and the remedy.
    """
    try:
        return model.model_validate(values)
    except ValidationError as err:
        raise input_error(err, where) from err
    except InputError as err:  # of a validator that asked other code
        if where and not err.message.startswith(f"{where}: "):
            raise InputError(f"{where}: {err.message}", err.fix) from err
        raise


def first_complaint(err: ValidationError) -> str:
    """Return the key of pydantic's first complaint and what is wrong with it, in at most 200 characters."""
    first = err.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))[:200]


def input_error(err: ValidationError, where: str = "") -> InputError:
    """Return pydantic's first complaint as one line: `where`, the key, what is wrong, and the remedy."""
    first = err.errors()[0]
    # pydantic names each alternative of a union behind its key
    key = ".".join(str(part) for part in first["loc"] if not _ALTERNATIVE.fullmatch(str(part)))
    error = first.get("ctx", {}).get("error")
    if isinstance(error, UnfitValueError):
        message, fix = error.message, error.fix
    else:
        message, fix = first["msg"].removeprefix("Value error, "), _remedy(key, first, where)
    return InputError(": ".join(part for part in (where, key, message) if part), fix)


_ALTERNATIVE = re.compile(r"float|int|str|bool|none|tuple|constrained-\w+|.*\[.*")
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _remedy(key: str, complaint: Any, where: str) -> str:
    """Return what to do about a complaint: the allowed range or words where pydantic knows them."""
    place = f" in {where}" if where else ""
    context = complaint.get("ctx", {})
    if complaint["type"] == "missing":
        return f"add {key}{place}"
    if "expected" in context:
        return f"set {key} to {context['expected']}"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"set {key} to {words} {context[bound]}"
    # a message on a whole model names the keys and the rule
    return f"correct {key}{place}" if key else ""


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by path, as `a.b`; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values updated by `over` at every depth; keys that `over` does not name stay."""
    found = dict(values)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return found
