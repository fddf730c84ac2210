"""Words that messages and pages share."""

from __future__ import annotations

import math
from typing import Any


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 label` or `2,000 labels`; `plural` is for nouns that do not just get an s.

    Examples
    --------
    >>> counted(1, "structure"), counted(2000, "structure"), counted(0, "trajectory", "trajectories")
    ('1 structure', '2,000 structures', '0 trajectories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(n_bytes: float) -> str:
    """Format a file size.

    Examples
    --------
    >>> size(999), size(1_500_000), size(2e12)
    ('999 B', '1.5 MB', '2 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def number(value: Any, digits: int = 4) -> str:
    """Format a number, a list or a word for a table; a dash for None, NaN and an empty list."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return str(value)
