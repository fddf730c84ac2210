"""Find ASE calculators by name, by entry point of other packages, or by import path."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from gst_jobflow.base.errors import InputError, MissingProgramError, nearest
from gst_jobflow.base.plugins import offered
from gst_jobflow.base.strict import checked
from gst_jobflow.labelling.ase_calculator import KNOWN, AseBackend

# keyword arguments of calculators that do not change the result
_OF_THE_WAY = frozenset({"device", "verbose", "verbosity", "default_device", "use_device"})
_FIELDS = ("isolate", "reuse", "wall_limit_s", "threads", "elements", "floor_A", "bounds", "not_converged", "name")


def entry_points() -> dict[str, str]:
    """Return the calculators that installed packages offer, import path by name."""
    return {name: point.value for name, point in offered("calculators").items()}


def names() -> list[str]:
    """Return the names for `calculator=NAME` and `--backend NAME`."""
    return sorted({*KNOWN, *entry_points()})


def found() -> list[str]:
    """Return a line on each known calculator: its version, or how to install it; import nothing."""
    lines = []
    for name in names():
        _, package = _path_and_package(name)
        try:
            lines.append(f"{name} ({package} {importlib.metadata.version(package)})")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"no {name} (pip install {package})" if package else name)
    return lines


def calculator_backend(calculator: str, options: dict[str, Any], where: str = "ase") -> AseBackend:
    """Make the backend of a calculator.

    Parameters
    ----------
    calculator
        A name of `names`, or "package.module:Name" of a class or of a function that returns a calculator.
    options
        `parameters` (keyword arguments; files among them become `weights`), `options` (keyword arguments that are not
        part of the method) and fields of `AseBackend` such as `threads`, `wall_limit_s`, `bounds`.
    where
        Source of the options, for errors.

    Raises
    ------
    InputError
        The name or an option is unknown, or a value does not fit.
    MissingProgramError
        The module or a file is missing.
    """
    if unknown := sorted(set(options) - {"parameters", "options", *_FIELDS}):
        raise InputError(
            f"{where} has no option '{unknown[0]}'",
            f"keyword arguments of the calculator are parameters.{unknown[0]}=…; fields are {', '.join(_FIELDS)}",
        )
    path, package = _path_and_package(calculator)
    _installed(path, package)
    keywords = dict(options.get("parameters") or {})
    way = {key: keywords.pop(key) for key in sorted(keywords) if key in _OF_THE_WAY}
    weights = {key: file for key, value in keywords.items() if (file := _file(key, value))}
    values = {
        "name": (path.partition(":")[2] if ":" in calculator else calculator).lower(),
        "calculator": path,
        "package": package,
        "parameters": {key: value for key, value in keywords.items() if key not in weights},
        "weights": weights,
        **{key: value for key, value in options.items() if key in _FIELDS},
        "options": {**way, **(options.get("options") or {})},
    }
    return checked(AseBackend, values, where)


def _path_and_package(calculator: str) -> tuple[str, str]:
    """Return import path and distribution of a calculator."""
    if calculator in KNOWN:
        return KNOWN[calculator]
    path = entry_points().get(calculator, calculator)
    if not re.fullmatch(r"[\w.]+:\w+", path):
        fix = nearest(calculator, names())
        raise InputError(f"no calculator '{calculator}'", f"{fix}, or an import path as package.module:Name")
    known = next((known.package for known in KNOWN.values() if known.path == path), None)
    top = path.partition(":")[0].partition(".")[0]
    return path, known or next(iter(importlib.metadata.packages_distributions().get(top, [])), "")


def _installed(path: str, package: str) -> None:
    """Raise MissingProgramError if the top package of a path is not installed, without importing it."""
    module = path.partition(":")[0]
    try:
        there = importlib.util.find_spec(module.partition(".")[0]) is not None
    except ValueError:
        there = False
    if not there:
        fix = f"pip install {package}" if package else "install its package, or put its folder on PYTHONPATH"
        raise MissingProgramError(f"calculator {path}: no module '{module.partition('.')[0]}'", fix)


def _file(keyword: str, value: Any) -> str:
    """Return the absolute path of a keyword argument that names a file or folder, else an empty text.

    A bare word such as "medium" names a model, even if such a file exists; "./medium" is a file. Raise
    MissingProgramError for a path to nothing.
    """
    if not isinstance(value, str):
        return ""
    path = Path(value).expanduser()
    explicit = value.startswith(("/", "./", "../", "~"))
    if not explicit and "/" not in value and "." not in value:
        return ""
    if path.exists():
        return str(path.resolve())
    if explicit:
        raise MissingProgramError(f"{keyword}={value}: no such file", "give the path of the trained model")
    return ""
