"""`gst structures hard-sphere`: random structures."""

from __future__ import annotations

from typing import Any

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import IterationOption, TagOption, chosen_material
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.structures.made import Output, Seed, deliver
from gst_jobflow.structures.families import hard_sphere_family
from gst_jobflow.structures.hard_sphere import HardSphereSpec


def hard_sphere(
    formula: str = argument(
        "Composition, such as one of the material; for Ge-Sb-Te: Ge2Sb2Te5. Only ratios matter.", default=...
    ),
    atoms: int = option("Atoms in each structure.", default=36, min=1),
    number: int = option("Number of structures.", "--number", "-N", default=1, min=1),
    density: str | None = option("Density, g/cm3: a number, or a range such as 5.2-6.2; default: the material's."),
    min_distance: list[str] | None = option(
        "Å: 2.4 for all pairs, 1.6-2.4 for a random one a structure, or Ge-Te=2.5 for a pair (repeatable)."
    ),
    shape: str = option("cubic, orthorhombic or triclinic cells.", default="triclinic"),
    nearest: bool = flag("Take the nearest composition possible with so many atoms.", "--nearest"),
    seed: Seed = 0,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    output: Output = None,
) -> None:
    """Make random hard-sphere structures for training sets, like AIRSS' buildcell.

    Example: gst structures hard-sphere Ge2Sb2Te5 --atoms 36 -N 20 --density 5.4-6.2 --min-distance 1.6-2.4
    """
    density = density or str(chosen_material().density_g_cm3)
    spec = _spec(formula, atoms, density, min_distance or [], shape, nearest, seed)
    deliver(hard_sphere_family([spec], number), "hard_sphere", iteration, tag, output)


def _number_or_range(text: str) -> float | tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split("-"))
    return numbers[0] if len(numbers) == 1 else numbers


def _spec(
    formula: str, atoms: int, density: str, min_distances: list[str], shape: str, nearest: bool, seed: int
) -> Any:
    pairs: dict[str, float] = {}
    values: dict[str, Any] = {"formula": formula, "n_atoms": atoms, "cell_shape": shape, "seed": seed}
    try:
        for text in min_distances:
            pair, sign, value = text.rpartition("=")
            if sign:
                pairs[pair] = float(value)
            else:
                values["min_distance_A"] = _number_or_range(value)
        values["density_g_cm3"] = _number_or_range(density)
    except ValueError as err:
        raise InputError(str(err), "write numbers as 2.4, pairs as Ge-Te=2.5, ranges as 5.2-6.2") from err
    rounding = "nearest" if nearest else "exact"
    return checked(HardSphereSpec, {**values, "min_distances_A": pairs, "rounding": rounding})
