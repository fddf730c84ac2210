"""Grains: connected crystal of one orientation on the tellurium sublattice, their sizes and misorientations.

Polyhedral template matching and grain segmentation are OVITO's. Its orphan adoption stays off: with it, one nucleus of
201 crystalline atoms became a grain of all 6,569 atoms of an amorphous cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.crystallinity import (
    ANION,
    OCTAHEDRON_REACH_A,
    RMSD_CUTOFF,
    anions_of,
    close_packed_matching,
    nearest_anions,
)
from gst_jobflow.analysis.neighbours import CellGrid, cell_grid
from gst_jobflow.base.errors import InputError

MIN_ANIONS = 100
"""Smallest grain in anions; OVITO's default, about 2.6 nm across in rock-salt GST."""
COUNTED_AT = (20, 50, 100, 200, 500)
"""Sizes in anions from which grains are counted."""
_NEEDED = 4
# beyond the second shell (1.41) of a close-packed lattice: between two grains lie anions that match no template
_ACROSS = 1.55


@dataclass(frozen=True)
class Grains:
    """Grains of one configuration, largest first.

    Attributes
    ----------
    label
        Shape (n,), grain of each atom from 1; 0 for atoms in no grain.
    n_anions, n_atoms
        Shape (g,): atoms of the close-packed sublattice, and all atoms.
    volume_A3
        Shape (g,): sum over the anions of d³/√2, with d the distance between neighbours that template matching fitted.
    orientation
        Shape (g, 4), quaternions (x, y, z, w) that turn the lattice to the sample.
    structure
        Shape (g,), "fcc" or "hcp".
    boundaries
        Rows (a, b, misorientation in degrees, shared anions) of touching grains a < b, shape (b, 4). An anion is shared
        if both grains are among itself and its neighbours out to the second shell. The angle is the smallest under
        cubic symmetry; NaN where one of the grains is not fcc.
    boundary_share
        Share of all anions that two or more grains share.
    counts
        Number of grains of at least so many anions, by size.
    merge_threshold
        Distance, a logarithm in OVITO's units, up to which its graph clustering merged.
    """

    label: NDArray
    n_anions: NDArray
    n_atoms: NDArray
    volume_A3: NDArray
    orientation: NDArray
    structure: NDArray
    boundaries: NDArray
    boundary_share: float
    counts: dict[int, int]
    merge_threshold: float

    @property
    def diameter_A(self) -> NDArray:
        """Diameter of the sphere of the same volume, shape (g,)."""
        return np.cbrt(6.0 * self.volume_A3 / np.pi)


def grains(
    atoms: Atoms,
    min_anions: int = MIN_ANIONS,
    rmsd_cutoff: float = RMSD_CUTOFF,
    anion: str = ANION,
    merge_threshold: float | None = None,
) -> Grains:
    """Return the grains of a configuration.

    Parameters
    ----------
    min_anions
        Smaller groups are no grains.
    rmsd_cutoff, anion
        As for `crystallinity`. Atoms of other elements join the grain of at least four of their six nearest anions.
    merge_threshold
        A fixed one for all frames; by default OVITO finds one for each. Below log2 of a grain's anions, and 1 more, a
        fixed one cuts the grain to pieces; from 14 on it merges grains that are turned by 3°.

    Raises
    ------
    InputError, DataError
        As `anions_of`, or there are fewer than `min_anions`.
    """
    is_anion = anions_of(atoms, anion)
    if min_anions < 1 or is_anion.sum() < min_anions:
        raise InputError(
            f"{is_anion.sum()} {anion} atoms are too few for a grain of {min_anions}", "lower the minimum grain size"
        )
    every = _segment(atoms[is_anion], min([min_anions, *COUNTED_AT]), rmsd_cutoff, merge_threshold)
    found = every.at_least(min_anions)
    across = _ACROSS * float(np.median(found.distance_A[found.own > 0])) if len(found.sizes) else 0.0
    grid = cell_grid(atoms, max(across, OCTAHEDRON_REACH_A), np.flatnonzero(is_anion))
    boundaries, boundary_share = _boundaries(grid, across, found)
    label = _whole(atoms, is_anion, found.own, grid)
    return Grains(
        label=label,
        n_anions=found.sizes,
        n_atoms=np.bincount(label, minlength=len(found.sizes) + 1)[1:],
        volume_A3=np.bincount(found.own, found.distance_A**3 / np.sqrt(2.0), len(found.sizes) + 1)[1:],
        orientation=found.orientation,
        structure=found.structure,
        boundaries=boundaries,
        boundary_share=boundary_share,
        counts={at: int((every.sizes >= at).sum()) for at in COUNTED_AT},
        merge_threshold=found.merge_threshold,
    )


def misorientation_deg(one: NDArray, other: NDArray) -> NDArray:
    """Return the smallest angle between cubic lattices of orientations (m, 4), quaternions (x, y, z, w); shape (m,)."""
    from scipy.spatial.transform import Rotation

    between = Rotation.from_quat(one).inv() * Rotation.from_quat(other)
    angles = [(between * symmetry).magnitude() for symmetry in Rotation.create_group("O")]
    return np.degrees(np.min(angles, axis=0))


class _Segments(NamedTuple):
    """What OVITO finds: grain of each anion from 1, largest first, and its neighbour distance; properties of grains."""

    own: NDArray
    distance_A: NDArray
    sizes: NDArray
    orientation: NDArray
    structure: NDArray
    merge_threshold: float

    def at_least(self, min_anions: int) -> _Segments:
        """Return the grains of at least so many anions, which come first."""
        n = int((self.sizes >= min_anions).sum())
        own = np.where(self.own <= n, self.own, 0)
        return _Segments(
            own, self.distance_A, self.sizes[:n], self.orientation[:n], self.structure[:n], self.merge_threshold
        )


def _segment(anions: Atoms, smallest: int, rmsd_cutoff: float, merge_threshold: float | None) -> _Segments:
    wrapped = anions.copy()
    wrapped.wrap()
    pipeline, _ = close_packed_matching(wrapped, rmsd_cutoff, output_orientation=True, output_interatomic_distance=True)
    from ovito.modifiers import GrainSegmentationModifier as Segmentation

    modifier = Segmentation(min_grain_size=smallest, orphan_adoption=False)
    if merge_threshold is not None:
        modifier.algorithm = Segmentation.Algorithm.GraphClusteringManual
        modifier.merging_threshold = merge_threshold
    pipeline.modifiers.append(modifier)
    data = pipeline.compute()
    table, own = data.tables["grains"], np.array(data.particles["Grain"])
    sizes = np.bincount(own, minlength=len(table["Grain Size"]) + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    rank = np.zeros(len(sizes) + 1, dtype=int)
    rank[order + 1] = np.arange(1, len(sizes) + 1)
    return _Segments(
        rank[own],
        np.array(data.particles["Interatomic Distance"]),
        sizes[order],
        np.array(table["Orientation"]).reshape(-1, 4)[order],
        np.where(np.array(table["Structure Type"])[order] == 1, "fcc", "hcp"),
        float(data.attributes.get("GrainSegmentation.auto_merge_threshold", merge_threshold)),
    )


def _whole(atoms: Atoms, is_anion: NDArray, own: NDArray, grid: CellGrid) -> NDArray:
    """Return the grain of every atom (n,) from that of the anions."""
    label = np.zeros(len(atoms), dtype=int)
    label[is_anion] = own
    others = np.flatnonzero(~is_anion)
    if len(others):
        near = nearest_anions(atoms, others, grid)
        around = np.where(near >= 0, own[near], 0)
        votes = (around[:, :, None] == around[:, None, :]).sum(axis=2) * (around > 0)
        best = votes.argmax(axis=1)[:, None]
        joins = np.take_along_axis(votes, best, axis=1)[:, 0] >= _NEEDED
        label[others] = np.where(joins, np.take_along_axis(around, best, axis=1)[:, 0], 0)
    return label


def _boundaries(grid: CellGrid, across_A: float, found: _Segments) -> tuple[NDArray, float]:
    """Return the rows of `Grains.boundaries`, and the share of anions that grains share."""
    from gst_jobflow.analysis.kernels import shared_atoms

    if len(found.sizes) < 2:
        return np.empty((0, 4)), 0.0
    touching, several = shared_atoms(grid, found.own, across_A)
    pairs, counts = np.unique(touching, axis=0, return_counts=True)
    a, b = pairs.T - 1
    angle = misorientation_deg(found.orientation[a], found.orientation[b]) if len(pairs) else np.empty(0)
    angle[(found.structure[a] != "fcc") | (found.structure[b] != "fcc")] = np.nan
    return np.column_stack([pairs, angle, counts]), several / len(found.own)
