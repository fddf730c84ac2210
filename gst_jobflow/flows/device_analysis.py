"""What is computed of every device operation: crystal-like fraction and temperature along z, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gst_jobflow.dynamics.protocol import ProtocolResult
    from gst_jobflow.dynamics.series import ProfileFrame

TIMES = 40
"""Times at which a trajectory document keeps profiles; all frames are in the dump."""
BIN_A = 5.0
METHOD = "polyhedral template matching of the Te sublattice (fcc or hcp)"


def analyse(result: ProtocolResult, mobile: Sequence[int], timestep_ps: float) -> dict[str, Any]:
    """Fields of the trajectory document: `analysis` and the last `crystalline_fraction`.

    Parameters
    ----------
    result
        The finished or failed run.
    mobile
        First and last id of the mobile atoms, counted from 1.
    timestep_ps
        Timestep, ps.
    """
    group = np.arange(mobile[0] - 1, mobile[1])
    crystalline = _crystalline(result, group, timestep_ps)
    fractions = crystalline["fraction"]
    return {
        "analysis": {
            "crystalline": crystalline,
            "temperature_profile": _temperatures(result.profiles, timestep_ps),
        },
        "crystalline_fraction": fractions[-1] if fractions else None,
    }


def _crystalline(result: ProtocolResult, group: np.ndarray, timestep_ps: float) -> dict[str, Any]:
    from gst_jobflow.analysis.crystallinity import crystal_profile, crystallinity

    times: list[float] = []
    fractions: list[float] = []
    by_z: list[list[float | None]] = []
    centres: np.ndarray = np.array([])
    # frames are streamed: a first pass counts them, the second looks at few
    wanted = set(_evenly(sum(1 for _ in result.frames()), TIMES))
    for number, frame in enumerate(result.frames()):
        if number not in wanted:
            continue
        atoms = frame.to_atoms(result.elements)
        found = crystallinity(atoms, group)
        centres, profile, _ = crystal_profile(atoms, found.mask, BIN_A, group)
        times.append(float(frame.step * timestep_ps))
        fractions.append(found.fraction)
        by_z.append(_plain(profile))
    return {"method": METHOD, "time_ps": times, "fraction": fractions, "z_A": centres.tolist(), "fraction_by_z": by_z}


def _temperatures(profiles: list[ProfileFrame], timestep_ps: float) -> dict[str, Any]:
    chosen = [profiles[index] for index in _evenly(len(profiles), TIMES)]
    return {
        "time_ps": [float(profile.step * timestep_ps) for profile in chosen],
        "z_A": chosen[0].z_A.tolist() if chosen else [],
        # a bin with less than one atom on average has no temperature
        "temperature_K": [_plain(np.where(p.count >= 1.0, p.temperature_K, np.nan)) for p in chosen],
    }


def _evenly(length: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist() if length else []


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
