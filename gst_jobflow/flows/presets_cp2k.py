"""Small cells for labels of CP2K with k-points, which a laptop computes in about an hour."""

from __future__ import annotations

from typing import Any

from gst_jobflow.flows.preset_cells import CLOSE, CLOSEST, HOT, LOOSE, MIDDLE, PUSHED, pair_distances_A, random_cell
from gst_jobflow.flows.structures import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec

K_SPACING_PER_A = 0.4
"""Three k-points along an edge of 5.3–15.7 Å; loose: for tests and examples."""


def hard_sphere() -> list[HardSphereSpec]:
    """Return random cells of 9–14 atoms, most of them Ge1Sb2Te4."""
    cells = [("Ge1Sb2Te4", 12, volume, LOOSE) for volume in (27, 30, 33)]
    cells += [("Ge1Sb2Te4", 12, volume, MIDDLE) for volume in (25, 27, 29, 31)]
    cells += [("Ge1Sb2Te4", 12, volume, CLOSE) for volume in (25, 27, 30)]
    cells += [("Ge1Sb2Te4", 12, volume, CLOSEST) for volume in (26, 28)]
    cells += [("Ge1Sb2Te4", 12, volume, HOT) for volume in (24, 28, 34)]
    cells += [("Ge1Sb2Te4", 14, 27, MIDDLE), ("Ge1Sb2Te4", 14, 30, CLOSE), ("Ge1Sb2Te4", 14, 29, CLOSEST)]
    for formula, n_atoms in (("GeTe", 10), ("Sb2Te3", 10), ("Ge2Sb2Te5", 9)):
        cells += [(formula, n_atoms, 28, LOOSE), (formula, n_atoms, 27, CLOSE), (formula, n_atoms, 30, HOT)]
    cells += [("Ge2Sb2Te5", 12, volume, MIDDLE) for volume in (27, 31)]
    cells += [("Ge2Sb2Te5", 9, volume, CLOSEST) for volume in (29, 34)]
    cells += [("GeTe", 12, 26, MIDDLE), ("Sb2Te3", 12, 31, MIDDLE)]
    cells += [("Ge1Sb2Te4", 12, 40, MIDDLE)]
    return [random_cell(*cell, seed=100 + number) for number, cell in enumerate(cells)]


def crystals() -> list[CrystalSpec]:
    """Return disordered rock-salt and trigonal cells of 7–16 atoms, strained and rattled."""
    rocksalt: dict[str, Any] = {"kind": "rocksalt", "min_distances_A": pair_distances_A(PUSHED)}
    trigonal: dict[str, Any] = {"kind": "trigonal", "min_distances_A": pair_distances_A(PUSHED)}
    gst124 = {"formula": "Ge1Sb2Te4"}
    return [
        CrystalSpec(**rocksalt, **gst124, volume_scales=(0.93, 1.0, 1.08), rattles_A=(0.08, 0.2, 0.35), seed=101),
        CrystalSpec(
            **rocksalt, **gst124, repeat=(1, 1, 2), volume_scales=(1.0, 1.08), rattles_A=(0.1, 0.3, 0.5), seed=102
        ),
        CrystalSpec(**rocksalt, **gst124, volume_scales=(0.87, 1.2), rattles_A=(0.15,), seed=109),
        CrystalSpec(**rocksalt, formula="GeTe", volume_scales=(0.95, 1.06), rattles_A=(0.1, 0.25), seed=103),
        CrystalSpec(**rocksalt, formula="Ge2Sb2Te5", volume_scales=(0.97, 1.05), rattles_A=(0.1, 0.3), seed=104),
        CrystalSpec(**rocksalt, formula="Sb2Te3", volume_scales=(1.0, 1.08), rattles_A=(0.2,), seed=105),
        CrystalSpec(
            **trigonal, **gst124, primitive=True, volume_scales=(0.95, 1.0, 1.07), rattles_A=(0.05, 0.2), seed=106
        ),
        CrystalSpec(**trigonal, formula="Sb2Te3", primitive=True, repeat=(1, 1, 2), rattles_A=(0.05, 0.2), seed=107),
        CrystalSpec(**trigonal, formula="GeTe", rattles_A=(0.08, 0.25), seed=108),
    ]
