"""Find what other packages offer by entry points: label backends, fit engines, analyses, figures, cells, and more."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from gst_jobflow.base.errors import GstError, InputError, MissingProgramError, nearest

T = TypeVar("T")
KINDS = ("label_backends", "fit_engines", "analyses", "figures", "cells", "profiles", "calculators")
"""Kinds of plugins; the group of entry points is `gst_jobflow.KIND`."""


@cache
def offered(kind: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a kind by name, without importing what they name; InputError if two have one name."""
    found: dict[str, EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=f"gst_jobflow.{kind}"):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise InputError(
                f"{distribution(other)} and {distribution(point)} both offer {_one(kind)} '{point.name}'",
                f"pip uninstall one of them, such as {distribution(point)}",
            )
    return found


def known(kind: str, own: Collection[str]) -> list[str]:
    """Return our names and those that plugins offer; InputError if a plugin offers one of ours, and as `offered`."""
    for name, point in offered(kind).items():
        if name in own:
            raise InputError(
                f"{distribution(point)} offers {_one(kind)} '{name}', which gst_jobflow has itself",
                f"pip uninstall {distribution(point)}, or ask its authors for another name",
            )
    return [*own, *offered(kind)]


def resolve(kind: str, name: str, own: Mapping[str, T]) -> T:
    """Return what has a name: ours without a look at plugins, else what a plugin offers.

    An unknown name is an InputError with the nearest one; raises also as `known` and `loaded`.
    """
    if name in own:
        return own[name]
    names = known(kind, own)
    if name not in names:
        raise InputError(f"no {_one(kind)} '{name}'", nearest(name, names))
    return loaded(kind, offered(kind)[name])


def loaded(kind: str, point: EntryPoint) -> Any:
    """Import what an entry point names; MissingProgramError, which names the package, if that fails."""
    try:
        return point.load()
    except GstError:
        raise
    except Exception as err:  # a plugin may fail in any way
        package = distribution(point)
        raise MissingProgramError(
            f"{_one(kind)} '{point.name}' of {package} cannot be imported: {type(err).__name__}: {err}",
            f"pip install -U {package}, or pip uninstall {package}",
        ) from err


def distribution(point: EntryPoint) -> str:
    """Return the name of the package that offers an entry point."""
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]


def _one(kind: str) -> str:
    words = kind.replace("_", " ")
    return {"analyses": "analysis"}.get(words, words.removesuffix("s"))
