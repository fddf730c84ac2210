"""Build reference crystals of a material: metastable rock-salt with cation disorder, and stable trigonal phases."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import get_duplicate_atoms

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.structures.composition import largest_remainder, parse_formula, reduced_formula
from gst_jobflow.structures.material import VACANCY, Material, default_material
from gst_jobflow.structures.trigonal import TrigonalPhase, unit_cell

Repeat = tuple[int, int, int]


def rocksalt_counts(formula: str, repeat: Repeat, material: Material | None = None) -> dict[str, int]:
    """Count atoms and vacancies of a rock-salt supercell.

    Parameters
    ----------
    formula
        A composition of crystals of the material, ``(GeTe)n(Sb2Te3)m`` for Ge-Sb-Te.
    repeat
        Number of cubic 8-site cells along x, y, z.
    material
        Its anion and cations; None: Ge-Sb-Te.

    Returns
    -------
    dict
        Cations, anion, ``vacancy``. The anion fills its sublattice; cations and vacancies share the other one, n : 2m :
        m for Ge-Sb-Te, with leftovers to the largest remainders.

    Raises
    ------
    InputError
        No rock salt of the material has the formula, or a repeat is below 1.
    """
    material = material or default_material()
    n_sites = 4 * _checked_repeat(repeat)
    shared = largest_remainder(material.cation_weights(formula), n_sites)
    return {**{element: shared[element] for element in material.cations}, material.anion: n_sites} | {
        VACANCY: shared[VACANCY]
    }


def rocksalt(
    formula: str, repeat: Repeat, a_A: float | None = None, seed: int = 0, material: Material | None = None
) -> Atoms:
    """Build a rock-salt supercell: the anion on one sublattice; cations and vacancies at random on the other.

    Its edges are `repeat` times `a_A`, the edge of the cubic cell in Å; None: the material's. Anions come first, then
    cations in lattice order, whose arrangement the seed decides. Raises as `rocksalt_counts`, or if `a_A` is unknown or
    not positive.
    """
    material = material or default_material()
    counts = rocksalt_counts(formula, repeat, material)
    a_A = rocksalt_edge_A(material) if a_A is None else a_A
    if not (np.isfinite(a_A) and a_A > 0):
        raise InputError(f"the lattice parameter is {a_A} Å", "give a positive number, about 6 Å for a telluride")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in repeat), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fcc = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    anions = (corners + fcc).reshape(-1, 3)
    cations = anions + np.array([0, 0, 0.5])
    cations[:, 2] %= repeat[2]
    kinds = [*material.cations, VACANCY]
    species = np.repeat([*material.cations, ""], [counts[kind] for kind in kinds])
    species = np.random.default_rng(seed).permutation(species)
    filled = species != ""
    symbols = [material.anion] * len(anions) + species[filled].tolist()
    positions = a_A * np.concatenate([anions, cations[filled]])
    return Atoms(symbols, positions=positions, cell=a_A * np.asarray(repeat, float), pbc=True)


def rocksalt_edge_A(material: Material) -> float:
    """Return the edge of the material's cubic cell, Å; raises InputError if its file gives none."""
    if material.rocksalt_A is None:
        raise InputError(f"{material.name} has no rock salt", "add rocksalt_A to the material, or give the lattice")
    return material.rocksalt_A


def trigonal_counts(
    compound: str, repeat: Repeat, orthogonal: bool = True, material: Material | None = None
) -> dict[str, int]:
    """Count the atoms of a trigonal supercell; the orthogonal cell is twice the hexagonal one.

    Raises InputError if the material has no trigonal phase of the compound, its sites do not build it, or a repeat is
    below 1.
    """
    name, phase = trigonal_phase(compound, material)
    cells = (2 if orthogonal else 1) * _checked_repeat(repeat)
    unit = parse_formula(unit_cell(name, phase).get_chemical_formula())
    return {element: unit[element] * cells for element in parse_formula(name)}


def trigonal_phase(compound: str, material: Material | None = None) -> tuple[str, TrigonalPhase]:
    """Return name and data of a trigonal compound; raises InputError if it is unknown."""
    material = material or default_material()
    name = reduced_formula(parse_formula(compound))
    if name not in material.trigonal:
        fix = nearest(name, material.trigonal) if material.trigonal else "add it under trigonal to the material"
        raise InputError(f"no trigonal phase of {compound} is known here", fix)
    return name, material.trigonal[name]


def trigonal(
    compound: str,
    repeat: Repeat,
    orthogonal: bool = True,
    disorder: bool = False,
    seed: int = 0,
    material: Material | None = None,
) -> Atoms:
    """Build a trigonal crystal with c along z and, if the phase has blocks, a van der Waals gap at z = 0.

    Parameters
    ----------
    compound
        A trigonal phase of the material: ``Ge1Sb2Te4``, ``Ge2Sb2Te5``, ``Sb2Te3`` or ``GeTe`` of Ge-Sb-Te.
    repeat
        Number of cells along x, y, z.
    orthogonal
        Whether the cell is a × √3 a × c with right angles, or the hexagonal one.
    disorder
        Whether part of the two cations exchange layers, with exact counts. Diffraction finds mixed layers, in which Ge
        prefers the middle of the block (Matsunaga and Yamada 2004); `centre_share` of the phase stays there.
    material
        Its trigonal phases; None: those of Ge-Sb-Te.

    Raises
    ------
    InputError
        As `trigonal_counts`, or disorder is requested where `exchanged` finds none.
    """
    material = material or default_material()
    name, phase = trigonal_phase(compound, material)
    _checked_repeat(repeat)
    cations = exchanged(name, phase, material) if disorder else None
    atoms = unit_cell(name, phase)
    if orthogonal:
        atoms = _with_right_angles(atoms)
    atoms.wrap(eps=1e-6)
    atoms = atoms.repeat([int(n) for n in repeat])
    if cations:
        _exchange_cations(atoms, cations, phase.centre_share, seed)
    return atoms


def _with_right_angles(hexagonal: Atoms) -> Atoms:
    """Return the cell a × √3 a × c of twice as many atoms."""
    from ase.build import make_supercell

    atoms = make_supercell(hexagonal, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    # exact right angles give LAMMPS an orthogonal box
    atoms.set_cell(np.diag(np.diag(atoms.cell.array)))
    return atoms


def exchanged(compound: str, phase: TrigonalPhase, material: Material) -> tuple[str, str]:
    """Return the two cations that exchange layers in a disordered phase.

    Raises InputError if it has not two kinds, or all of the first one stay.
    """
    present = {element for element, _ in phase.sites}
    cations = [element for element in material.cations if element in present]
    if len(cations) != 2:
        number = "one kind of cation" if len(cations) == 1 else f"{len(cations)} kinds of cations"
        raise InputError(f"{compound} has {number}: disorder exchanges two", "leave disorder out")
    if phase.centre_share == 1.0:
        raise InputError(
            f"all {cations[0]} of {compound} keeps its layers: nothing to disorder",
            f"set trigonal.{compound}.centre_share of the material below 1, or leave disorder out",
        )
    return cations[0], cations[1]


def trigonal_primitive(compound: str, repeat: Repeat, material: Material | None = None) -> Atoms:
    """Build a rhombohedrally centred phase on its primitive cell: two hexagonal vectors and (2/3, 1/3, 1/3).

    The third vector is inclined: n × n × 1 cells have few atoms and distant images, as the Gamma point needs. Raises as
    `trigonal_counts` and `check_centred`.
    """
    check_centred(compound, material)
    _checked_repeat(repeat)
    atoms = trigonal(compound, (1, 1, 1), orthogonal=False, material=material)
    atoms.set_cell(np.array([[1, 0, 0], [0, 1, 0], [2 / 3, 1 / 3, 1 / 3]]) @ atoms.cell.array)
    atoms.wrap(eps=1e-6)
    get_duplicate_atoms(atoms, cutoff=0.1, delete=True)
    return atoms.repeat([int(n) for n in repeat])


def check_centred(compound: str, material: Material | None = None) -> None:
    """Refuse a trigonal phase that has no smaller cell than the hexagonal one; raises InputError."""
    name, phase = trigonal_phase(compound, material)
    if phase.spacegroup not in (160, 166):
        raise InputError(f"{name} is not rhombohedrally centred: its hexagonal cell is primitive", "use trigonal()")


def moved_cations(n_first: int, n_second: int, centre_share: float) -> int:
    """Return how many of the first cation change places with the second in a disordered phase.

    `centre_share` of the first stay, or more if there are too few of the second.
    """
    return min(n_first - round(centre_share * n_first), n_second)


def _exchange_cations(atoms: Atoms, cations: tuple[str, str], share_kept: float, seed: int) -> None:
    """Exchange two cations at random, in place, as `moved_cations` says."""
    first, second = (np.flatnonzero(atoms.symbols == element) for element in cations)
    moved = moved_cations(len(first), len(second), share_kept)
    random = np.random.default_rng(seed)
    to_second = random.choice(first, moved, replace=False)
    to_first = random.choice(second, moved, replace=False)
    atoms.numbers[to_second], atoms.numbers[to_first] = atoms.numbers[second[0]], atoms.numbers[first[0]]


def _checked_repeat(repeat: Repeat) -> int:
    """Return the number of cells, or raise InputError."""
    if len(repeat) != 3 or any(int(n) != n or n < 1 for n in repeat):
        raise InputError(f"repeat {tuple(repeat)} is not a supercell", "give three whole numbers of at least 1")
    return int(np.prod([int(n) for n in repeat], dtype=object))
