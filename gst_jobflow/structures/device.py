"""Cross-point device cells: a trigonal crystal with an amorphous heat barrier across the periodic boundary along z.

The reference paper (doi 10.1038/s41467-025-63732-4, Fig. 3) fixes such a slab to keep top and bottom of its cell apart.
Building one takes three steps: `plan_cross_point` says which atoms the barrier replaces, `barrier_spec` gives the
random start of the barrier (melted and quenched elsewhere with the potential of the study), `build_cross_point` joins
the two.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from gst_jobflow.errors import InputError
from gst_jobflow.strict import StrictModel
from gst_jobflow.structures.composition import format_formula
from gst_jobflow.structures.contacts import PairDistances, min_distance, push_apart, seam_distance
from gst_jobflow.structures.crystals import Repeat, trigonal, trigonal_counts, trigonal_phase
from gst_jobflow.structures.hard_sphere import HardSphereSpec, Positive

if TYPE_CHECKING:
    from ase import Atoms

_LOG = logging.getLogger(__name__)

_AMU_PER_A3_IN_G_CM3 = 1.66053906660
# a slab annealed with a barostat along z may come back this much thinner or thicker
_THICKNESS_SLACK = 0.15
# in Å; the slab must fit the crystal sideways
_LATERAL_SLACK_A = 0.01
# crystal deeper than the contact and this is out of reach of barrier atoms, which move by an Ångström or two
_SEAM_DEPTH_A = 5.0


class CrossPointSpec(StrictModel):
    """What a cross-point cell must be like.

    Attributes
    ----------
    formula
        A trigonal compound of `crystals.TRIGONAL_PHASES`.
    repeat
        Orthogonal cells along x, y, z before the barrier is put in; the paper's is (47, 27, 10).
    barrier_thickness_A
        Asked thickness in Å; the nearest whole number of blocks (or layers) is replaced.
    barrier_density_g_cm3
        Density of the barrier, by default that of amorphous GST; the cell grows along z by the difference. None keeps
        the crystal's volume, and so squeezes the barrier.
    cut
        ``block`` replaces whole van der Waals blocks: exact composition, seams in the gaps. ``layer`` cuts between any
        two layers, for thin barriers; the barrier then has the composition of the layers that it replaces.
    disorder
        See `crystals.trigonal`.
    lattice_scale
        Lattice parameters of the crystal relative to the measured ones: a potential learnt from another method has
        another equilibrium, and a cell that is off it is under pressure.
    min_contact_A
        Smallest distance across the seam; barrier atoms are moved until it is kept.
    seed
        Of cation disorder and of the barrier's random start.
    """

    formula: str = "Ge1Sb2Te4"
    repeat: Repeat
    barrier_thickness_A: Positive
    barrier_density_g_cm3: Positive | None = 5.9
    cut: Literal["block", "layer"] = "block"
    disorder: bool = False
    lattice_scale: float = Field(default=1.0, gt=0.8, lt=1.25)
    min_contact_A: Positive = 2.5
    seed: int = Field(default=0, ge=0)

    @field_validator("formula")
    @classmethod
    def _has_a_trigonal_phase(cls, formula: str) -> str:
        trigonal_phase(formula)
        return formula

    @field_validator("repeat")
    @classmethod
    def _is_a_supercell(cls, repeat: Repeat) -> Repeat:
        if min(repeat) < 1:
            raise ValueError("repeat needs three whole numbers of at least 1")
        return repeat


@dataclass(frozen=True)
class CrossPointPlan:
    """Where the barrier goes.

    Attributes
    ----------
    crystal
        The mobile part, its lowest boundary at z = 0; its cell is that of the mobile part alone.
    barrier_counts
        Atoms that the barrier has and the crystal gave up, by element.
    barrier_box_A
        Edges of the barrier in Å.
    removed_thickness_A
        What the removed crystal took along z, in Å.
    """

    crystal: Atoms
    barrier_counts: dict[str, int]
    barrier_box_A: tuple[float, float, float]
    removed_thickness_A: float


@dataclass(frozen=True)
class DeviceCell:
    """A cell ready for LAMMPS.

    Attributes
    ----------
    atoms
        Mobile atoms first, then the barrier; tags 0 and 1.
    groups
        ``mobile`` and ``barrier``: first and last atom id, from 1, both included.
    report
        Counts, box, densities, contacts, and how far barrier atoms were moved; plain numbers.
    """

    atoms: Atoms
    groups: dict[str, tuple[int, int]]
    report: dict[str, Any]


def cross_point_counts(spec: CrossPointSpec) -> dict[str, int]:
    """Return how many atoms of each element the finished cell has, without building it."""
    return trigonal_counts(spec.formula, spec.repeat)


def plan_cross_point(spec: CrossPointSpec) -> CrossPointPlan:
    """Build the crystal and take out, at its lower end, what the barrier replaces.

    Raises
    ------
    InputError
        If the barrier would leave no crystal, or ``block`` is asked of a phase without blocks.
    """
    crystal = trigonal(spec.formula, spec.repeat, disorder=spec.disorder, seed=spec.seed)
    crystal.set_cell(crystal.cell.array * spec.lattice_scale, scale_atoms=True)
    length_x, length_y, length_z = (float(x) for x in crystal.cell.lengths())
    if spec.barrier_thickness_A >= length_z:
        raise InputError(
            f"a barrier of {spec.barrier_thickness_A:g} Å does not fit into a cell of {length_z:.1f} Å along z",
            f"ask for less, or repeat the crystal more than {spec.repeat[2]} times along z",
        )
    cuts = _cuts(crystal, spec)
    if len(cuts) < 3:
        raise InputError(
            "the crystal has a single block along z: nothing would be left beside the barrier",
            "repeat it more along z, or use cut 'layer'",
        )
    thickness = _thicknesses(crystal, cuts, spec.barrier_density_g_cm3)
    # one cut at least is removed and one at least is left
    chosen = 1 + int(np.argmin(np.abs(thickness[1:-1] - spec.barrier_thickness_A)))
    if abs(thickness[chosen] / spec.barrier_thickness_A - 1) > _THICKNESS_SLACK:
        _LOG.warning(
            "barrier of %.1f Å asked, %.1f Å is the nearest that whole %ss give",
            spec.barrier_thickness_A,
            thickness[chosen],
            spec.cut,
        )
    removed = _height(crystal, cuts) < cuts[chosen]
    kept = crystal[~removed]
    kept.positions[:, 2] = _height(kept, cuts) - cuts[chosen]
    kept.set_cell([length_x, length_y, float(cuts[-1] - cuts[chosen])])
    counts = Counter(crystal[removed].get_chemical_symbols())
    return CrossPointPlan(
        crystal=kept,
        barrier_counts={element: counts[element] for element in sorted(counts)},
        barrier_box_A=(length_x, length_y, float(thickness[chosen])),
        removed_thickness_A=float(cuts[chosen] - cuts[0]),
    )


def barrier_spec(spec: CrossPointSpec) -> HardSphereSpec:
    """Return the random start of the barrier: the right cell, counts and density, to be melted and quenched.

    Raises
    ------
    InputError
        As `plan_cross_point`.
    """
    plan = plan_cross_point(spec)
    return HardSphereSpec(
        formula=format_formula(plan.barrier_counts),
        n_atoms=sum(plan.barrier_counts.values()),
        fixed_cell_A=plan.barrier_box_A,
        min_distance_A=spec.min_contact_A,
        seed=spec.seed,
    )


def build_cross_point(spec: CrossPointSpec, barrier: Atoms) -> DeviceCell:
    """Join crystal and barrier: the barrier lies half below the top and half above the bottom of the cell.

    Parameters
    ----------
    spec
        As given to `barrier_spec`.
    barrier
        The amorphous slab in its own periodic, orthogonal cell; the thickness may have changed by 15 %.

    Raises
    ------
    InputError
        As `plan_cross_point`, if the slab has other atoms or another cross-section than planned, or if the smallest
        contact across the seam cannot be reached by moving barrier atoms.
    """
    plan = plan_cross_point(spec)
    _check_barrier(barrier, plan)
    slab = _plain(barrier)
    slab.wrap()
    thickness_A = float(slab.cell.lengths()[2])
    cell_A = [*plan.barrier_box_A[:2], plan.crystal.cell.lengths()[2] + thickness_A]
    crystal = _plain(plan.crystal)
    crystal.positions[:, 2] += thickness_A / 2
    slab.positions[:, 2] -= thickness_A / 2
    atoms = crystal + slab
    atoms.set_cell(cell_A)
    n_mobile = len(crystal)
    is_barrier = np.arange(len(atoms)) >= n_mobile
    atoms.set_tags(is_barrier.astype(int))
    seam_report = _keep_contact(atoms, is_barrier, spec.min_contact_A)
    atoms.wrap()
    report = {
        "n_atoms": len(atoms),
        "n_mobile": n_mobile,
        "n_barrier": len(atoms) - n_mobile,
        "barrier_counts": plan.barrier_counts,
        "box_A": [float(x) for x in atoms.cell.lengths()],
        "barrier_asked_A": spec.barrier_thickness_A,
        "barrier_A": thickness_A,
        "removed_crystal_A": plan.removed_thickness_A,
        "crystal_density_g_cm3": _density(plan.crystal),
        "barrier_density_g_cm3": _density(slab),
        "min_distance_A": min_distance(atoms),
        **seam_report,
    }
    groups = {"mobile": (1, n_mobile), "barrier": (n_mobile + 1, len(atoms))}
    return DeviceCell(atoms=atoms, groups=groups, report=report)


def _cuts(crystal: Atoms, spec: CrossPointSpec) -> np.ndarray:
    """Return heights in Å, ascending, where the crystal may be cut: first and last are one period apart."""
    name, phase = trigonal_phase(spec.formula)
    length_A = float(crystal.cell.lengths()[2])
    if spec.cut == "block":
        if phase.blocks == 0:
            raise InputError(f"{name} has no van der Waals blocks to cut between", "use cut 'layer'")
        return np.linspace(0.0, length_A, phase.blocks * spec.repeat[2] + 1)
    # atoms of a layer share their height exactly but for rounding; layers are more than 1 Å apart
    heights = np.unique(np.round(crystal.positions[:, 2] % length_A, 3))
    heights = heights[np.diff(heights, prepend=-1.0) > 0.1]
    middle = (heights[:-1] + heights[1:]) / 2
    below = (heights[0] + heights[-1] - length_A) / 2
    return np.concatenate([[below], middle, [below + length_A]])


def _thicknesses(crystal: Atoms, cuts: np.ndarray, density_g_cm3: float | None) -> np.ndarray:
    """Return how thick, in Å, a barrier is that replaces the crystal below each cut; shape of `cuts`."""
    if density_g_cm3 is None:
        return cuts - cuts[0]
    length_x, length_y, _ = crystal.cell.lengths()
    section = np.searchsorted(cuts, _height(crystal, cuts), side="right")
    mass_below = np.cumsum(np.bincount(section, crystal.get_masses(), minlength=len(cuts)))
    return mass_below / (density_g_cm3 / _AMU_PER_A3_IN_G_CM3 * length_x * length_y)


def _height(crystal: Atoms, cuts: np.ndarray) -> np.ndarray:
    """Return z in Å of each atom, brought between the first and the last cut."""
    return cuts[0] + (crystal.positions[:, 2] - cuts[0]) % (cuts[-1] - cuts[0])


def _check_barrier(barrier: Atoms, plan: CrossPointPlan) -> None:
    counts = dict(Counter(barrier.get_chemical_symbols()))
    fix = "make the barrier from barrier_spec(spec) with the same spec"
    if counts != plan.barrier_counts:
        raise InputError(f"the barrier has {_words(counts)}, the crystal gave up {_words(plan.barrier_counts)}", fix)
    lengths = barrier.cell.lengths()
    planned = np.array(plan.barrier_box_A)
    if np.abs(barrier.cell.angles() - 90).max() > 1e-4:
        raise InputError("the barrier's cell has no right angles", fix)
    if np.abs(lengths - planned)[:2].max() > _LATERAL_SLACK_A:
        raise InputError(
            f"the barrier is {lengths[0]:.3f} x {lengths[1]:.3f} Å, the crystal {planned[0]:.3f} x {planned[1]:.3f} Å",
            fix,
        )
    if abs(lengths[2] / planned[2] - 1) > _THICKNESS_SLACK:
        raise InputError(f"the barrier is {lengths[2]:.2f} Å thick, planned were {planned[2]:.2f} Å", fix)
    if not np.isfinite(barrier.positions).all():
        raise InputError("the barrier has positions that are not finite", "look at how its quench ended")


def _keep_contact(atoms: Atoms, is_barrier: np.ndarray, min_contact_A: float) -> dict[str, Any]:
    """Move barrier atoms, in place, until the seam keeps `min_contact_A`; tell what that took."""
    before = seam_distance(atoms, is_barrier)
    start = atoms.positions.copy()
    inside = min_distance(atoms[is_barrier])
    if before < min_contact_A:
        # the crystal far from the seam plays no role and may be most of a large cell
        near = is_barrier | (_depth(atoms, is_barrier) < min_contact_A + _SEAM_DEPTH_A)
        seam = atoms[near]
        push_apart(seam, _seam_distances(is_barrier[near], min_contact_A, inside), movable=is_barrier[near])
        atoms.positions[near] = seam.positions
    after = seam_distance(atoms, is_barrier)
    moved_A = np.linalg.norm(atoms.positions - start, axis=1)
    if after < min_contact_A:
        raise InputError(
            f"barrier and crystal come as near as {after:.2f} Å, and moving barrier atoms does not give "
            f"{min_contact_A:g} Å",
            "ask for a smaller min_contact_A or a lower barrier_density_g_cm3",
        )
    if moved_A.max() > 0:
        _LOG.info("seam: %d barrier atoms moved by up to %.2f Å", int((moved_A > 1e-3).sum()), moved_A.max())
    return {
        "seam_contact_before_A": before,
        "seam_contact_A": after,
        "n_moved": int((moved_A > 1e-3).sum()),
        "longest_move_A": float(moved_A.max()),
    }


def _depth(atoms: Atoms, is_barrier: np.ndarray) -> np.ndarray:
    """Return how far each atom lies beyond the barrier's faces along z, in Å; negative inside."""
    length_A = atoms.cell.lengths()[2]
    from_boundary = np.abs((atoms.positions[:, 2] + length_A / 2) % length_A - length_A / 2)
    return from_boundary - from_boundary[is_barrier].max()


def _seam_distances(is_barrier: np.ndarray, contact_A: float, inside_A: float) -> PairDistances:
    """Return what to keep: `contact_A` across the seam, and inside the barrier no less than it or what is there."""
    allowed = PairDistances(np.where(is_barrier, "barrier", "crystal").tolist(), {}, contact_A)
    barrier, crystal = allowed.elements.index("barrier"), allowed.elements.index("crystal")
    # a little less than what is there, so that push_apart's margin of 0.1 % makes no new overlaps of it
    allowed.matrix_A[barrier, barrier] = min(contact_A, 0.998 * inside_A)
    allowed.matrix_A[crystal, crystal] = 0.01
    return allowed


def _plain(atoms: Atoms) -> Atoms:
    from ase import Atoms as PlainAtoms

    return PlainAtoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)


def _density(atoms: Atoms) -> float:
    return float(atoms.get_masses().sum() / atoms.get_volume() * _AMU_PER_A3_IN_G_CM3)


def _words(counts: dict[str, int]) -> str:
    return " ".join(f"{count} {element}" for element, count in sorted(counts.items())) or "no atoms"
