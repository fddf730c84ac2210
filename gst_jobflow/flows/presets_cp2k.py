"""Small cells for labels of CP2K with k-points, which a laptop computes in about an hour."""

from __future__ import annotations

from typing import Any

from gst_jobflow.flows.preset_cells import random_cell
from gst_jobflow.structures.families import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec

Distances = tuple[float, float, float]

K_SPACING_PER_A = 0.4
"""Three k-points along an edge of 5.3–15.7 Å; loose: for tests and examples."""

# cation–Te, Te–Te, cation–cation, Å; fixed, because tests/data/cp2k_gst holds the labels of these very cells
_LOOSE, _MIDDLE, _CLOSE, _CLOSEST = (2.75, 3.5, 3.3), (2.65, 3.3, 3.1), (2.55, 3.1, 2.95), (2.45, 2.9, 2.8)
_HOT = (2.25, 2.6, 2.5)
_PUSHED = {"Ge-Te": 2.5, "Sb-Te": 2.5, "Te-Te": 2.9, "Ge-Ge": 2.8, "Ge-Sb": 2.8, "Sb-Sb": 2.8}


def hard_sphere() -> list[HardSphereSpec]:
    """Return random cells of 9–14 atoms, most of them Ge1Sb2Te4; volumes in Å³ an atom."""
    cells = [("Ge1Sb2Te4", 12, volume, _LOOSE) for volume in (27, 30, 33)]
    cells += [("Ge1Sb2Te4", 12, volume, _MIDDLE) for volume in (25, 27, 29, 31)]
    cells += [("Ge1Sb2Te4", 12, volume, _CLOSE) for volume in (25, 27, 30)]
    cells += [("Ge1Sb2Te4", 12, volume, _CLOSEST) for volume in (26, 28)]
    cells += [("Ge1Sb2Te4", 12, volume, _HOT) for volume in (24, 28, 34)]
    cells += [("Ge1Sb2Te4", 14, 27, _MIDDLE), ("Ge1Sb2Te4", 14, 30, _CLOSE), ("Ge1Sb2Te4", 14, 29, _CLOSEST)]
    for formula, n_atoms in (("GeTe", 10), ("Sb2Te3", 10), ("Ge2Sb2Te5", 9)):
        cells += [(formula, n_atoms, 28, _LOOSE), (formula, n_atoms, 27, _CLOSE), (formula, n_atoms, 30, _HOT)]
    cells += [("Ge2Sb2Te5", 12, volume, _MIDDLE) for volume in (27, 31)]
    cells += [("Ge2Sb2Te5", 9, volume, _CLOSEST) for volume in (29, 34)]
    cells += [("GeTe", 12, 26, _MIDDLE), ("Sb2Te3", 12, 31, _MIDDLE)]
    cells += [("Ge1Sb2Te4", 12, 40, _MIDDLE)]
    return [_random(*cell, seed=100 + number) for number, cell in enumerate(cells)]


def crystals() -> list[CrystalSpec]:
    """Return disordered rock-salt and trigonal cells of 7–16 atoms, strained and rattled."""
    rocksalt: dict[str, Any] = {"kind": "rocksalt", "min_distances_A": _PUSHED}
    trigonal: dict[str, Any] = {"kind": "trigonal", "min_distances_A": _PUSHED}
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


def _random(formula: str, n_atoms: int, volume_A3: float, distances_A: Distances, seed: int) -> HardSphereSpec:
    to_te, te_te, others = distances_A
    pairs = {f"{element}-Te": to_te for element in ("Ge", "Sb")} | {"Te-Te": te_te}
    return random_cell(formula, n_atoms, volume_A3, pairs, seed, min_distance_A=others)
