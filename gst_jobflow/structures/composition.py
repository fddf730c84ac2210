"""Parse formulas, and divide the atoms of a cell among elements."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator

from gst_jobflow.base.errors import InputError, nearest

Rounding = Literal["exact", "nearest"]

_SYMBOL = re.compile(r"[A-Z][a-z]?")
# ASE also reads factors before a unit (2GeTe), empty brackets and zeros
_FORMULA = re.compile(r"(?=[A-Z(])(?!.*(?:\((?:\)|\d)|(?<!\d)0+(?!\d)))[A-Za-z0-9()]+")


def parse_formula(formula: str) -> dict[str, int]:
    """Count the atoms of each element in a chemical formula, in the order in which they first appear; not reduced.

    Examples are ``"Ge2Sb2Te5"`` and ``"(GeTe)2(Sb2Te3)"``; whole numbers only. Raises InputError if the formula is
    empty or malformed, a count is zero, or an element is unknown.
    """
    from ase.data import atomic_numbers
    from ase.formula import Formula

    text = formula.strip() if isinstance(formula, str) else ""
    if not _FORMULA.fullmatch(text):
        raise _malformed(formula)
    for symbol in _SYMBOL.findall(text):
        if symbol == "X" or symbol not in atomic_numbers:
            near = nearest(symbol, [name for name in atomic_numbers if name != "X"])
            hint = near if near.startswith("did") else "write elements as in Ge2Sb2Te5"
            raise InputError(f"unknown element '{symbol}' in '{formula}'", hint)
    try:
        return Formula(text).count()
    except ValueError as err:
        raise _malformed(formula) from err


def elements_in(formulas: Iterable[str]) -> set[str]:
    """Return all elements of formulas."""
    return {element for formula in formulas for element in parse_formula(formula)}


def _readable(formula: str) -> str:
    parse_formula(formula)
    return formula


def _distinct(formulas: list[str]) -> list[str]:
    if len(set(formulas)) < len(formulas):
        raise ValueError(f"a composition is given twice in {', '.join(formulas)}")
    return formulas


Formula = Annotated[str, AfterValidator(_readable)]
"""Field of a model that refuses a text that is no formula."""
DistinctFormulas = Annotated[list[Formula], AfterValidator(_distinct)]
"""Field of a model that also refuses a formula that is given twice."""


def format_formula(counts: Mapping[str, int]) -> str:
    """Write counts as a formula; ones are left out only if every count is one (``GeTe``, ``Ge1Sb2Te4``)."""
    if all(count == 1 for count in counts.values()):
        return "".join(counts)
    return "".join(f"{element}{count}" for element, count in counts.items())


def reduced_formula(counts: Mapping[str, int]) -> str:
    """Write the smallest whole-number formula of `counts`, with the elements in alphabetical order.

    ``{"Te": 10, "Ge": 4, "Sb": 4}`` gives ``"Ge2Sb2Te5"``. Elements with a count of zero are left out.
    """
    present = {element: int(counts[element]) for element in sorted(counts) if counts[element]}
    divisor = math.gcd(*present.values()) if present else 1
    return format_formula({element: count // divisor for element, count in present.items()})


def atom_counts(formula: str, n_atoms: int, rounding: Rounding = "exact") -> dict[str, int]:
    """Divide `n_atoms` among the elements of `formula`, of which only ratios count.

    The rounding ``exact`` refuses an `n_atoms` that is no multiple of the formula unit. ``nearest`` gives leftover
    atoms to the elements with the largest remainders (ties: in the order of the formula).

    Raises
    ------
    InputError
        ``exact``: `n_atoms` is no multiple of the formula unit; the message names the nearest possible numbers.
        ``nearest``: an element would get no atom.
    """
    counts = parse_formula(formula)
    divisor = math.gcd(*counts.values())
    unit = sum(counts.values()) // divisor
    if n_atoms < 1:
        raise InputError(f"a cell cannot have {n_atoms} atoms", "ask for at least one atom")
    if n_atoms % unit == 0:
        return {element: count // divisor * (n_atoms // unit) for element, count in counts.items()}
    if rounding == "exact":
        possible = [str(n) for n in (n_atoms // unit * unit, (n_atoms // unit + 1) * unit) if n]
        raise InputError(
            f"{n_atoms} atoms cannot have exactly the composition {formula} (unit of {unit} atoms)",
            f"ask for {' or '.join(possible)} atoms, or for rounding 'nearest'",
        )
    shared = largest_remainder(counts, n_atoms)
    if min(shared.values()) == 0:
        raise InputError(f"{n_atoms} atoms are too few for {formula}", f"ask for at least {unit} atoms")
    return shared


@cache
def fewest_atoms(formula: str) -> int:
    """Return the number of atoms from which on the nearest composition of a cell has every element."""
    counts = parse_formula(formula)
    lacking = [number for number in range(sum(counts.values())) if not min(largest_remainder(counts, number).values())]
    return lacking[-1] + 1


def largest_remainder(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide `total` in proportion to whole-number `weights`; leftovers go to the largest remainders."""
    whole = sum(weights.values())
    quotas = {key: Fraction(weight * total, whole) for key, weight in weights.items()}
    shared = {key: math.floor(quota) for key, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda key: shared[key] - quotas[key])
    for key in by_remainder[: total - sum(shared.values())]:
        shared[key] += 1
    return shared


def _malformed(formula: object) -> InputError:
    return InputError(
        f"'{formula}' is not a chemical formula",
        "write element symbols with whole numbers, such as Ge2Sb2Te5 or (GeTe)2(Sb2Te3)",
    )
