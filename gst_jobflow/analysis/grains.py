"""Grains: connected crystal of one orientation on the tellurium sublattice, their sizes and misorientations.

Polyhedral template matching and grain segmentation are OVITO's. Its orphan adoption stays off: with it, one nucleus of
201 crystalline atoms became a grain of all 6,569 atoms of an amorphous cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.analysis.crystallinity import ANION, RMSD_CUTOFF, anions_of, close_packed_matching, nearest_anions
from gst_jobflow.base.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

MIN_ANIONS = 100
"""Smallest grain in anions; OVITO's default, about 2.6 nm across in rock-salt GST."""
COUNTED_AT = (20, 50, 100, 200, 500)
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
        Number of grains of at least so many anions, each time with the segmentation at `min_anions`.
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

    @property
    def diameter_A(self) -> NDArray:
        """Diameter of the sphere of the same volume, shape (g,)."""
        return np.cbrt(6.0 * self.volume_A3 / np.pi)


def grains(
    atoms: Atoms,
    min_anions: int = MIN_ANIONS,
    rmsd_cutoff: float = RMSD_CUTOFF,
    anion: str = ANION,
    counted_at: Sequence[int] = COUNTED_AT,
) -> Grains:
    """Return the grains of a configuration.

    Parameters
    ----------
    atoms
        Configuration; periodic along the axes that say so.
    min_anions
        Smaller groups are no grains.
    rmsd_cutoff
        Largest deviation from a template, as for `crystallinity`.
    anion
        Element of the close-packed sublattice. Atoms of other elements join the grain of most of their six nearest
        anions if at least four of the six belong to it.
    counted_at
        Sizes in anions from which grains are counted; those below `min_anions` are left out.

    Raises
    ------
    InputError
        There are no anions, or fewer than `min_anions`.
    DataError
        A position is not finite.
    """
    is_anion = anions_of(atoms, anion)
    if min_anions < 1 or is_anion.sum() < min_anions:
        raise InputError(
            f"{is_anion.sum()} {anion} atoms are too few for a grain of {min_anions}", "lower the minimum grain size"
        )
    anions = atoms[is_anion]
    particles, table = _segment(anions, min_anions, rmsd_cutoff)
    found = np.array(table["Grain Size"]).size
    sizes = np.bincount(particles["Grain"], minlength=found + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    rank = np.zeros(found + 1, dtype=int)
    rank[order + 1] = np.arange(1, found + 1)
    own = rank[particles["Grain"]]
    volume = np.bincount(own, particles["Interatomic Distance"] ** 3 / np.sqrt(2.0), found + 1)[1:]
    orientation = np.array(table["Orientation"]).reshape(-1, 4)[order]
    structure = np.where(np.array(table["Structure Type"])[order] == 1, "fcc", "hcp")
    label = _whole(atoms, is_anion, own)
    shared = _reached(anions, particles["Interatomic Distance"], own, found)
    return Grains(
        label=label,
        n_anions=sizes[order],
        n_atoms=np.bincount(label, minlength=found + 1)[1:],
        volume_A3=volume,
        orientation=orientation,
        structure=structure,
        boundaries=_boundaries(shared, orientation, structure),
        boundary_share=float((np.asarray(shared.sum(axis=1)) > 1).mean()),
        counts={at: int((sizes >= at).sum()) for at in counted_at if at >= min_anions},
    )


def misorientation_deg(one: NDArray, other: NDArray) -> NDArray:
    """Return the smallest angle between cubic lattices of orientations (m, 4), quaternions (x, y, z, w); shape (m,)."""
    from scipy.spatial.transform import Rotation

    between = Rotation.from_quat(one).inv() * Rotation.from_quat(other)
    angles = [(between * symmetry).magnitude() for symmetry in Rotation.create_group("O")]
    return np.degrees(np.min(angles, axis=0))


def _segment(anions: Atoms, min_anions: int, rmsd_cutoff: float) -> tuple[dict[str, NDArray], Any]:
    wrapped = anions.copy()
    wrapped.wrap()
    pipeline, _ = close_packed_matching(wrapped, rmsd_cutoff, output_orientation=True, output_interatomic_distance=True)
    from ovito.modifiers import GrainSegmentationModifier as Segmentation

    pipeline.modifiers.append(Segmentation(min_grain_size=min_anions, orphan_adoption=False))
    data = pipeline.compute()
    particles = {name: np.array(data.particles[name]) for name in ("Grain", "Interatomic Distance")}
    return particles, data.tables["grains"]


def _whole(atoms: Atoms, is_anion: NDArray, own: NDArray) -> NDArray:
    """Return the grain of every atom (n,) from that of the anions."""
    label = np.zeros(len(atoms), dtype=int)
    label[is_anion] = own
    others = np.flatnonzero(~is_anion)
    if len(others):
        near = nearest_anions(atoms, others, np.flatnonzero(is_anion))
        around = np.where(near >= 0, own[near], 0)
        votes = (around[:, :, None] == around[:, None, :]).sum(axis=2) * (around > 0)
        best = votes.argmax(axis=1)[:, None]
        joins = np.take_along_axis(votes, best, axis=1)[:, 0] >= _NEEDED
        label[others] = np.where(joins, np.take_along_axis(around, best, axis=1)[:, 0], 0)
    return label


def _reached(anions: Atoms, distance: NDArray, own: NDArray, n_grains: int) -> csr_array:
    """Return which grains each anion or its neighbours belong to, ones in a sparse matrix (anions, grains)."""
    from matscipy.neighbours import neighbour_list
    from scipy.sparse import csr_array

    first = second = np.arange(len(own))
    if n_grains > 1:
        around = neighbour_list("ij", anions, _ACROSS * float(np.median(distance[own > 0])))
        first, second = np.append(first, around[0]), np.append(second, around[1])
    inside = own[second] > 0
    pairs = np.unique(np.stack([first[inside], own[second[inside]] - 1], axis=1), axis=0)
    return csr_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(own), n_grains))


def _boundaries(shared: csr_array, orientation: NDArray, structure: NDArray) -> NDArray:
    between = (shared.T @ shared).tocoo()
    forward = between.row < between.col
    if not forward.any():
        return np.empty((0, 4))
    a, b = between.row[forward], between.col[forward]
    angle = misorientation_deg(orientation[a], orientation[b])
    angle[(structure[a] != "fcc") | (structure[b] != "fcc")] = np.nan
    return np.column_stack([a + 1, b + 1, angle, between.data[forward]])
