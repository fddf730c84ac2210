"""Place the barrier of a device cell, and count what it replaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.crystal import Cuts, LayeredCrystal, crystal_above, cuts_of, removed_counts
from gst_jobflow.devices.cell.spec import DeviceSpec
from gst_jobflow.structures.lattice import AMU_PER_A3_IN_G_CM3


@dataclass(frozen=True)
class DevicePlan:
    """The mobile crystal of a cell, its lower cut at z = 0; atoms and box (Å) of its barrier.

    The barrier has exactly the atoms that the removed crystal, `removed_thickness_A` thick, had.
    """

    crystal: LayeredCrystal
    barrier_counts: dict[str, int]
    barrier_box_A: tuple[float, float, float]
    removed_thickness_A: float


def plan_device(spec: DeviceSpec) -> DevicePlan:
    """Choose the layers of the crystal that the barrier replaces, without making them.

    Raises InputError if the barrier would leave no crystal, or the phase has no blocks to cut between.
    """
    cuts = cuts_of(spec)
    length_A = float(cuts.heights_A[-1] - cuts.heights_A[0])
    if spec.barrier_thickness_A >= length_A:
        raise InputError(
            f"a barrier of {spec.barrier_thickness_A:g} Å does not fit into a cell of {length_A:.1f} Å along z",
            f"make it thinner, or repeat the crystal more than {spec.repeat[2]} times along z",
        )
    if len(cuts.layers) < 3:
        raise InputError(
            "the crystal has a single block along z: nothing would be left beside the barrier",
            "repeat it more along z, or use cut 'layer'",
        )
    probe = crystal_above(spec, 0, float(cuts.heights_A[0]))
    area_A2 = probe.box_A[0] * probe.box_A[1]
    thickness = _thicknesses(cuts, area_A2, spec.barrier_density_g_cm3)
    # remove at least one layer or block, and leave at least one
    chosen = 1 + int(np.argmin(np.abs(thickness[1:-1] - spec.barrier_thickness_A)))
    n_removed = int(cuts.layers[chosen])
    return DevicePlan(
        crystal=crystal_above(spec, n_removed, float(cuts.heights_A[chosen])),
        barrier_counts=removed_counts(spec, n_removed),
        barrier_box_A=(probe.box_A[0], probe.box_A[1], float(thickness[chosen])),
        removed_thickness_A=float(cuts.heights_A[chosen] - cuts.heights_A[0]),
    )


def check_cutoff(spec: DeviceSpec, cutoff_A: float) -> None:
    """Refuse a cell that is too small for a potential; raises InputError.

    Each edge must hold two cutoffs, so that no atom interacts with another and its image; the barrier must hold one, so
    that the crystal's top and bottom do not interact.
    """
    plan = plan_device(spec)
    x_A, y_A, z_A = plan.crystal.box_A
    edges = {"x": x_A, "y": y_A, "z": z_A + plan.barrier_box_A[2]}
    for axis, edge_A in edges.items():
        if edge_A < 2 * cutoff_A:
            raise InputError(
                f"the cell is {edge_A:.1f} Å along {axis}: less than two cutoffs of {cutoff_A:g} Å",
                f"repeat the crystal more along {axis}",
            )
    if plan.barrier_box_A[2] < cutoff_A:
        raise InputError(
            f"a barrier of {plan.barrier_box_A[2]:.1f} Å is thinner than the cutoff of {cutoff_A:g} Å",
            "make it thicker: the crystal's top and bottom would interact",
        )


def _thicknesses(cuts: Cuts, area_A2: float, density_g_cm3: float | None) -> np.ndarray:
    """Return the thickness of the barrier that replaces the crystal below each cut, Å; shape (cuts,)."""
    if density_g_cm3 is None:
        return cuts.heights_A - cuts.heights_A[0]
    return cuts.masses_amu / (density_g_cm3 / AMU_PER_A3_IN_G_CM3 * area_A2)
