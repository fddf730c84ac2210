"""Build crystals of the GeTe–Sb2Te3 line: metastable rock-salt with cation disorder, and stable trigonal phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.structures.composition import (
    largest_remainder,
    parse_formula,
    reduced_formula,
    tie_line_units,
)

if TYPE_CHECKING:
    from ase import Atoms

Repeat = tuple[int, int, int]

# Metastable Ge2Sb2Te5 at room temperature: Nonaka et al., Thin Solid Films 370, 258 (2000). The other compositions of
# the line differ by about 1 %.
ROCKSALT_A = 6.03


@dataclass(frozen=True)
class TrigonalPhase:
    """A trigonal compound in the hexagonal setting.

    Attributes
    ----------
    spacegroup
        Space group number.
    a_A, c_A
        Lattice parameters in Å.
    sites
        Element and fractional coordinates of the independent atoms.
    blocks
        Van der Waals bonded blocks in one cell along c; 0 without gaps.
    gap_shift
        Fraction of c by which sites are shifted to put a gap at z = 0.
    centre_share
        Share of Ge that keeps its layers in the disordered phase.
    """

    spacegroup: int
    a_A: float
    c_A: float
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    blocks: int
    gap_shift: float
    centre_share: float = 1.0


_THIRD, _TWO_THIRDS = 1 / 3, 2 / 3

TRIGONAL_PHASES = {
    # Te–Sb–Te–Ge–Te–Sb–Te. Coordinates: Agaev and Semiletov, Sov. Phys. Crystallogr. 10, 86 (1965), AFLOW prototype
    # AB2C4_hR7_166_a_c_2c-002; lattice parameters: Matsunaga and Yamada, Phys. Rev. B 69, 104111 (2004).
    "Ge1Sb2Te4": TrigonalPhase(
        spacegroup=166,
        a_A=4.2721,
        c_A=41.686,
        sites=(("Ge", (0, 0, 0)), ("Sb", (0, 0, 0.427)), ("Te", (0, 0, 0.133)), ("Te", (0, 0, 0.290))),
        blocks=3,
        gap_shift=1 / 6,
        centre_share=0.5,
    ),
    # Te–Sb–Te–Ge–Te–Ge–Te–Sb–Te: order of Kooi and De Hosson, J. Appl. Phys. 92, 3584 (2002); parameters of Matsunaga,
    # Yamada and Kubota, Acta Cryst. B 60, 685 (2004).
    "Ge2Sb2Te5": TrigonalPhase(
        spacegroup=164,
        a_A=4.2247,
        c_A=17.2391,
        sites=(
            ("Te", (0, 0, 0)),
            ("Ge", (_TWO_THIRDS, _THIRD, 0.1061)),
            ("Te", (_THIRD, _TWO_THIRDS, 0.2065)),
            ("Sb", (0, 0, 0.3265)),
            ("Te", (_TWO_THIRDS, _THIRD, 0.4173)),
        ),
        blocks=1,
        gap_shift=1 / 2,
        centre_share=0.6,
    ),
    # Anderson and Krause, Acta Cryst. B 30, 1307 (1974).
    "Sb2Te3": TrigonalPhase(
        spacegroup=166,
        a_A=4.264,
        c_A=30.458,
        sites=(("Sb", (0, 0, 0.3988)), ("Te", (0, 0, 0)), ("Te", (0, 0, 0.2128))),
        blocks=3,
        gap_shift=1 / 6,
    ),
    # Room-temperature ferroelectric phase: Chattopadhyay, Boucherle and von Schnering, J. Phys. C 20, 1431 (1987).
    "GeTe": TrigonalPhase(
        spacegroup=160,
        a_A=4.164,
        c_A=10.690,
        sites=(("Ge", (0, 0, 0.2366)), ("Te", (0, 0, -0.2366))),
        blocks=0,
        gap_shift=0.2366,
    ),
}


def rocksalt_counts(formula: str, repeat: Repeat) -> dict[str, int]:
    """Count atoms and vacancies of a rock-salt supercell.

    Parameters
    ----------
    formula
        A composition ``(GeTe)n(Sb2Te3)m`` of the line.
    repeat
        Number of cubic 8-site cells along x, y, z.

    Returns
    -------
    dict
        ``Ge, Sb, Te, vacancy``. Te fills its sublattice; Ge, Sb and vacancies share the other one as n : 2m : m, with
        leftovers to the largest remainders.

    Raises
    ------
    InputError
        The formula is off the line, or a repeat is below 1.
    """
    n_gete, n_sb2te3 = tie_line_units(formula)
    n_sites = 4 * _checked_repeat(repeat)
    cations = largest_remainder({"Ge": n_gete, "Sb": 2 * n_sb2te3, "vacancy": n_sb2te3}, n_sites)
    return {"Ge": cations["Ge"], "Sb": cations["Sb"], "Te": n_sites, "vacancy": cations["vacancy"]}


def rocksalt(formula: str, repeat: Repeat, a_A: float = ROCKSALT_A, seed: int = 0) -> Atoms:
    """Build a rock-salt supercell: Te on one sublattice; Ge, Sb and vacancies at random on the other.

    Parameters
    ----------
    formula, repeat
        See `rocksalt_counts`.
    a_A
        Edge of the cubic cell in Å.
    seed
        Seed of the cation arrangement.

    Returns
    -------
    ase.Atoms
        Periodic, edges `repeat` times `a_A`; Te first, then cations in lattice order.

    Raises
    ------
    InputError
        As `rocksalt_counts`, or the lattice parameter is not positive.
    """
    from ase import Atoms

    counts = rocksalt_counts(formula, repeat)
    if not (np.isfinite(a_A) and a_A > 0):
        raise InputError(f"the lattice parameter is {a_A} Å", "give a positive number, about 6 Å for GST")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in repeat), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fcc = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    anions = (corners + fcc).reshape(-1, 3)
    cations = anions + np.array([0, 0, 0.5])
    cations[:, 2] %= repeat[2]
    species = np.repeat(["Ge", "Sb", ""], [counts["Ge"], counts["Sb"], counts["vacancy"]])
    species = np.random.default_rng(seed).permutation(species)
    filled = species != ""
    symbols = ["Te"] * len(anions) + species[filled].tolist()
    positions = a_A * np.concatenate([anions, cations[filled]])
    return Atoms(symbols, positions=positions, cell=a_A * np.asarray(repeat, float), pbc=True)


def trigonal_counts(compound: str, repeat: Repeat, orthogonal: bool = True) -> dict[str, int]:
    """Count the atoms of a trigonal supercell; the orthogonal cell is twice the hexagonal one.

    Raises
    ------
    InputError
        The compound is not in `TRIGONAL_PHASES`, or a repeat is below 1.
    """
    name, phase = trigonal_phase(compound)
    unit = parse_formula(name)
    # formula units in the hexagonal cell: one in each block, three in rhombohedrally centred GeTe
    units = (phase.blocks or 3) * (2 if orthogonal else 1) * _checked_repeat(repeat)
    return {element: count * units for element, count in unit.items()}


def trigonal_phase(compound: str) -> tuple[str, TrigonalPhase]:
    """Return name and data of a trigonal compound; raises InputError if it is unknown."""
    name = reduced_formula(parse_formula(compound))
    if name not in TRIGONAL_PHASES:
        raise InputError(f"no trigonal phase of {compound} is known here", nearest(name, TRIGONAL_PHASES))
    return name, TRIGONAL_PHASES[name]


def trigonal(compound: str, repeat: Repeat, orthogonal: bool = True, disorder: bool = False, seed: int = 0) -> Atoms:
    """Build a trigonal crystal with c along z and, if the phase has blocks, a van der Waals gap at z = 0.

    Parameters
    ----------
    compound
        ``Ge1Sb2Te4``, ``Ge2Sb2Te5``, ``Sb2Te3`` or ``GeTe``.
    repeat
        Number of cells along x, y, z.
    orthogonal
        Whether the cell is a × √3 a × c with right angles, or the hexagonal one.
    disorder
        Whether part of Ge and Sb exchange layers, with exact counts. Diffraction finds mixed layers, in which Ge
        prefers the middle of the block (Matsunaga and Yamada 2004). We keep half of Ge there in Ge1Sb2Te4 and 0.6 in
        Ge2Sb2Te5, round numbers above the 1/3 and 1/2 of random mixing.
    seed
        Seed of the disorder.

    Raises
    ------
    InputError
        As `trigonal_counts`, or disorder is requested of a compound with one kind of cation.
    """
    from ase import Atoms
    from ase.build import make_supercell
    from ase.spacegroup import crystal

    name, phase = trigonal_phase(compound)
    _checked_repeat(repeat)
    if disorder and phase.centre_share == 1.0:
        raise InputError(f"{name} has one kind of cation: nothing to disorder", "leave disorder out")
    atoms = crystal(
        [element for element, _ in phase.sites],
        [site for _, site in phase.sites],
        spacegroup=phase.spacegroup,
        cellpar=[phase.a_A, phase.a_A, phase.c_A, 90, 90, 120],
        onduplicates="error",
    )
    atoms = Atoms(atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell, pbc=True)
    atoms.positions[:, 2] += phase.gap_shift * phase.c_A
    if orthogonal:
        atoms = make_supercell(atoms, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
        # exact right angles give LAMMPS an orthogonal box
        atoms.set_cell(np.diag(np.diag(atoms.cell.array)))
    atoms.wrap(eps=1e-6)
    atoms = atoms.repeat([int(n) for n in repeat])
    if disorder:
        _exchange_cations(atoms, phase.centre_share, seed)
    return atoms


def trigonal_primitive(compound: str, repeat: Repeat) -> Atoms:
    """Build a rhombohedrally centred phase on its primitive cell: two hexagonal vectors and (2/3, 1/3, 1/3).

    The third vector is inclined: n × n × 1 cells have few atoms and distant images, as the Gamma point needs.

    Raises
    ------
    InputError
        As `trigonal_counts`, or the phase is not centred.
    """
    from ase.geometry import get_duplicate_atoms

    name, phase = trigonal_phase(compound)
    _checked_repeat(repeat)
    if phase.spacegroup not in (160, 166):
        raise InputError(f"{name} is not rhombohedrally centred: its hexagonal cell is primitive", "use trigonal()")
    atoms = trigonal(compound, (1, 1, 1), orthogonal=False)
    atoms.set_cell(np.array([[1, 0, 0], [0, 1, 0], [_TWO_THIRDS, _THIRD, _THIRD]]) @ atoms.cell.array)
    atoms.wrap(eps=1e-6)
    get_duplicate_atoms(atoms, cutoff=0.1, delete=True)
    return atoms.repeat([int(n) for n in repeat])


def _exchange_cations(atoms: Atoms, share_kept: float, seed: int) -> None:
    """Exchange, in place, Ge and Sb at random so that `share_kept` of Ge stays in place."""
    ge, sb = (np.flatnonzero(atoms.symbols == element) for element in ("Ge", "Sb"))
    moved = len(ge) - round(share_kept * len(ge))
    random = np.random.default_rng(seed)
    to_sb = random.choice(ge, moved, replace=False)
    to_ge = random.choice(sb, moved, replace=False)
    atoms.numbers[to_sb], atoms.numbers[to_ge] = atoms.numbers[sb[0]], atoms.numbers[ge[0]]


def _checked_repeat(repeat: Repeat) -> int:
    """Return the number of cells, or raise InputError."""
    if len(repeat) != 3 or any(int(n) != n or n < 1 for n in repeat):
        raise InputError(f"repeat {tuple(repeat)} is not a supercell", "give three whole numbers of at least 1")
    return int(np.prod([int(n) for n in repeat], dtype=object))
