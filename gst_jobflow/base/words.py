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
