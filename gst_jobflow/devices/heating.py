"""Energies of pulses: pJ and eV per atom, the heated atoms, and the temperature that an energy means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell import DeviceSpec, MushroomSpec, plan_device
from gst_jobflow.dynamics.pulse import BOLTZMANN_EV_K, profile_weights
from gst_jobflow.dynamics.stages import Dome, LinearZ, Profile

MOST_EV_PER_ATOM = 10.0
"""Largest accepted energy: it means nearly 40,000 K, and is several times the cohesive energy of a crystal."""


@dataclass(frozen=True)
class Geometry:
    """Extent and positions of the mobile atoms of a cell.

    `positions` yields wrapped positions (n, 3) in Å, in chunks; `z_range_A` holds the heights of the lowest and the
    highest atom. `depth_is_thin` marks a thin slab along y, where domes are half-discs.
    """

    edges_A: NDArray
    z_range_A: tuple[float, float]
    n_mobile: int
    positions: Callable[[], Iterator[NDArray]]
    depth_is_thin: bool = False


@dataclass(frozen=True)
class Heated:
    """Atoms that a profile heats, and the largest share of one of them in units of their mean."""

    n_atoms: int
    peak: float


def geometry_of_atoms(atoms: Atoms, mobile: tuple[int, int], depth_is_thin: bool) -> Geometry:
    """Return the geometry of a built cell; `mobile` holds first and last id, from 1."""
    positions = atoms.get_positions(wrap=True)[mobile[0] - 1 : mobile[1]]
    z_range_A = (float(positions[:, 2].min()), float(positions[:, 2].max()))
    return Geometry(atoms.cell.lengths(), z_range_A, len(positions), lambda: iter([positions]), depth_is_thin)


def geometry_of_spec(spec: DeviceSpec) -> Geometry:
    """Return the geometry of a planned cell, with its crystal layer by layer and its barrier as thick as planned.

    Raises as `plan_device`.
    """
    plan = plan_device(spec)
    thin = isinstance(spec, MushroomSpec)
    bottom_A = 0.0 if thin else plan.barrier_box_A[2] / 2
    heights = [plan.crystal.height_A(layer) for layer in (0, plan.crystal.n_layers - 1)]

    def positions() -> Iterator[NDArray]:
        for _, places in plan.crystal.layers():
            yield places + np.array([0.0, 0.0, bottom_A])

    edges_A = np.array([*plan.barrier_box_A[:2], plan.crystal.length_A + plan.barrier_box_A[2]])
    z_range_A = (heights[0] + bottom_A, heights[1] + bottom_A)
    return Geometry(edges_A, z_range_A, plan.crystal.n_atoms, positions, thin)


def heated(profile: Profile, geometry: Geometry) -> Heated:
    """Count the atoms that a profile heats.

    Raises InputError if the dome reaches out of the mobile crystal, a formula is negative somewhere, or no atom is
    heated.
    """
    if isinstance(profile, Dome):
        _check_dome(profile, geometry)
    count, total, peak = 0, 0.0, 0.0
    for positions in geometry.positions():
        weights = profile_weights(profile, positions, geometry.edges_A)
        count += int((weights > 0).sum())
        total += float(weights.sum())
        peak = max(peak, float(weights.max(initial=0.0)))
    if count == 0 or total <= 0.0:
        raise InputError("the profile of the pulse heats no atom", "place it on the crystal")
    if isinstance(profile, LinearZ):
        # the energy vanishes at the topmost atoms, which still belong to the heated region
        count = geometry.n_mobile
    return Heated(count, peak * count / total)


def _check_dome(dome: Dome, geometry: Geometry) -> None:
    radius, fix = dome.diameter_A / 2, "make the dome smaller, or the cell larger"
    bottom, top = geometry.z_range_A
    for axis, centre in enumerate(dome.centre_A[:2]):
        if centre is not None and not radius <= centre <= geometry.edges_A[axis] - radius:
            raise InputError(
                f"a dome of {dome.diameter_A:g} Å around {'xy'[axis]} = {centre:.1f} Å reaches out of the cell, which "
                f"is {geometry.edges_A[axis]:.1f} Å along {'xy'[axis]}",
                fix,
            )
    height = dome.centre_A[2]
    if height is not None and not (height >= bottom - 5.0 and height + radius <= top):
        raise InputError(
            f"a dome of {dome.diameter_A:g} Å above z = {height:.1f} Å reaches {height + radius:.1f} Å, and the "
            f"crystal lies between {bottom:.1f} and {top:.1f} Å",
            fix,
        )


def temperature_K(energy_eV_per_atom: float, start_K: float = 300.0) -> float:
    """Return the temperature that an energy means: `start_K` plus energy over 3 k_B per atom (motion and bonds).

    Melting takes up about 0.1 eV per atom and heat flows away, so this is an upper bound.
    """
    return start_K + energy_eV_per_atom / (3.0 * BOLTZMANN_EV_K)


def check_energy(energy_eV_per_atom: float, said: str) -> None:
    """Refuse an energy per heated atom that is not positive, or above `MOST_EV_PER_ATOM`; raises InputError.

    `said` names it as the user did.
    """
    if 0.0 < energy_eV_per_atom <= MOST_EV_PER_ATOM:
        return
    meaning = f"{energy_eV_per_atom:,.4g} eV per heated atom, which means {temperature_K(energy_eV_per_atom):,.0f} K"
    raise InputError(
        f"a pulse of {said} is {meaning}",
        f"give it more than 0 and at most {MOST_EV_PER_ATOM:g} eV per heated atom; the paper's RESETs have 0.4 to 0.75",
    )
