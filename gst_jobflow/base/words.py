"""Words that messages and pages share."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 label` or `2,000 labels`; `plural` is for nouns that do not just get an s.

    Examples
    --------
    >>> counted(1, "structure"), counted(2000, "structure"), counted(0, "trajectory", "trajectories")
    ('1 structure', '2,000 structures', '0 trajectories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
