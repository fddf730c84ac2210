"""Joining crystal and barrier into a cell with its groups."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.barrier import Slab, fit_barrier
from gst_jobflow.devices.cell.crystal import LayeredCrystal
from gst_jobflow.devices.cell.plan import AMU_PER_A3_IN_G_CM3, DevicePlan, plan_device
from gst_jobflow.devices.cell.seam import Faces, Seam, keep_contact
from gst_jobflow.devices.cell.spec import CrossPointSpec, DeviceCell, Floors, IdRange, Layer, MushroomSpec

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

# mobile atoms are listed in slabs of whole atomic layers of about this thickness
_LAYER_A = 10.0
# a barrier that is this much off the asked thickness is worth a word
_WORTH_A_WORD = 0.15


@dataclass
class LayerSizes:
    """Atoms of each atomic layer from the bottom up: in the electrode's strip, and outside of it."""

    in_strip: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)

    def add(self, in_strip: int, outside: int) -> None:
        """Note the next layer."""
        self.in_strip.append(in_strip)
        self.outside.append(outside)


def build_device(spec: CrossPointSpec | MushroomSpec, barrier: Atoms) -> DeviceCell:
    """Join crystal and barrier.

    In a cross-point cell the barrier lies half below the top and half above the bottom, in a mushroom cell on top.

    Parameters
    ----------
    spec
        As given to `barrier_spec`.
    barrier
        The amorphous slab, or a block that is tiled to it; see `barrier.fit_barrier`.

    Raises
    ------
    InputError
        As `plan_device` and `fit_barrier`, if the electrode does not fit, or if the smallest contact across the seam
        cannot be reached by moving barrier atoms.
    """
    from ase import Atoms as PlainAtoms

    plan = plan_device(spec)
    slab = fit_barrier(barrier, plan, Floors.of(spec.min_contact_A).least_A)
    strip = electrode_strip(spec, plan.crystal)
    bottom_A = crystal_bottom_A(spec, slab.box_A[2])
    n_mobile = plan.crystal.n_atoms
    numbers, positions = np.empty(n_mobile, np.uint8), np.empty((n_mobile, 3))
    sizes, faces, done = LayerSizes(), Faces.of(plan.crystal.length_A, Floors.of(spec.min_contact_A)), 0
    for some, places in mobile_chunks(plan.crystal, strip, sizes):
        faces.see(some, places)
        numbers[done : done + len(some)] = some
        positions[done : done + len(some)] = places
        done += len(some)
    positions[:, 2] += bottom_A
    seam = keep_contact(slab, *faces.atoms(slab.box_A[2]), Floors.of(spec.min_contact_A))
    barrier_at = seam.positions + np.array([0, 0, barrier_bottom_A(spec, plan, slab)])
    edges_A = np.array([*plan.barrier_box_A[:2], plan.crystal.length_A + slab.box_A[2]])
    atoms = PlainAtoms(
        numbers=np.concatenate([numbers, slab.numbers]).astype(int),
        positions=np.concatenate([positions, barrier_at % edges_A]),
        cell=edges_A,
        pbc=True,
    )
    atoms.set_tags((np.arange(len(atoms)) >= n_mobile).astype(int))
    return DeviceCell(
        atoms=atoms,
        groups=groups_of(sizes, len(atoms)),
        report=report_of(spec, plan, slab, seam),
        layers=layers_of(plan.crystal, bottom_A, sizes),
    )


def crystal_bottom_A(spec: CrossPointSpec | MushroomSpec, thickness_A: float) -> float:
    """Height of the crystal's lower cut in the cell, Å."""
    return thickness_A / 2 if isinstance(spec, CrossPointSpec) else 0.0


def barrier_bottom_A(spec: CrossPointSpec | MushroomSpec, plan: DevicePlan, slab: Slab) -> float:
    """Height of the barrier's lower face, Å; below the cell's bottom in a cross-point cell."""
    return -slab.box_A[2] / 2 if isinstance(spec, CrossPointSpec) else plan.crystal.length_A


def electrode_strip(spec: CrossPointSpec | MushroomSpec, crystal: LayeredCrystal) -> tuple[float, float, float] | None:
    """Return the electrode's contact as (lowest x, highest x, highest z above the crystal's cut) in Å.

    Raises
    ------
    InputError
        The strip is wider or higher than the crystal, or holds no atoms.
    """
    if isinstance(spec, CrossPointSpec):
        return None
    x_A, _, z_A = crystal.box_A
    width_A = x_A / 5 if spec.electrode.width_A is None else spec.electrode.width_A
    if width_A > x_A or spec.electrode.height_A > z_A:
        raise InputError(
            f"an electrode contact of {width_A:g} x {spec.electrode.height_A:g} Å is larger than the crystal, "
            f"{x_A:.1f} x {z_A:.1f} Å",
            "ask for a smaller one",
        )
    return (x_A - width_A) / 2, (x_A + width_A) / 2, spec.electrode.height_A


def mobile_chunks(
    crystal: LayeredCrystal, strip: tuple[float, float, float] | None, sizes: LayerSizes
) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the crystal's (atomic numbers, positions in Å) in the order of atom ids, and note `sizes` on the way.

    Atoms of the electrode's strip come first, so the layers that it reaches are held until all of them are made; after
    them come whole layers.

    Raises
    ------
    InputError
        The strip holds no atoms.
    """
    held: list[tuple[NDArray, NDArray]] = []
    top_A = 0.0 if strip is None else strip[2]
    for layer, (numbers, positions) in enumerate(crystal.layers()):
        if strip is None or crystal.height_A(layer) >= top_A:
            yield from _strip_first(held, strip)
            held = []
            sizes.add(0, len(numbers))
            yield numbers, positions
            continue
        inside = _in_strip(positions, strip)
        sizes.add(int(inside.sum()), int((~inside).sum()))
        held.append((numbers, positions))
    yield from _strip_first(held, strip)
    if strip is not None and sum(sizes.in_strip) == 0:
        raise InputError("no atom lies in the electrode's contact", "make it wider or higher")


def _strip_first(
    held: list[tuple[NDArray, NDArray]], strip: tuple[float, float, float] | None
) -> Iterator[tuple[NDArray, NDArray]]:
    for wanted in (True, False):
        for numbers, positions in held:
            assert strip is not None  # nothing is held without one
            chosen = _in_strip(positions, strip) == wanted
            yield numbers[chosen], positions[chosen]


def _in_strip(positions: NDArray, strip: tuple[float, float, float]) -> NDArray:
    return (positions[:, 0] >= strip[0]) & (positions[:, 0] < strip[1])


def groups_of(sizes: LayerSizes, n_atoms: int) -> dict[str, IdRange]:
    """Return first and last id of each group."""
    n_electrode, n_others = sum(sizes.in_strip), sum(sizes.outside)
    groups = {"mobile": (1, n_electrode + n_others), "barrier": (n_electrode + n_others + 1, n_atoms)}
    if n_electrode:
        groups["electrode"] = (1, n_electrode)
    return groups


def layers_of(
    crystal: LayeredCrystal, bottom_A: float, sizes: LayerSizes, thickness_A: float = _LAYER_A
) -> list[Layer]:
    """Return slabs of whole atomic layers, about `thickness_A` each, with the ids of their atoms."""
    edges = np.array([crystal.boundary_A(layer) for layer in range(crystal.n_layers + 1)])
    wanted = np.linspace(0.0, crystal.length_A, max(1, round(crystal.length_A / thickness_A)) + 1)
    starts = sorted({int(np.argmin(np.abs(edges - height))) for height in wanted})
    first_in = 1 + np.concatenate([[0], np.cumsum(sizes.in_strip)])
    first_outside = first_in[-1] + np.concatenate([[0], np.cumsum(sizes.outside)])
    slabs = []
    for low, high in itertools.pairwise(starts):
        runs = [(int(first[low]), int(first[high]) - 1) for first in (first_in, first_outside)]
        height_A = (float(edges[low]) + bottom_A, float(edges[high]) + bottom_A)
        slabs.append(Layer(z_A=height_A, ids=[run for run in runs if run[1] >= run[0]]))
    return slabs


def report_of(spec: CrossPointSpec | MushroomSpec, plan: DevicePlan, slab: Slab, seam: Seam) -> dict[str, Any]:
    """What a cell is, in plain numbers: counts, box, thicknesses, densities, contacts."""
    from ase.data import atomic_masses, chemical_symbols

    n_mobile, n_barrier = plan.crystal.n_atoms, len(slab.numbers)
    if abs(plan.barrier_box_A[2] / spec.barrier_thickness_A - 1) > _WORTH_A_WORD:
        _LOG.warning(
            "barrier of %.1f Å asked, %.1f Å is the nearest that whole layers or blocks give",
            spec.barrier_thickness_A,
            plan.barrier_box_A[2],
        )
    counts = Counter({chemical_symbols[number]: count for number, count in plan.crystal.counts.items()})
    counts.update(plan.barrier_counts)
    x_A, y_A, thickness_A = slab.box_A
    crystal_A3 = x_A * y_A * plan.crystal.length_A
    return {
        "n_atoms": n_mobile + n_barrier,
        "counts": dict(sorted(counts.items())),
        "n_mobile": n_mobile,
        "n_barrier": n_barrier,
        "barrier_counts": plan.barrier_counts,
        "box_A": [x_A, y_A, plan.crystal.length_A + thickness_A],
        "barrier_asked_A": spec.barrier_thickness_A,
        "barrier_A": thickness_A,
        "removed_crystal_A": plan.removed_thickness_A,
        "crystal_density_g_cm3": plan.crystal.mass_amu() / crystal_A3 * AMU_PER_A3_IN_G_CM3,
        "barrier_density_g_cm3": float(atomic_masses[slab.numbers].sum())
        / (x_A * y_A * thickness_A)
        * AMU_PER_A3_IN_G_CM3,
        "tiles": list(slab.tiles),
        "tile_strain": list(slab.strain),
        "min_distance_A": min(plan.crystal.contact_A(), seam.inside_A, seam.after_A),
        **seam.report(),
    }
