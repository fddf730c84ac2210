"""An analysis of frames: the number of neighbours within 3.2 Å."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from gst_jobflow.analysis.frame import Analysis, FrameOptions

REACH_A = 3.2


def coordination(atoms: Atoms, options: FrameOptions) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return numbers for a row, and arrays with a value for each atom; shares and means count `options.counted`."""
    neighbours = np.bincount(neighbour_list("i", atoms, REACH_A), minlength=len(atoms))
    some = neighbours[options.counted]
    return {"coordination_mean": float(some.mean())}, {"coordination": neighbours.astype(np.float32)}


COORDINATION = Analysis(
    coordination,
    definition=f"number of neighbours within {REACH_A:g} Å; the mean counts mobile atoms",
    parameters=("mobile",),
)
