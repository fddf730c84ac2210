"""Plan the amorphous heat barrier of a device cell: what to melt and quench, and how to tile it to size."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.plan import DevicePlan, plan_device
from gst_jobflow.devices.cell.spec import MIN_CONTACT_A, OVERLAP_A, DeviceSpec, Floors
from gst_jobflow.structures.composition import format_formula
from gst_jobflow.structures.contacts import closest_contact
from gst_jobflow.structures.hard_sphere import HardSphereSpec

# a slab may come this much thinner or thicker out of an anneal with a barostat along z
_THICKNESS_SLACK = 0.15
# largest lateral strain of a tile; its volume is kept
_LATERAL_SLACK = 0.10
# largest difference of an element's share from what the barrier needs
_SHARE_SLACK = 0.03
# narrower tiles repeat themselves within the cutoff of the longest potentials
_NARROWEST_TILE_A = 20.0


@dataclass(frozen=True)
class Tiling:
    """How a barrier is cut: tiles along x, y, z; atoms of one tile by element; edges of one tile in Å."""

    tiles: tuple[int, int, int]
    counts: dict[str, int]
    box_A: tuple[float, float, float]


@dataclass(frozen=True)
class Slab:
    """A barrier that fits its cell: atomic numbers (n,) and positions (n, 3) in Å, within `box_A` from the origin.

    `tiles` counts the blocks along x, y, z that it was cut from, `strain` is their lateral strain along x and y.
    """

    numbers: NDArray
    positions: NDArray
    box_A: tuple[float, float, float]
    tiles: tuple[int, int, int]
    strain: tuple[float, float]


def barrier_spec(spec: DeviceSpec) -> HardSphereSpec:
    """Return the random start of the melt-quench: the barrier, or one tile of a large one.

    Raises as `plan.plan_device`.
    """
    tiling = barrier_tiling(spec)
    return HardSphereSpec(
        formula=format_formula(tiling.counts),
        n_atoms=sum(tiling.counts.values()),
        fixed_cell_A=tiling.box_A,
        min_distance_A=Floors.of(spec.min_contact_A).other,
        seed=spec.seed,
    )


def barrier_tiling(spec: DeviceSpec) -> Tiling:
    """Return the tiles of a cell's barrier; one tile up to `spec.block_atoms` atoms.

    Of the numbers of tiles that leave each wide enough, prefer those that divide the atoms of every element, then the
    tile nearest to a square. If none divides, a tile has a few atoms too many, which `fit_barrier` leaves out. Raises
    as `plan.plan_device`.
    """
    plan = plan_device(spec)
    counts, box_A = plan.barrier_counts, plan.barrier_box_A
    n_atoms = sum(counts.values())
    if n_atoms <= spec.block_atoms:
        return Tiling((1, 1, 1), counts, box_A)
    choices = []
    for n_x in range(1, max(1, int(box_A[0] / _NARROWEST_TILE_A)) + 1):
        for n_y in range(1, max(1, int(box_A[1] / _NARROWEST_TILE_A)) + 1):
            size = n_atoms / (n_x * n_y)
            uneven = any(count % (n_x * n_y) for count in counts.values())
            oblong = abs(math.log(box_A[0] * n_y / (n_x * box_A[1])))
            # tiles without a remainder may be half as large again
            allowed = size <= (1.0 if uneven else 1.5) * spec.block_atoms
            choices.append((not allowed, size if not allowed else 0.0, uneven, oblong - 0.2 * math.log(size), n_x, n_y))
    *_, n_x, n_y = min(choices)
    per_tile = {element: -(-count // (n_x * n_y)) for element, count in counts.items()}
    grown = sum(per_tile.values()) * n_x * n_y / n_atoms
    return Tiling((n_x, n_y, 1), per_tile, (box_A[0] / n_x, box_A[1] / n_y, box_A[2] * grown))


def fit_barrier(block: Atoms, plan: DevicePlan, min_contact_A: float = MIN_CONTACT_A) -> Slab:
    """Tile a block of amorphous material to the barrier of a cell, with exactly the atoms that it needs.

    Repeat the block, strain it sideways at constant volume until a whole number of tiles fits, and cut it along z where
    each element has its atoms; no atom changes its element.

    Parameters
    ----------
    block
        Amorphous material in its own periodic, orthogonal cell: that of `barrier_spec` after its melt-quench, or any
        other of about the composition.
    min_contact_A
        Of the cell; matters only below `spec.OVERLAP_A`.

    Raises
    ------
    InputError
        The block has another composition or no right angles, does not fit sideways, would give a barrier more than
        15 % thinner or thicker than planned, or has atoms that overlap, also where tiles meet.
    """
    _check_block(block, plan)
    n_x, n_y, scale = _lateral_fit(block, plan)
    in_block = Counter(block.get_chemical_symbols())
    n_z = max(-(-count // (n_x * n_y * in_block[element])) for element, count in plan.barrier_counts.items())
    n_atoms = sum(plan.barrier_counts.values())
    thickness_A = float(block.cell.lengths()[2] * scale[2] * n_atoms / (len(block) * n_x * n_y))
    planned_A = plan.barrier_box_A[2]
    if abs(thickness_A / planned_A - 1) > _THICKNESS_SLACK:
        raise InputError(
            f"the block has another density: the barrier would be {thickness_A:.2f} Å thick, not {planned_A:.2f} Å",
            "set barrier_density_g_cm3 to that of the block, or make the block anew from barrier_spec(spec)",
        )
    _check_overlap(block, scale, n_z > 1, min(OVERLAP_A, min_contact_A))
    numbers, positions = _tiled(block, (n_x, n_y, n_z), scale)
    numbers, positions = _lowest_of_each(numbers, positions, plan.barrier_counts)
    return Slab(
        numbers=numbers,
        positions=positions,
        box_A=(*plan.barrier_box_A[:2], thickness_A),
        tiles=(n_x, n_y, n_z),
        strain=(float(scale[0] - 1), float(scale[1] - 1)),
    )


def _lateral_fit(block: Atoms, plan: DevicePlan) -> tuple[int, int, NDArray]:
    """Return the number of tiles along x and y, and the stretch along x, y, z (3,) at constant volume."""
    edges, need = block.cell.lengths()[:2], np.array(plan.barrier_box_A[:2])
    tiles = np.maximum(1, np.round(need / edges).astype(int))
    stretch = need / (tiles * edges)
    if (strain := np.abs(stretch - 1).max()) > _LATERAL_SLACK:
        raise InputError(
            f"tiles of {edges[0]:.1f} x {edges[1]:.1f} Å do not fit {need[0]:.1f} x {need[1]:.1f} Å: "
            f"a strain of {100 * strain:.0f} %",
            "make the barrier from barrier_spec(spec), or take a block whose edges divide those of the cell",
        )
    return int(tiles[0]), int(tiles[1]), np.array([*stretch, 1 / stretch.prod()])


def _tiled(block: Atoms, tiles: tuple[int, int, int], scale: NDArray) -> tuple[NDArray, NDArray]:
    """Wrap, strain and repeat a block; return (numbers, positions in Å)."""
    edges = block.cell.lengths() * scale
    inside = (block.positions * scale) % edges
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in tiles), indexing="ij"), axis=-1).reshape(-1, 3) * edges
    positions = (steps[:, None, :] + inside[None, :, :]).reshape(-1, 3)
    return np.tile(block.numbers.astype(np.uint8), len(steps)), positions


def _check_overlap(block: Atoms, scale: NDArray, stacked: bool, floor_A: float) -> None:
    """Refuse a strained block whose atoms overlap; its top meets its bottom only if tiles are stacked."""
    tile = block.copy()
    tile.set_cell(block.cell.array * scale, scale_atoms=True)
    tile.pbc = (True, True, stacked)
    tile.positions %= tile.cell.lengths()
    closest = closest_contact(tile, floor_A)
    if closest is None:
        return
    where = "where its tiles meet" if closest.across_boundary else "inside it"
    raise InputError(
        f"the barrier's own atoms overlap: {'-'.join(closest.elements)} {closest.distance_A:.2f} Å apart {where}, "
        f"{floor_A:g} Å is the smallest allowed distance",
        "relax it in its own periodic cell, or give other material; the potential that made it may lack short "
        "distances in its training data",
    )


def _lowest_of_each(numbers: NDArray, positions: NDArray, counts: dict[str, int]) -> tuple[NDArray, NDArray]:
    """Keep `counts` atoms of each element, from the bottom up."""
    if len(numbers) == sum(counts.values()):
        return numbers, positions
    kept = np.zeros(len(numbers), bool)
    for element, count in counts.items():
        mine = np.flatnonzero(numbers == atomic_numbers[element])
        kept[mine[np.argsort(positions[mine, 2], kind="stable")[:count]]] = True
    return numbers[kept], positions[kept]


def _check_block(block: Atoms, plan: DevicePlan) -> None:
    counts, need = Counter(block.get_chemical_symbols()), plan.barrier_counts
    n_atoms, n_need = len(block), sum(need.values())
    fix = "make the barrier from barrier_spec(spec) with the same spec"
    off = max(abs(counts[name] / max(n_atoms, 1) - need.get(name, 0) / n_need) for name in {*counts, *need})
    if off > _SHARE_SLACK or set(counts) != set(need) or (n_atoms == n_need and counts != need):
        raise InputError(f"the barrier has {_words(counts)}, the crystal gave up {_words(need)}", fix)
    if block.cell.rank < 3 or np.abs(block.cell.angles() - 90).max() > 1e-4:
        raise InputError("the barrier's cell has no right angles", fix)
    if not np.allclose(block.cell.array, np.diag(block.cell.lengths()), atol=1e-6):
        raise InputError("the barrier's cell does not lie along x, y and z", "rotate the block")
    if not np.isfinite(block.positions).all():
        raise InputError("the barrier has positions that are not finite", "check how its quench ended")


def _words(counts: dict[str, int]) -> str:
    return " ".join(f"{count} {element}" for element, count in sorted(counts.items())) or "no atoms"
