"""Evaluate a user's formula of x, y and z safely, with numpy or in LAMMPS; neither Python nor LAMMPS sees its text.

The text is parsed into Python's syntax tree, which may hold numbers, the names below, arithmetic, comparisons and a few
functions. The tree is then evaluated with numpy, or written as a LAMMPS atom-style formula.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError, nearest

_MAX_LENGTH, _MAX_DEPTH = 400, 24
_COORDINATES, _EDGES = ("x", "y", "z"), ("lx", "ly", "lz")
_CONSTANTS = {"pi": math.pi}
NAMES = (*_COORDINATES, *_EDGES, *_CONSTANTS)
"""x, y, z in Å from the corner of the cell; lx, ly, lz: its edges in Å."""

_OPERATORS: dict[type, tuple[str, Callable[..., Any]]] = {
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", np.divide),
    ast.Pow: ("^", np.power),
    ast.Lt: ("<", np.less),
    ast.LtE: ("<=", np.less_equal),
    ast.Gt: (">", np.greater),
    ast.GtE: (">=", np.greater_equal),
    ast.And: ("&&", np.logical_and),
    ast.Or: ("||", np.logical_or),
}
# name: number of arguments, LAMMPS formula, numpy function
_FUNCTIONS: dict[str, tuple[int, str, Callable[..., Any]]] = {
    "exp": (1, "exp({0})", np.exp),
    "sqrt": (1, "sqrt({0})", np.sqrt),
    "log": (1, "ln({0})", np.log),
    "abs": (1, "abs({0})", np.abs),
    "sin": (1, "sin({0})", np.sin),
    "cos": (1, "cos({0})", np.cos),
    "min": (2, "ternary({0}<{1},{0},{1})", np.minimum),
    "max": (2, "ternary({0}>{1},{0},{1})", np.maximum),
    "where": (3, "ternary({0},{1},{2})", np.where),
}


def parse(text: str) -> ast.expr:
    """Return the checked syntax tree of a formula.

    Raises InputError if it is too long or deep, is no formula, or has a name or construct that is not allowed.
    """
    if len(text) > _MAX_LENGTH:
        raise InputError(f"the formula has {len(text)} characters", f"write it in {_MAX_LENGTH} at most")
    try:
        # people write powers both ways
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"'{text}' is not a formula", "for example: exp(-((x-lx/2)^2+z^2)/400)") from error
    _check(tree, 0)
    return tree


def _check(node: ast.expr, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InputError("the formula is nested too deeply", f"nest {_MAX_DEPTH} levels at most")
    for part in _parts(node):
        _check(part, depth + 1)


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return what a node is made of; raises InputError if it is not allowed."""
    match node:
        case ast.Constant(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(float(value)):
                raise InputError("a number in the formula is not finite", "use smaller numbers")
            return []
        case ast.Name(id=name):
            if name not in NAMES:
                raise InputError(f"unknown name '{name}' in the formula", nearest(name, NAMES))
            return []
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return [operand]
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _OPERATORS:
            return [left, right]
        case ast.BoolOp(values=values):
            return values
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in _FUNCTIONS:
                raise InputError(f"unknown function '{name}' in the formula", nearest(name, _FUNCTIONS))
            if len(arguments) != (number := _FUNCTIONS[name][0]):
                example = f"{name}({', '.join('abc'[:number])})"
                raise InputError(f"{name} takes {number} values, not {len(arguments)}", f"write {example}")
            return list(arguments)
    raise InputError(
        f"'{ast.unparse(node)}' cannot stand in a formula",
        f"numbers, {', '.join(NAMES)}, + - * / ^, comparisons, and, or, {', '.join(_FUNCTIONS)} can",
    )


def to_lammps(text: str) -> str:
    """Return a formula for a LAMMPS atom-style variable, with every part in brackets; raises InputError as `parse`."""
    # LAMMPS refuses an atom-style variable of constants alone
    return f"{_lammps(parse(text))}+0.0*z"


def _lammps(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=value):
            return f"{float(value):.17g}"  # type: ignore[arg-type]
        case ast.Name(id=name):
            return f"({name}-{name}lo)" if name in _COORDINATES else f"{_CONSTANTS.get(name, name)}"
        case ast.UnaryOp(op=operator, operand=operand):
            return f"({'-' if isinstance(operator, ast.USub) else ''}{_lammps(operand)})"
        case (
            ast.BinOp(left=left, op=operator, right=right) | ast.Compare(left=left, ops=[operator], comparators=[right])
        ):
            return f"({_lammps(left)}{_OPERATORS[type(operator)][0]}{_lammps(right)})"
        case ast.BoolOp(op=operator, values=values):
            return f"({_OPERATORS[type(operator)][0].join(_lammps(value) for value in values)})"
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name][1].format(*[_lammps(part) for part in arguments])
    raise AssertionError("parse refuses everything else")


def evaluate_formula(text: str, positions_A: NDArray, edges_A: NDArray) -> NDArray:
    """Return the values of a formula at positions (n, 3) in Å from the corner of the cell, shape (n,).

    `edges_A` (3,) are the lengths of the cell. Values are not finite where the formula is undefined. Raises InputError
    as `parse`.
    """
    known = dict(zip(_COORDINATES, np.asarray(positions_A, dtype=float).T, strict=True))
    known |= dict(zip(_EDGES, np.asarray(edges_A, dtype=float), strict=True)) | _CONSTANTS
    with np.errstate(all="ignore"):
        values = _value(parse(text), known)
    return np.broadcast_to(np.asarray(values, dtype=float), (len(positions_A),)).copy()


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return known[name]
        case ast.UnaryOp(op=operator, operand=operand):
            value = _value(operand, known)
            return np.negative(value) if isinstance(operator, ast.USub) else value
        case (
            ast.BinOp(left=left, op=operator, right=right) | ast.Compare(left=left, ops=[operator], comparators=[right])
        ):
            result = _OPERATORS[type(operator)][1](_value(left, known), _value(right, known))
            return np.asarray(result, dtype=float)
        case ast.BoolOp(op=operator, values=values):
            parts = [_value(value, known) for value in values]
            return np.asarray(reduce(_OPERATORS[type(operator)][1], parts), dtype=float)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name][2](*[_value(part, known) for part in arguments])
    raise AssertionError("parse refuses everything else")
