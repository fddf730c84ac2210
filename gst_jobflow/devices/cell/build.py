"""Join crystal and barrier into a cell with its groups."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.barrier import fit_barrier
from gst_jobflow.devices.cell.crystal import LayeredCrystal
from gst_jobflow.devices.cell.plan import plan_device
from gst_jobflow.devices.cell.seam import Faces, Seam, keep_contact
from gst_jobflow.devices.cell.spec import CrossPointSpec, DeviceCell, DeviceSpec, Floors, IdRange, Layer
from gst_jobflow.structures.lattice import AMU_PER_A3_IN_G_CM3

_LOG = logging.getLogger(__name__)

# mobile atoms are listed in slabs of whole atomic layers of about this thickness
_LAYER_A = 10.0
# warn of a barrier whose thickness differs by more than this share from the asked one
_WORTH_A_WORD = 0.15

Strip = tuple[float, float, float]
"""Contact of the electrode: lowest x, highest x, highest z above the crystal's lower cut, Å."""


def build_device(spec: DeviceSpec, barrier: Atoms) -> DeviceCell:
    """Join crystal and barrier.

    In a cross-point cell the barrier lies half below the top and half above the bottom, in a mushroom cell on top. It
    is the amorphous slab, or a block that is tiled to it; see `barrier.fit_barrier`.

    Raises
    ------
    InputError
        As `plan_device` and `fit_barrier`; the electrode does not fit; or moving barrier atoms does not reach the
        smallest contact across the seam.

    Examples
    --------
    >>> spec = CrossPointSpec(repeat=(8, 5, 2), barrier_thickness_A=15)
    >>> cell = build_device(spec, hard_sphere_barrier(spec))
    >>> cell.groups["mobile"], cell.report["box_A"]
    """
    made = CellMaking(spec, barrier)
    numbers, positions = (np.concatenate(parts) for parts in zip(*made.chunks(), strict=True))
    atoms = Atoms(numbers=numbers.astype(int), positions=positions, cell=made.edges_A, pbc=True)
    atoms.set_tags((np.arange(len(atoms)) >= made.plan.crystal.n_atoms).astype(int))
    return DeviceCell(atoms=atoms, groups=made.groups(), report=made.report(), layers=made.layers())


@dataclass
class LayerSizes:
    """Atoms of each atomic layer from the bottom up: within the electrode's strip, and outside it."""

    in_strip: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)

    def add(self, in_strip: int, outside: int) -> None:
        """Note the next layer."""
        self.in_strip.append(in_strip)
        self.outside.append(outside)


class CellMaking:
    """Makes the atoms of a cell from the arguments of `build_device`.

    `groups`, `layers` and `report` are known once `chunks` is exhausted.
    """

    def __init__(self, spec: DeviceSpec, barrier: Atoms) -> None:
        self.spec, self.plan = spec, plan_device(spec)
        self.floors = Floors.of(spec.min_contact_A)
        self.slab = fit_barrier(barrier, self.plan, self.floors.least_A)
        x_A, y_A, thickness_A = self.slab.box_A
        self.edges_A = np.array([x_A, y_A, self.plan.crystal.length_A + thickness_A])
        self.sizes = LayerSizes()
        across = isinstance(spec, CrossPointSpec)
        # heights of the lower faces of crystal and barrier; the latter is below the cell's bottom in a cross-point cell
        self.crystal_bottom_A = thickness_A / 2 if across else 0.0
        self.barrier_bottom_A = -thickness_A / 2 if across else self.plan.crystal.length_A
        self.seam: Seam | None = None

    def chunks(self) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield (atomic numbers (n,), positions (n, 3) in Å) in the order of atom ids.

        Of the crystal only the layers at the faces of the barrier are kept meanwhile.
        """
        faces = Faces.of(self.plan.crystal.length_A, self.floors)
        up = np.array([0, 0, self.crystal_bottom_A])
        strip = electrode_strip(self.spec, self.plan.crystal)
        for numbers, positions in mobile_chunks(self.plan.crystal, strip, self.sizes):
            faces.see(numbers, positions)
            yield numbers, positions + up
        self.seam = keep_contact(self.slab, *faces.atoms(self.slab.box_A[2]), self.floors)
        yield self.slab.numbers, (self.seam.positions + np.array([0, 0, self.barrier_bottom_A])) % self.edges_A

    def groups(self) -> dict[str, IdRange]:
        """Return first and last id of each group."""
        n_electrode, n_mobile = sum(self.sizes.in_strip), self.plan.crystal.n_atoms
        groups = {"mobile": (1, n_mobile), "barrier": (n_mobile + 1, n_mobile + len(self.slab.numbers))}
        return groups | {"electrode": (1, n_electrode)} if n_electrode else groups

    def layers(self) -> list[Layer]:
        """Return slabs of whole atomic layers, about 1 nm each, with the ids of their atoms."""
        crystal, bottom_A = self.plan.crystal, self.crystal_bottom_A
        edges = np.array([crystal.boundary_A(layer) for layer in range(crystal.n_layers + 1)])
        wanted = np.linspace(0.0, crystal.length_A, max(1, round(crystal.length_A / _LAYER_A)) + 1)
        starts = sorted({int(np.argmin(np.abs(edges - height))) for height in wanted})
        first_in = 1 + np.concatenate([[0], np.cumsum(self.sizes.in_strip)])
        first_outside = first_in[-1] + np.concatenate([[0], np.cumsum(self.sizes.outside)])
        slabs = []
        for low, high in itertools.pairwise(starts):
            runs = [(int(first[low]), int(first[high]) - 1) for first in (first_in, first_outside)]
            height_A = (float(edges[low]) + bottom_A, float(edges[high]) + bottom_A)
            slabs.append(Layer(z_A=height_A, ids=[run for run in runs if run[1] >= run[0]]))
        return slabs

    def report(self) -> dict[str, Any]:
        """Return counts, box, thicknesses, densities and contacts as plain numbers."""
        assert self.seam is not None  # chunks was exhausted
        plan, slab, asked_A = self.plan, self.slab, self.spec.barrier_thickness_A
        if abs(plan.barrier_box_A[2] / asked_A - 1) > _WORTH_A_WORD:
            _LOG.warning(
                "barrier of %.1f Å asked, %.1f Å is the nearest that whole layers or blocks give",
                asked_A,
                plan.barrier_box_A[2],
            )
        counts = Counter({chemical_symbols[number]: count for number, count in plan.crystal.counts.items()})
        counts.update(plan.barrier_counts)
        x_A, y_A, thickness_A = slab.box_A
        area_A2, barrier_amu = x_A * y_A, float(atomic_masses[slab.numbers].sum())
        crystal_A3 = area_A2 * plan.crystal.length_A
        return {
            "n_atoms": plan.crystal.n_atoms + len(slab.numbers),
            "counts": dict(sorted(counts.items())),
            "n_mobile": plan.crystal.n_atoms,
            "n_barrier": len(slab.numbers),
            "barrier_counts": plan.barrier_counts,
            "box_A": self.edges_A.tolist(),
            "barrier_asked_A": asked_A,
            "barrier_A": thickness_A,
            "removed_crystal_A": plan.removed_thickness_A,
            "crystal_density_g_cm3": plan.crystal.mass_amu() / crystal_A3 * AMU_PER_A3_IN_G_CM3,
            "barrier_density_g_cm3": barrier_amu / (area_A2 * thickness_A) * AMU_PER_A3_IN_G_CM3,
            "tiles": list(slab.tiles),
            "tile_strain": list(slab.strain),
            "min_distance_A": min(plan.crystal.contact_A(), self.seam.inside_A, self.seam.after_A),
            **self.seam.report(),
        }


def electrode_strip(spec: DeviceSpec, crystal: LayeredCrystal) -> Strip | None:
    """Return the contact of the electrode; None for a cell without one.

    Raises InputError if it is wider or higher than the crystal.
    """
    if isinstance(spec, CrossPointSpec):
        return None
    x_A, _, z_A = crystal.box_A
    width_A = x_A / 5 if spec.electrode.width_A is None else spec.electrode.width_A
    if width_A > x_A or spec.electrode.height_A > z_A:
        raise InputError(
            f"an electrode contact of {width_A:g} x {spec.electrode.height_A:g} Å is larger than the crystal, "
            f"{x_A:.1f} x {z_A:.1f} Å",
            "make its width_A or height_A smaller",
        )
    return (x_A - width_A) / 2, (x_A + width_A) / 2, spec.electrode.height_A


def mobile_chunks(crystal: LayeredCrystal, strip: Strip | None, sizes: LayerSizes) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the crystal's (atomic numbers, positions in Å) in the order of atom ids, and note `sizes` on the way.

    Atoms of the electrode's strip come first, so the layers that it reaches are held until all of them are made; whole
    layers follow. Raises InputError if the strip holds no atoms.
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
        raise InputError("no atom lies in the electrode's contact", "make its width_A or height_A larger")


def _strip_first(held: list[tuple[NDArray, NDArray]], strip: Strip | None) -> Iterator[tuple[NDArray, NDArray]]:
    for wanted in (True, False):
        for numbers, positions in held:
            assert strip is not None  # without one, nothing is held
            chosen = _in_strip(positions, strip) == wanted
            yield numbers[chosen], positions[chosen]


def _in_strip(positions: NDArray, strip: Strip) -> NDArray:
    return (positions[:, 0] >= strip[0]) & (positions[:, 0] < strip[1])
