"""LAMMPS data files (atomic style, metal units) from ASE structures and back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.errors import DataError, InputError

if TYPE_CHECKING:
    from ase import Atoms


def write_data(atoms: Atoms, path: str | Path, species_order: Sequence[str], velocities: bool = False) -> None:
    """Write a data file; atom i of `atoms` has id i + 1 and the type of its place in `species_order`.

    Parameters
    ----------
    atoms
        Periodic or not, with a cell that spans a volume. A cell that is not lower triangular is rotated as LAMMPS
        wants it: a along x, b in the xy plane, c above it; fractional coordinates stay (a left-handed cell is
        mirrored). Tilts are not reduced.
    path
        Written under a temporary name and renamed, so that a reader never sees half a file.
    species_order
        Elements in the order of ``pair_coeff``; all of them get a type and a mass, also those without atoms.
    velocities
        Whether to write velocities (Å/ps in the file).

    Raises
    ------
    InputError
        If an element has no place in `species_order`, a name comes twice, or the cell spans no volume.
    DataError
        If a position or velocity is not finite.
    """
    from ase import Atoms as CleanAtoms
    from ase.io.lammpsdata import write_lammps_data

    _check_writable(atoms, species_order)
    # only what belongs in the file: an array named "type" would override species_order in ASE
    plain = CleanAtoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if velocities:
        speeds = atoms.get_velocities()
        if not np.isfinite(speeds).all():
            raise DataError("a velocity is not finite", "draw velocities anew before writing them")
        plain.set_velocities(speeds)
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            write_lammps_data(
                file, plain, specorder=list(species_order), masses=True, velocities=velocities, units="metal"
            )
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a data file is for every reader of its folder
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_data(path: str | Path, species_order: Sequence[str]) -> Atoms:
    """Read a data file of atomic style and metal units, sorted by id; fully periodic.

    Positions are unwrapped by the image flags, where the file has them. Velocities are kept, where it has them.

    Raises
    ------
    InputError
        If the file is not there, or has a type without a place in `species_order`.
    DataError
        If the file cannot be read as a data file, or its masses are not those of `species_order`: the order is wrong.
    """
    from ase import Atoms as CleanAtoms
    from ase.data import atomic_masses, atomic_numbers
    from ase.io.lammpsdata import read_lammps_data

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no LAMMPS data file {path}", "check the path")
    numbers = {place: atomic_numbers[element] for place, element in enumerate(species_order, start=1)}
    try:
        raw = read_lammps_data(path, Z_of_type=numbers, sort_by_id=True, units="metal", atom_style="atomic")
    except KeyError as error:
        raise InputError(
            f"{path.name} has an atom type without an element: {error}", f"species given: {' '.join(species_order)}"
        ) from error
    # ASE stumbles with an UnboundLocalError over a file without atoms
    except (ValueError, IndexError, TypeError, RuntimeError, UnboundLocalError) as error:
        raise DataError(f"{path.name} is no LAMMPS data file of atomic style: {error}", "write it again") from error
    # 0.1 is far above rounding of masses and below the difference of any two elements used together here
    if np.abs(raw.get_masses() - atomic_masses[raw.numbers]).max(initial=0) > 0.1:
        raise DataError(
            f"the masses in {path.name} are not those of {' '.join(species_order)}",
            "give species_order as the file was written",
        )
    atoms = CleanAtoms(raw.numbers, positions=raw.positions, cell=raw.cell, pbc=True)
    if raw.has("momenta"):
        atoms.set_velocities(raw.get_velocities())
    return atoms


def _check_writable(atoms: Atoms, species_order: Sequence[str]) -> None:
    missing = sorted(set(atoms.symbols) - set(species_order))
    if missing:
        raise InputError(
            f"no atom type for {', '.join(missing)} in species_order {' '.join(species_order)}",
            "name every element of the structure, in the order of pair_coeff",
        )
    if len(set(species_order)) != len(species_order):
        raise InputError(f"species_order {' '.join(species_order)} names an element twice", "name each once")
    if atoms.cell.rank < 3:
        raise InputError("the structure has no cell that spans a volume", "set a cell before writing LAMMPS data")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError("a position or the cell is not finite", "do not write this structure")
