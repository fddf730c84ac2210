"""Hard-sphere random structures: random positions, then overlaps pushed apart.

This is what AIRSS `buildcell` does for structures without symmetry (Pickard and Needs, J. Phys. Condens. Matter 23,
053201 (2011)); the reference paper (doi 10.1038/s41467-025-63732-4) uses such cells for robustness and training.
"""

from __future__ import annotations

import logging
import math
from typing import Annotated, Literal

import numpy as np
from ase import Atoms
from ase.cell import Cell
from pydantic import AfterValidator, Field, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.structures.composition import Formula, Rounding, atom_counts
from gst_jobflow.structures.contacts import PairDistances, min_distance, pair_table, push_apart, scaled_min_distance
from gst_jobflow.structures.lattice import AMU_PER_A3_IN_G_CM3

_LOG = logging.getLogger(__name__)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Range = tuple[Positive, Positive]
Vector = tuple[float, float, float]


def _readable(pairs_A: dict[str, float]) -> dict[str, float]:
    pair_table(pairs_A)
    return pairs_A


DistancesByPair = Annotated[dict[str, float], AfterValidator(_readable)]
"""Field of a model that refuses what :func:`pair_table` cannot read."""

_ATTEMPTS = 3
# packing fractions tried after a failure to tell what would work; random packings of equal spheres jam near 0.64
_FRACTIONS_TRIED = (0.62, 0.59, 0.56, 0.53, 0.50)


class HardSphereSpec(StrictModel):
    """Specification of a hard-sphere random structure.

    Attributes
    ----------
    formula
        Composition; only its ratios count.
    n_atoms
        Atoms in the cell; the paper uses 6–40 for training and 1,000 for robustness.
    density_g_cm3, volume_per_atom_A3
        One number, or a range (low, high) to draw from; exactly one of these two and `fixed_cell_A` is given.
    fixed_cell_A
        The cell in Å: three lengths (orthorhombic), or three vectors.
    min_distances_A
        Smallest distance in Å by pair of elements, ``{"Ge-Te": 2.5}``.
    min_distance_A
        Smallest distance in Å of all other pairs; a range (low, high) to draw from for each structure. Pairs are pushed
        apart only as far as this, so the closest contact of a structure is about what was drawn.
    cell_shape
        Drawn anew for every structure: ``orthorhombic`` varies the ratios of the edges, ``triclinic`` also the angles.
    rounding
        See `composition.atom_counts`.
    seed
        With the index of the structure, all that randomness depends on.
    """

    formula: Formula
    n_atoms: int = Field(gt=0)
    density_g_cm3: Positive | Range | None = None
    volume_per_atom_A3: Positive | Range | None = None
    fixed_cell_A: Vector | tuple[Vector, Vector, Vector] | None = None
    min_distances_A: DistancesByPair = Field(default_factory=dict)
    min_distance_A: Positive | Range = 2.5
    cell_shape: Literal["cubic", "orthorhombic", "triclinic"] = "triclinic"
    rounding: Rounding = "exact"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> HardSphereSpec:
        sizes = {
            "density_g_cm3": self.density_g_cm3,
            "volume_per_atom_A3": self.volume_per_atom_A3,
            "fixed_cell_A": self.fixed_cell_A,
        }
        given = [name for name, value in sizes.items() if value is not None]
        if len(given) != 1:
            said = f"the size of the cell is given by {' and '.join(given)}" if given else "the cell has no size"
            raise UnfitValueError(said, f"give exactly one of {', '.join(sizes)}")
        if self.fixed_cell_A is not None and abs(np.linalg.det(_matrix(self.fixed_cell_A))) < 1e-6:
            raise UnfitValueError("fixed_cell_A has no volume", "give three lengths or independent vectors, Å")
        for name in (*given, "min_distance_A"):
            size = getattr(self, name)
            if name != "fixed_cell_A" and isinstance(size, tuple) and size[0] > size[1]:
                low, high = size[1], size[0]
                raise UnfitValueError(
                    f"{name} {high:g}-{low:g} is not a range from low to high", f"write {low:g}-{high:g}"
                )
        return self


def generate(spec: HardSphereSpec, index: int = 0) -> Atoms:
    """Make the structure of number `index`, from 0, which `spec` and `index` determine.

    It is periodic, wrapped, and grouped by element in the order of the formula; no pair (images included) is closer
    than specified.

    Raises
    ------
    InputError
        The composition is impossible, or the atoms do not fit: the message has the requested and the reached packing
        fraction, and a density that works.
    """
    counts = atom_counts(spec.formula, spec.n_atoms, spec.rounding)
    species = [element for element, count in counts.items() for _ in range(count)]
    allowed = PairDistances(species, spec.min_distances_A, _drawn_distance_A(spec, index))
    random = np.random.default_rng([spec.seed, index])
    best, best_ratio = Atoms(), -1.0
    for _ in range(_ATTEMPTS):
        atoms = _random_atoms(spec, species, allowed, random)
        steps = push_apart(atoms, allowed)
        atoms.wrap()
        ratio = scaled_min_distance(atoms, allowed)
        if ratio >= 1.0:
            _LOG.debug("%s: %d atoms packed in %d steps", spec.formula, len(atoms), steps)
            return atoms
        if ratio > best_ratio:
            best, best_ratio = atoms, ratio
    raise _cannot_be_packed(spec, best, allowed, best_ratio)


def _drawn_distance_A(spec: HardSphereSpec, index: int) -> float:
    """Return the smallest distance of a structure in Å, from a random stream of its own."""
    if not isinstance(spec.min_distance_A, tuple):
        return spec.min_distance_A
    return float(np.random.default_rng([spec.seed, index, 1]).uniform(*spec.min_distance_A))


def _random_atoms(
    spec: HardSphereSpec, species: list[str], allowed: PairDistances, random: np.random.Generator
) -> Atoms:
    """Draw density, cell and positions, with overlaps."""
    atoms = Atoms(species, pbc=True)
    if spec.fixed_cell_A is not None:
        cell = _matrix(spec.fixed_cell_A)
    else:
        volume_A3 = _draw_volume_A3(spec, float(atoms.get_masses().sum()), random)
        # pushing cannot part an atom from its own images: the cell must be large enough
        longest_A = float(np.diag(allowed.matrix_A).max())
        cell = _draw_cell(spec.cell_shape, volume_A3, longest_A, random)
    atoms.set_cell(cell)
    atoms.set_scaled_positions(random.random((len(atoms), 3)))
    return atoms


def _draw_volume_A3(spec: HardSphereSpec, mass_amu: float, random: np.random.Generator) -> float:
    size = spec.density_g_cm3 if spec.volume_per_atom_A3 is None else spec.volume_per_atom_A3
    assert size is not None  # the specification sees to it
    value = random.uniform(*size) if isinstance(size, tuple) else size
    if spec.volume_per_atom_A3 is None:
        return mass_amu * AMU_PER_A3_IN_G_CM3 / value
    return value * spec.n_atoms


def _draw_cell(
    shape: str, volume_A3: float, image_distance_A: float, random: np.random.Generator, draws: int = 200
) -> np.ndarray:
    """Draw a cell, shape (3, 3), with the given volume and lattice vectors of at least `image_distance_A`.

    Draws are mixed with a growing share of a cube, so that small cells end nearly cubic instead of failing.
    """
    cell = np.eye(3)
    for draw in range(draws if shape != "cubic" else 1):
        angles = random.uniform(60, 120, 3) if shape == "triclinic" else (90, 90, 90)
        lengths = np.exp(random.uniform(-0.35, 0.35, 3)) if shape != "cubic" else np.ones(3)
        cosines = np.cos(np.radians(angles))
        # squared volume of the unit parallelepiped; flat or impossible cells are drawn again
        squared = 1 - (cosines**2).sum() + 2 * cosines.prod()
        if squared < 0.25:
            continue
        drawn = Cell.fromcellpar([*lengths, *angles]).array
        cubic_share = draw / draws
        cell = (1 - cubic_share) * drawn + cubic_share * np.eye(3)
        cell *= (volume_A3 / abs(np.linalg.det(cell))) ** (1 / 3)
        if _shortest_image_A(cell) > image_distance_A:
            return cell
    return np.eye(3) * volume_A3 ** (1 / 3)


def _shortest_image_A(cell: np.ndarray) -> float:
    """Return the length in Å of the shortest lattice vector of `cell`, shape (3, 3)."""
    return min_distance(Atoms("X", cell=cell, pbc=True))


def _matrix(cell_A: Vector | tuple[Vector, Vector, Vector]) -> np.ndarray:
    cell = np.asarray(cell_A, float)
    return np.diag(cell) if cell.ndim == 1 else cell


def _cannot_be_packed(spec: HardSphereSpec, best: Atoms, allowed: PairDistances, ratio: float) -> InputError:
    """Return the error of a failed packing; `best` expanded by 1/`ratio` keeps all distances, so its density works."""
    volume_A3 = best.get_volume()
    ratio = _reached_ratio(best, allowed, ratio)
    asked = _packing_fraction(best, allowed)
    density = float(best.get_masses().sum()) / volume_A3 * AMU_PER_A3_IN_G_CM3
    way_out = f"ask for {0.99 * density * ratio**3:.2f} g/cm3 or less, or for smaller distances"
    if spec.fixed_cell_A is not None:
        way_out = f"use a cell with edges {1.004 / ratio:.2f} times as long, fewer atoms, or smaller distances"
    if _shortest_image_A(best.cell.array) < float(np.diag(allowed.matrix_A).max()):
        way_out += (
            "; the cell is shorter than the distance of an atom to its own image: widen it, or ask for more atoms"
        )
    return InputError(
        f"{len(best)} atoms of {spec.formula} cannot be packed at {density:.2f} g/cm3: sphere packing fraction asked "
        f"{asked:.3f}, reached {asked * ratio**3:.3f}",
        way_out,
    )


def _packing_fraction(atoms: Atoms, allowed: PairDistances) -> float:
    """Return the volume fraction of spheres whose diameter is the cubic mean of the smallest distances."""
    return math.pi / 6 * allowed.mean_cube_A3() * len(atoms) / atoms.get_volume()


def _reached_ratio(atoms: Atoms, allowed: PairDistances, ratio: float) -> float:
    """Return the factor by which all distances must shrink to fit, trying a few that random packings can reach."""
    asked = _packing_fraction(atoms, allowed)
    for fraction in _FRACTIONS_TRIED:
        factor = (fraction / asked) ** (1 / 3)
        if not ratio < factor < 1:
            continue
        trial = atoms.copy()
        push_apart(trial, allowed.scaled(factor))
        if scaled_min_distance(trial, allowed) >= factor:
            return factor
    return ratio
