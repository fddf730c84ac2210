"""Declare options of commands in a line each, and those shared by several commands once, as a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import typer


def option(help: str, *names: str, default: Any = None, **limits: Any) -> Any:
    """Return an option of a command: what it does, its names (else from the parameter), its default and limits.

    With default `...` it has to be given.
    """
    return typer.Option(default, *names, help=help, **limits)


def flag(help: str, name: str) -> Any:
    """Return an option that `name` turns on."""
    return typer.Option(False, name, help=help)


def argument(help: str, *, default: Any = None, metavar: str | None = None) -> Any:
    """Return an argument of a command that may be left out or, with default `...`, has to be given."""
    return typer.Argument(default, help=help, metavar=metavar)


def with_options(group: type[Any], argument: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a dataclass; it receives them as one argument.

    Fields of `group` are options, each with a default; `--help` lists them at the place of the parameter `argument`.
    """
    hints = get_type_hints(group, include_extras=True)
    names = [field.name for field in fields(group)]
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default_factory is MISSING else field.default_factory(),
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = get_type_hints(function, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(function).parameters.items():
            shown = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own[name])
            parameters += options if name == argument else [shown]

        def command(**values: Any) -> Any:
            return function(**{argument: group(**{name: values.pop(name) for name in names})}, **values)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate
