"""Random cells of the plans and of dynamics, with smallest distances by pair of elements."""

from __future__ import annotations

from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.material import Material, default_material

Spacing = tuple[float, float]
"""Distances of cation–anion pairs, and of all other pairs, relative to the floors at the seams of device cells."""
LOOSE, MIDDLE, CLOSE, CLOSEST = (1.044, 1.28), (1.006, 1.22), (0.968, 1.14), (0.93, 1.08)
PUSHED = (1.0, 1.07)
"""Spacing that rattled crystals are pushed apart to."""


def pair_distances_A(spacing: Spacing, material: Material | None = None) -> dict[str, float]:
    """Return the smallest distance of each pair of a material's elements, Å; None: Ge-Sb-Te."""
    bonded, others = spacing
    material = material or default_material()
    return {
        pair: round(floor_A * (bonded if pair.split("-").count(material.anion) == 1 else others), 2)
        for pair, floor_A in material.min_contacts_A.items()
    }


def random_cell(
    formula: str, n_atoms: int, volume_A3: float, spacing: Spacing | dict[str, float], seed: int, **more: float
) -> HardSphereSpec:
    """Return a random cell of a plan; `volume_A3` is that of an atom, `spacing` may be distances by pair, Å."""
    return HardSphereSpec(
        formula=formula,
        n_atoms=n_atoms,
        volume_per_atom_A3=volume_A3,
        min_distances_A=spacing if isinstance(spacing, dict) else pair_distances_A(spacing),
        **more,
        cell_shape="orthorhombic",
        rounding="nearest",
        seed=seed,
    )
