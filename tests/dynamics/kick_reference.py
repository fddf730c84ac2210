"""Heating and cooling kicks in numpy, which those of LAMMPS are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.dynamics.pulse import MVV2E


def kinetic_energy_eV(velocities: NDArray, masses: NDArray) -> float:
    """Return the kinetic energy in eV of velocities (n, 3) in Å/ps and masses (n,) in g/mol."""
    return float(0.5 * MVV2E * np.sum(masses[:, None] * velocities**2))


def kick_velocities(velocities: NDArray, masses: NDArray, weights: NDArray, energy_eV: float) -> NDArray:
    """Return velocities (n, 3) in Å/ps after one kick: no net momentum, `energy_eV` more kinetic energy."""
    before = kinetic_energy_eV(velocities, masses)
    ke = 0.5 * MVV2E * masses * np.sum(velocities**2, axis=1)
    gain = energy_eV * weights / np.sum(weights)
    scale = np.sqrt(np.divide(ke + gain, ke, out=np.ones_like(ke), where=ke > 0.0))
    moved = velocities * scale[:, None]
    moved = moved - (masses @ moved) / np.sum(masses)
    return moved * np.sqrt((before + energy_eV) / kinetic_energy_eV(moved, masses))


def cool_target_K(now_K: float, end_K: float, kicks_left: int, fall_K: float | None = None) -> float:
    """Return the temperature to set at a cooling kick, with `kicks_left` counting this one."""
    if kicks_left <= 1:
        return end_K
    if fall_K is not None:
        return max(end_K, now_K - 2.0 * fall_K)
    return min(now_K, now_K + 2.0 * (end_K - now_K) / (kicks_left + 1))
