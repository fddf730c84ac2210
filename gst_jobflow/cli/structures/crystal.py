"""`gst structures crystal`: crystals of the material."""

from __future__ import annotations

from typing import Any

from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import IterationOption, TagOption, chosen_material, parse_repeat
from gst_jobflow.cli.option_group import argument, option
from gst_jobflow.cli.structures.made import Output, Seed, deliver
from gst_jobflow.structures.families import CrystalSpec, crystal_family


def crystal(
    kind: str = argument("rocksalt (disordered, any composition) or trigonal.", default=...),
    formula: str = argument(
        "Formula of a crystal of the material; for Ge-Sb-Te: Ge1Sb2Te4, Ge2Sb2Te5, Sb2Te3, GeTe.", default=...
    ),
    repeat: str = option("Cells along x, y, z, e.g. 2x2x2.", default="2x2x2"),
    lattice: float | None = option("Rock-salt lattice constant, Å."),
    rattle: float = option("Standard deviation of random displacements, Å.", default=0.0, min=0),
    volume: float = option("Volume relative to the reference cell.", default=1.0),
    number: int = option("Number of structures.", "--number", "-N", default=1, min=1),
    seed: Seed = 0,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    output: Output = None,
) -> None:
    """Make crystals of the material, strained and rattled.

    Example: gst structures crystal rocksalt Ge1Sb2Te4 --repeat 2x2x2 --rattle 0.1 -N 5
    """
    values: dict[str, Any] = {"kind": kind, "formula": formula, "repeat": parse_repeat(repeat), "lattice_A": lattice}
    values["material"] = chosen_material()
    spec = checked(
        CrystalSpec, {**values, "volume_scales": (volume,), "rattles_A": (rattle,), "n_each": number, "seed": seed}
    )
    deliver(crystal_family(spec), "crystal", iteration, tag, output)
