"""The k-point mesh of a spacing."""

from __future__ import annotations

import math

import numpy as np


def kpoint_mesh(cell_A: np.ndarray, spacing_per_A: float, *, odd: bool = False) -> tuple[int, int, int]:
    """Return the smallest mesh whose spacing along every reciprocal vector is at most `spacing_per_A`.

    This is what VASP makes of KSPACING: max(1, ceil(|b| / KSPACING)), |b| with 2 pi (vasp.at/wiki, KSPACING).

    Parameters
    ----------
    cell_A
        Shape (3, 3), lattice vectors in rows.
    odd
        Round up to odd numbers.
    """
    lengths = 2 * math.pi * np.linalg.norm(np.linalg.inv(cell_A), axis=0)
    # rounding errors of a length that is a whole multiple of the spacing must not cost another point
    first, second, third = (max(1, math.ceil(length / spacing_per_A - 1e-9)) for length in lengths)
    return (first | 1, second | 1, third | 1) if odd else (first, second, third)
