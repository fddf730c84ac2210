"""Make the crystal of a device cell layer by layer, so that memory does not grow with its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.spec import CrossPointSpec, DeviceSpec, is_trigonal
from gst_jobflow.structures.composition import largest_remainder
from gst_jobflow.structures.contacts import min_distance
from gst_jobflow.structures.crystals import exchanged, moved_cations, rocksalt_edge_A, trigonal, trigonal_phase
from gst_jobflow.structures.material import VACANCY

# limit of numpy's hypergeometric draw
_LARGEST_POOL = 1_000_000_000


@dataclass(frozen=True)
class MotifLayer:
    """Atoms of one height in the crystal's repeated cell: height, positions (n, 2) in Å, atomic numbers (n,).

    `pools` (n,) are the pools that the sites draw their species from; -1 keeps its own.
    """

    z_A: float
    xy_A: NDArray
    numbers: NDArray
    pools: NDArray


@dataclass(frozen=True)
class LayeredCrystal:
    """Layers of a crystal between two cuts, `length_A` apart; the lower cut is at z = 0.

    `motif` holds the layers of one cell from the bottom up, `edges_A` its edges along x, y, z; `repeat_xy` counts cells
    along x and y. `first` and `last` (excluded) are the range of layers, counted over all cells along z; `z_shift_A`
    brings the lower cut to z = 0. `pools` hold the atoms of each atomic number, 0 for vacancies; `seed` is that of the
    draws from them.
    """

    motif: list[MotifLayer]
    edges_A: tuple[float, float, float]
    repeat_xy: tuple[int, int]
    first: int
    last: int
    z_shift_A: float
    length_A: float
    pools: list[dict[int, int]]
    seed: int

    @property
    def n_layers(self) -> int:
        return self.last - self.first

    @property
    def box_A(self) -> tuple[float, float, float]:
        """Edges of the crystal, Å."""
        return (self.edges_A[0] * self.repeat_xy[0], self.edges_A[1] * self.repeat_xy[1], self.length_A)

    @cached_property
    def counts(self) -> dict[int, int]:
        """Atoms by atomic number."""
        counts: Counter[int] = Counter()
        for index, cells in enumerate(self.cells_of_layers()):
            kept = self.motif[index].pools < 0
            for number in self.motif[index].numbers[kept]:
                counts[int(number)] += cells
        for pool in self.pools:
            counts.update(pool)
        return {number: count for number, count in sorted(counts.items()) if number and count}

    @property
    def n_atoms(self) -> int:
        return sum(self.counts.values())

    def height_A(self, layer: int) -> float:
        """Return the height of a layer, counted from 0, above the lower cut, Å."""
        cell, index = divmod(self.first + layer, len(self.motif))
        return self.motif[index].z_A + cell * self.edges_A[2] + self.z_shift_A

    def boundary_A(self, layer: int) -> float:
        """Return the lower boundary of a layer, half-way to the one below, Å; `n_layers` gives the upper cut."""
        if layer == 0:
            return 0.0
        if layer == self.n_layers:
            return self.length_A
        return (self.height_A(layer - 1) + self.height_A(layer)) / 2

    def layers(self) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield (atomic numbers (n,) uint8, positions (n, 3) in Å) layer by layer, cell by cell along x within one.

        Draws from the pools are without replacement, so all arrangements are equally likely and counts are exact.
        """
        left = [np.array(list(pool.values()), dtype=np.int64) for pool in self.pools]
        species = [np.array(list(pool), dtype=np.uint8) for pool in self.pools]
        grids = [self._grid(layer.xy_A) for layer in self.motif]
        cells = self.repeat_xy[0] * self.repeat_xy[1]
        for layer in range(self.n_layers):
            index = (self.first + layer) % len(self.motif)
            numbers = np.tile(self.motif[index].numbers.astype(np.uint8), cells)
            sites = np.tile(self.motif[index].pools, cells)
            random = np.random.default_rng([self.seed, layer])
            for pool in np.unique(sites[sites >= 0]):
                mine = sites == pool
                drawn = random.multivariate_hypergeometric(left[pool], int(mine.sum()))
                left[pool] = left[pool] - drawn
                numbers[mine] = random.permutation(np.repeat(species[pool], drawn))
            positions = np.empty((len(numbers), 3))
            positions[:, :2] = grids[index]
            positions[:, 2] = self.height_A(layer)
            filled = numbers != 0
            yield (numbers, positions) if filled.all() else (numbers[filled], positions[filled])

    def atoms(self) -> Atoms:
        """Return the crystal as ASE Atoms, in a cell of its own."""
        numbers, positions = zip(*self.layers(), strict=True)
        return Atoms(
            numbers=np.concatenate(numbers).astype(int), positions=np.concatenate(positions), cell=self.box_A, pbc=True
        )

    def contact_A(self) -> float:
        """Return the smallest distance between two sites, Å; vacancies count, since like sites are filled."""
        # one cell and the layer above it hold every pair of neighbouring layers
        n_seen = min(self.n_layers, len(self.motif) + 1)
        chosen = [self.motif[(self.first + layer) % len(self.motif)].xy_A for layer in range(n_seen)]
        heights = [np.full((len(xy_A), 1), self.height_A(layer)) for layer, xy_A in enumerate(chosen)]
        positions = np.hstack([np.concatenate(chosen), np.concatenate(heights)])
        cell = [*self.edges_A[:2], self.length_A]
        atoms = Atoms(numbers=np.ones(len(positions), int), positions=positions, cell=cell, pbc=(True, True, False))
        return min_distance(atoms.repeat([min(2, n) for n in self.repeat_xy] + [1]))

    def mass_amu(self) -> float:
        """Return the mass of all atoms."""
        return float(sum(atomic_masses[number] * count for number, count in self.counts.items()))

    def cells_of_layers(self) -> list[int]:
        """Return the number of cells of each layer of the motif."""
        whole, rest = divmod(self.n_layers, len(self.motif))
        times = [whole + ((index - self.first) % len(self.motif) < rest) for index in range(len(self.motif))]
        return [number * self.repeat_xy[0] * self.repeat_xy[1] for number in times]

    def _grid(self, xy_A: NDArray) -> NDArray:
        x = np.arange(self.repeat_xy[0])[:, None, None] * self.edges_A[0] + xy_A[None, None, :, 0]
        y = np.arange(self.repeat_xy[1])[None, :, None] * self.edges_A[1] + xy_A[None, None, :, 1]
        return np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class Cuts:
    """Allowed cuts of a crystal from the bottom up, one period: layers, height in Å and mass below each cut."""

    layers: NDArray
    heights_A: NDArray
    masses_amu: NDArray


def motif_of(spec: DeviceSpec) -> tuple[list[MotifLayer], tuple[float, float, float]]:
    """Return the layers of the crystal's repeated cell, and its edges in Å.

    Cation sites that exchange species draw from pools: 0 on sites of the first cation, 1 on those of the second;
    rock-salt has pool 0 only.
    """
    if is_trigonal(spec):
        assert isinstance(spec, CrossPointSpec)
        cell = trigonal(spec.formula, (1, 1, 1), material=spec.material)
        cell.set_cell(cell.cell.array * spec.lattice_scale, scale_atoms=True)
        edges = cell.cell.lengths()
        # keep the atoms of a face on one side of the cell in spite of rounding
        numbers, positions = cell.numbers, cell.positions % edges
        positions[edges - positions < 1e-6] = 0.0
        pools = np.full(len(cell), -1)
        if spec.disorder:
            for pool, cation in enumerate(exchanged(*trigonal_phase(spec.formula, spec.material), spec.material)):
                pools[cell.symbols == cation] = pool
    else:
        scale = spec.lattice_scale if isinstance(spec, CrossPointSpec) else 1.0
        lattice_A = (rocksalt_edge_A(spec.material) if isinstance(spec, CrossPointSpec) else spec.lattice_A) * scale
        anions = np.array([[0, 0, 0.25], [0.5, 0.5, 0.25], [0.5, 0, 0.75], [0, 0.5, 0.75]])
        cations = np.array([[0.5, 0, 0.25], [0, 0.5, 0.25], [0, 0, 0.75], [0.5, 0.5, 0.75]])
        positions = lattice_A * np.concatenate([anions, cations])
        numbers, pools = np.array([atomic_numbers[spec.material.anion]] * 4 + [0] * 4), np.array([-1] * 4 + [0] * 4)
        edges = np.full(3, lattice_A)
    # atoms of a layer share their height exactly but for rounding; layers are more than 1 Å apart
    order = np.argsort(positions[:, 2], kind="stable")
    starts = np.flatnonzero(np.diff(positions[order, 2], prepend=-1.0) > 0.1)
    layers = [
        MotifLayer(float(positions[members, 2].mean()), positions[members, :2], numbers[members], pools[members])
        for members in np.split(order, starts[1:])
    ]
    return layers, (float(edges[0]), float(edges[1]), float(edges[2]))


def cuts_of(spec: DeviceSpec) -> Cuts:
    """Return the allowed cuts of a cell's crystal; raises InputError if the phase has no blocks to cut between."""
    motif, edges_A = motif_of(spec)
    n_layers, length_A = len(motif) * spec.repeat[2], edges_A[2] * spec.repeat[2]
    heights = np.concatenate([[layer.z_A for layer in motif] + np.array(edges_A[2] * k) for k in range(spec.repeat[2])])
    below = (heights[0] + heights[-1] - length_A) / 2
    boundaries = np.concatenate([[below], (heights[:-1] + heights[1:]) / 2, [below + length_A]])
    masses = np.concatenate([[0.0], np.cumsum([_layer_mass_amu(spec, layer) for layer in motif] * spec.repeat[2])])
    chosen = np.arange(n_layers + 1)
    if is_trigonal(spec) and spec.cut == "block":  # type: ignore[union-attr]
        name, phase = trigonal_phase(spec.formula, spec.material)
        if phase.blocks == 0:
            raise InputError(f"{name} has no van der Waals blocks to cut between", "use cut 'layer'")
        chosen = chosen[:: len(motif) // phase.blocks]
    return Cuts(chosen, boundaries[chosen], masses[chosen] * spec.repeat[0] * spec.repeat[1])


def crystal_above(spec: DeviceSpec, n_removed: int, z_cut_A: float) -> LayeredCrystal:
    """Return the crystal above the lowest `n_removed` layers, cut at `z_cut_A`."""
    motif, edges_A = motif_of(spec)
    n_layers, length_A = len(motif) * spec.repeat[2], edges_A[2] * spec.repeat[2]
    first_below = cuts_of(spec).heights_A[0]
    bare = LayeredCrystal(
        motif=motif,
        edges_A=edges_A,
        repeat_xy=spec.repeat[:2],
        first=n_removed,
        last=n_layers,
        z_shift_A=-z_cut_A,
        length_A=float(first_below + length_A - z_cut_A),
        pools=[],
        seed=spec.seed,
    )
    pools = _pools(spec, bare)
    if any(sum(pool.values()) >= _LARGEST_POOL for pool in pools):
        raise InputError(
            f"more than {_LARGEST_POOL:,} sites to fill at random", "make a smaller cell and replicate it in LAMMPS"
        )
    return replace(bare, pools=pools)


def removed_counts(spec: DeviceSpec, n_removed: int) -> dict[str, int]:
    """Return the atoms by element of the lowest `n_removed` layers, which the barrier in their place gets."""
    motif, _ = motif_of(spec)
    cells = spec.repeat[0] * spec.repeat[1]
    if not is_trigonal(spec):
        taken, _ = _shared_cations(spec, n_removed)
        counts = {element: count for element, count in taken.items() if element != VACANCY}
        counts[spec.material.anion] = 2 * cells * n_removed
    else:
        found: Counter[str] = Counter()
        for layer in range(n_removed):
            for number in motif[layer % len(motif)].numbers:
                found[chemical_symbols[number]] += cells
        counts = dict(found)
    return {element: counts[element] for element in sorted(counts) if counts[element]}


def _pools(spec: DeviceSpec, bare: LayeredCrystal) -> list[dict[int, int]]:
    """Return the crystal's pools: those of the whole cell less the share of the barrier."""
    cells = bare.cells_of_layers()
    sites = [
        sum(int((layer.pools == pool).sum()) * number for layer, number in zip(bare.motif, cells, strict=True))
        for pool in range(2)
    ]
    if not is_trigonal(spec):
        _, left = _shared_cations(spec, bare.first)
        return [{atomic_numbers.get(kind, 0): count for kind, count in left.items()}]
    if not any(sites):
        return []
    name, phase = trigonal_phase(spec.formula, spec.material)
    first, second = (atomic_numbers[cation] for cation in exchanged(name, phase, spec.material))
    moved = moved_cations(sites[0], sites[1], phase.centre_share)
    return [{first: sites[0] - moved, second: moved}, {second: sites[1] - moved, first: moved}]


def _shared_cations(spec: DeviceSpec, n_removed: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the cations and vacancies of rock-salt in the removed layers, and in those that stay."""
    ratio = spec.material.cation_weights(spec.formula)
    cells = spec.repeat[0] * spec.repeat[1]
    whole = largest_remainder(ratio, 4 * cells * spec.repeat[2])
    taken = largest_remainder(ratio, 2 * cells * n_removed)
    # if few layers stay, rounding may ask for one more of a kind than exists
    for name in taken:
        while taken[name] > whole[name]:
            other = max(taken, key=lambda kind: whole[kind] - taken[kind])
            taken[name], taken[other] = taken[name] - 1, taken[other] + 1
    return taken, {name: whole[name] - taken[name] for name in whole}


def _layer_mass_amu(spec: DeviceSpec, layer: MotifLayer) -> float:
    """Return the mass of a layer in one cell; for rock-salt the mean."""
    if is_trigonal(spec):
        return float(atomic_masses[layer.numbers].sum())
    ratio = spec.material.cation_weights(spec.formula)
    # X, of number 0, has a mass in ASE's table
    masses = {kind: 0.0 if kind == VACANCY else atomic_masses[atomic_numbers[kind]] for kind in ratio}
    cation = sum(count * masses[kind] for kind, count in ratio.items()) / sum(ratio.values())
    n_anions = int((layer.pools < 0).sum())
    anion = atomic_masses[atomic_numbers[spec.material.anion]]
    return float(n_anions * anion + (len(layer.pools) - n_anions) * cation)
