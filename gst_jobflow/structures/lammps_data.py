"""Write and read LAMMPS data files (atomic style, metal units)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DataError, InputError

ATOM_LINE = 71
"""Bytes of one line of `atom_lines` with its line end: id, type, and x, y, z with 8 decimals."""


def write_data(atoms: Atoms, path: str | Path, species_order: Sequence[str], velocities: bool = False) -> None:
    """Write a data file; atom i of `atoms` has id i + 1 and the type of its place in `species_order`.

    Parameters
    ----------
    atoms
        Structure with a cell that spans a volume. Other cells than lower triangular ones are rotated for LAMMPS: a
        along x, b in the xy plane, c above it; fractional coordinates stay, and a left-handed cell is mirrored.
    path
        File, replaced in one step.
    species_order
        Elements in the order of ``pair_coeff``; each gets a type and a mass, with or without atoms.
    velocities
        Whether to write velocities (Å/ps in the file).

    Raises
    ------
    InputError
        An element is not in `species_order` or twice there, or the cell spans no volume.
    DataError
        A position or velocity is not finite.
    """
    from ase.io.lammpsdata import write_lammps_data

    _check_writable(atoms, species_order)
    # without extra arrays: one named "type" would override species_order in ASE
    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if velocities:
        speeds = atoms.get_velocities()
        if not np.isfinite(speeds).all():
            raise DataError("a velocity is not finite", "draw velocities anew before writing them")
        plain.set_velocities(speeds)
    with replacing(Path(path)) as part, part.open("w", encoding="ascii") as file:
        write_lammps_data(file, plain, specorder=list(species_order), masses=True, velocities=velocities, units="metal")


def data_header(n_atoms: int, box_A: Sequence[float], species_order: Sequence[str], comment: str = "") -> bytes:
    """Return the start of a data file: an orthogonal box from 0 to `box_A`, and masses."""
    lines = [
        comment or "LAMMPS data",
        "",
        f"{n_atoms} atoms",
        f"{len(species_order)} atom types",
        "",
        *(f"0.0 {float(edge)!r} {axis}lo {axis}hi" for edge, axis in zip(box_A, "xyz", strict=True)),
        "",
        "Masses",
        "",
        *(f"{place} {atomic_masses[atomic_numbers[name]]} # {name}" for place, name in enumerate(species_order, 1)),
        "",
        "Atoms # atomic",
        "",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def atom_lines(first_id: int, types: NDArray, positions: NDArray) -> NDArray:
    """Return lines of atoms of a data file as bytes, shape (n, `ATOM_LINE`); ids count up from `first_id`.

    `types` (n,) are from 1 to 99. Positions (n, 3) in Å are written to 1e-8 Å; DataError is raised if one is not
    finite, negative, or beyond 1 cm.
    """
    if not (np.isfinite(positions).all() and positions.min(initial=0.0) >= 0 and positions.max(initial=0.0) < 1e8):
        raise DataError("a position is not finite or outside of the box", "check how the structure was made")
    lines = np.full((len(types), ATOM_LINE), ord(" "), np.uint8)
    _write_whole(lines[:, :12], np.arange(first_id, first_id + len(types)))
    _write_whole(lines[:, 12:16], types.astype(np.int64))
    for axis in range(3):
        start = 16 + 18 * axis
        whole, fraction = np.divmod(np.rint(positions[:, axis] * 1e8).astype(np.int64), 10**8)
        _write_whole(lines[:, start + 1 : start + 9], whole)
        lines[:, start + 9] = ord(".")
        digits = _four_digits()
        lines[:, start + 10 : start + 14] = digits[fraction // 10_000]
        lines[:, start + 14 : start + 18] = digits[fraction % 10_000]
    lines[:, -1] = ord("\n")
    return lines


def _write_whole(field: NDArray, values: NDArray) -> None:
    """Write whole numbers, shape (n,), right-aligned into blank text, shape (n, a multiple of 4)."""
    digits, padded = _four_digits(), _four_digits(blank=True)
    for end in range(field.shape[1], 0, -4):
        above, four = np.divmod(values, 10_000)
        field[:, end - 4 : end] = np.where((above > 0)[:, None], digits[four], padded[four])
        if end < field.shape[1]:
            # leading blanks instead of a leading 0
            field[values == 0, end - 4 : end] = ord(" ")
        values = above
        if not values.any():
            return


@cache
def _four_digits(blank: bool = False) -> NDArray:
    """Return 0 to 9999 as text, shape (10000, 4) bytes, padded with 0 or blanks."""
    text = "".join(f"{number:4d}" if blank else f"{number:04d}" for number in range(10_000))
    return np.frombuffer(text.encode("ascii"), np.uint8).reshape(-1, 4)


def stated_units(title: str) -> str:
    """Return the units that the first line of a data file states, as LAMMPS writes it; empty if it states none."""
    found = re.search(r"\bunits\s*=\s*(\w+)", title)
    return found[1] if found else ""


def read_data(path: str | Path, species_order: Sequence[str]) -> Atoms:
    """Read a data file of atomic style and metal units as a periodic structure sorted by id.

    Positions are unwrapped by image flags, and velocities are kept, if the file has them.

    Raises
    ------
    InputError
        The file is missing, states other units, or has a type beyond `species_order`.
    DataError
        The file is no data file, or its masses contradict `species_order`.
    """
    from ase.io.lammpsdata import read_lammps_data

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no LAMMPS data file {path}", "check the path")
    with path.open(encoding="utf-8", errors="replace") as file:
        units = stated_units(file.readline())
    # ASE 3.29 does not look: velocities in Å/fs would be taken for Å/ps
    if units not in ("", "metal"):
        raise InputError(f"{path.name} is in units {units}", "write it in metal units (LAMMPS: units metal)")
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
    # 0.1 u is far above rounding of masses and below the difference of any two elements used together here
    if np.abs(raw.get_masses() - atomic_masses[raw.numbers]).max(initial=0) > 0.1:
        raise DataError(
            f"the masses in {path.name} are not those of {' '.join(species_order)}",
            "give species_order as the file was written",
        )
    atoms = Atoms(raw.numbers, positions=raw.positions, cell=raw.cell, pbc=True)
    if raw.has("momenta"):
        atoms.set_velocities(raw.get_velocities())
    return atoms


def check_species_order(elements: Iterable[str], species_order: Sequence[str]) -> None:
    """Refuse an order that lacks one of `elements`, knows an unknown one or names one twice; raises InputError."""
    if unknown := [element for element in species_order if element not in atomic_numbers]:
        raise InputError(f"no element '{unknown[0]}'", "element symbols in the order of pair_coeff, such as Ge,Sb,Te")
    if len(set(species_order)) != len(species_order):
        raise InputError(f"{' '.join(species_order)} names an element twice", "name each once")
    if missing := sorted(set(elements) - set(species_order)):
        raise InputError(
            f"no atom type for {', '.join(missing)} among {' '.join(species_order)}",
            "name every element of the structure, in the order of pair_coeff",
        )


def _check_writable(atoms: Atoms, species_order: Sequence[str]) -> None:
    check_species_order(atoms.symbols, species_order)
    if atoms.cell.rank < 3:
        raise InputError("the structure has no cell that spans a volume", "set a cell before writing LAMMPS data")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError("a position or the cell is not finite", "check how the structure was made")
