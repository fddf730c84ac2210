"""Describe a trigonal compound, and build its unit cell from space group and sites."""

from __future__ import annotations

from functools import cache

from ase import Atoms
from pydantic import ConfigDict, Field

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.structures.composition import parse_formula, reduced_formula


class TrigonalPhase(StrictModel):
    """A trigonal compound in the hexagonal setting."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    spacegroup: int = Field(ge=143, le=167, description="Space group number")
    a_A: float = Field(gt=0, description="Lattice parameter a, Å")
    c_A: float = Field(gt=0, description="Lattice parameter c, Å")
    sites: tuple[tuple[str, tuple[float, float, float]], ...] = Field(
        min_length=1, description="Element and fractional coordinates of the independent atoms"
    )
    blocks: int = Field(ge=0, description="Van der Waals bonded blocks in one cell along c; 0 without gaps")
    gap_shift: float = Field(description="Fraction of c by which sites are shifted to put a gap at z = 0")
    centre_share: float = Field(
        1.0, gt=0, le=1, description="Share of the first cation that keeps its layers in the disordered phase"
    )
    source: str = Field("", description="Where the numbers come from")


def unit_cell(compound: str, phase: TrigonalPhase) -> Atoms:
    """Return the hexagonal cell of a phase, with a gap at z = 0 if it has one.

    Raises InputError if the sites do not build `compound`, two coincide, or the blocks do not divide the atoms.
    """
    return _unit_cell(compound, phase).copy()


@cache
def _unit_cell(compound: str, phase: TrigonalPhase) -> Atoms:
    from ase.spacegroup import crystal
    from ase.spacegroup.spacegroup import SpacegroupValueError

    where = f"trigonal.{compound}"
    try:
        atoms = crystal(
            [element for element, _ in phase.sites],
            [site for _, site in phase.sites],
            spacegroup=phase.spacegroup,
            cellpar=[phase.a_A, phase.a_A, phase.c_A, 90, 90, 120],
            onduplicates="error",
        )
    except SpacegroupValueError as err:
        raise InputError(
            f"{where}: two of its sites are one place in space group {phase.spacegroup}", "name every site once"
        ) from err
    built = reduced_formula(parse_formula(atoms.get_chemical_formula()))
    if built != compound:
        raise InputError(
            f"{where}: its sites build {atoms.get_chemical_formula()}, which is {built}",
            f"correct sites or space group {phase.spacegroup}, or name it {built}",
        )
    if phase.blocks and len(atoms) % phase.blocks:
        raise InputError(
            f"{where}: {phase.blocks} blocks cannot share {len(atoms)} atoms", "correct blocks; 0: no gaps"
        )
    atoms = Atoms(atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell, pbc=True)
    atoms.positions[:, 2] += phase.gap_shift * phase.c_A
    return atoms
