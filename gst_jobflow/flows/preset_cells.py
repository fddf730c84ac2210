"""Random cells of the plans and of dynamics, with smallest distances by pair of elements."""

from __future__ import annotations

from gst_jobflow.devices.cell.spec import MIN_CONTACTS_A
from gst_jobflow.structures.hard_sphere import HardSphereSpec

Spacing = tuple[float, float]
"""Distances of cation–Te pairs, and of all other pairs, relative to the floors at the seams of device cells."""
LOOSE, MIDDLE, CLOSE, CLOSEST, HOT = (1.044, 1.28), (1.006, 1.22), (0.968, 1.14), (0.93, 1.08), (0.88, 0.95)
PUSHED = (1.0, 1.07)
"""Spacing that rattled crystals are pushed apart to."""


def pair_distances_A(spacing: Spacing) -> dict[str, float]:
    """Return the smallest distance of each pair of Ge, Sb and Te, Å."""
    bonded, others = spacing
    return {
        pair: round(floor_A * (bonded if pair in ("Ge-Te", "Sb-Te") else others), 2)
        for pair, floor_A in MIN_CONTACTS_A.items()
    }


def random_cell(formula: str, n_atoms: int, volume_A3: float, spacing: Spacing, seed: int) -> HardSphereSpec:
    """Return a random cell of a plan; `volume_A3` is that of an atom."""
    return HardSphereSpec(
        formula=formula,
        n_atoms=n_atoms,
        volume_per_atom_A3=volume_A3,
        min_distances_A=pair_distances_A(spacing),
        cell_shape="orthorhombic",
        rounding="nearest",
        seed=seed,
    )
