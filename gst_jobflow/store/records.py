"""Records of the files that people keep structures in, one at a time: a file is never held in memory.

The extended XYZ reader cuts a file into frames itself and gives ASE one frame each: ASE's own reader goes through the
whole file first and yields nothing of a file whose last frame is cut.
"""

from __future__ import annotations

import gzip
import io
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from gst_jobflow.errors import DataError, InputError

if TYPE_CHECKING:
    from ase import Atoms

_MOST_ATOMS = 10_000_000
"""A damaged count must not make us read a whole file as one frame."""


@dataclass(frozen=True)
class Record:
    """One structure of a file, or why it cannot be read.

    Parameters
    ----------
    file
        Where it is from.
    index
        Its place in the file, from 0.
    atoms
        The structure as ASE reads it; None with `problem`.
    problem
        Why it cannot be read.
    """

    file: Path
    index: int
    atoms: Atoms | None = None
    problem: str = ""


@dataclass(frozen=True)
class Computed:
    """What a record says of energy (eV), forces (eV/Å, shape (N, 3)) and stress (eV/Å³, Voigt, tension positive)."""

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: list[float] | None


def read_records(file: Path) -> Iterator[Record]:
    """Stream the records of a file; a damaged end is the last record, with its problem.

    Raises
    ------
    InputError
        The file is not there or of a kind that is not known.
    """
    return _reader(file)(file)


def _reader(file: Path) -> Callable[[Path], Iterator[Record]]:
    if not file.is_file():
        raise InputError(f"{file} is not a file", "name the files that hold the structures")
    name = file.name.removesuffix(".gz")
    if name.endswith((".xyz", ".extxyz")):
        return _extxyz
    if file.suffix == ".db":
        return _ase_db
    raise InputError(f"{file}: a kind of file that is not known", "extended XYZ (.xyz, .extxyz, .gz) or ASE .db")


def check_files(files: list[Path]) -> None:
    """Raise InputError for a file that is not there or not known, before anything of the others is read."""
    for file in files:
        _reader(file)


def _extxyz(file: Path) -> Iterator[Record]:
    opener = gzip.open if file.suffix == ".gz" else open
    index = 0
    try:
        with opener(file, "rt", encoding="utf-8") as stream:
            while True:
                frame = _next_frame(stream)
                if frame is None:
                    return
                yield _parse(file, index, frame)
                index += 1
    except DataError as err:
        yield Record(file, index, problem=err.message)
    except (EOFError, OSError, UnicodeDecodeError) as err:
        yield Record(file, index, problem=f"the file cannot be read on: {err}")


def _next_frame(stream: TextIO) -> str | None:
    """The text of the next frame, or None at the end.

    Raises
    ------
    DataError
        The file is cut, or no frame begins here: without a count of atoms the next frame cannot be found.
    """
    first = stream.readline()
    while first.isspace():
        first = stream.readline()
    if not first:
        return None
    if not first.strip().isdecimal():
        raise DataError(f"a count of atoms was expected, not '{first.strip()[:40]}'; the rest of the file is not read")
    count = int(first)
    if count > _MOST_ATOMS:
        raise DataError(f"{count} atoms in one frame are more than {_MOST_ATOMS}; the rest of the file is not read")
    lines = list(islice(stream, count + 1))
    if len(lines) < count + 1:
        raise DataError(f"truncated: {max(len(lines) - 1, 0)} of {count} atoms")
    if not lines[-1].endswith("\n"):
        # 0.12 of a 0.1234 is a number too
        raise DataError("truncated: the last line has no end, so its last number may be cut")
    return "".join((first, *lines))


def _parse(file: Path, index: int, frame: str) -> Record:
    from ase.io.extxyz import read_xyz

    try:
        atoms = _plain_frame(frame)
        return Record(file, index, atoms=next(read_xyz(io.StringIO(frame), index=0)) if atoms is None else atoms)
    except KeyError as err:
        # ASE looks symbols and properties up
        return Record(file, index, problem=f"unknown element or property {err}")
    except (ValueError, TypeError, IndexError, AttributeError, AssertionError, OSError) as err:
        text = str(err).splitlines()[0] if str(err) else type(err).__name__
        return Record(file, index, problem=f"not extended XYZ: {text}")


def _plain_frame(frame: str) -> Atoms | None:
    """The frame as ASE reads it, in a third of the time; None for what is not species, positions and forces only."""
    from ase import Atoms
    from ase.io.extxyz import key_val_str_to_dict, parse_properties, set_calc_and_arrays

    count, comment, body = frame.split("\n", 2)
    info = key_val_str_to_dict(comment.strip())
    if not isinstance(info.get("Properties"), str) or "Lattice" not in info:
        return None
    properties, names, _, converters = parse_properties(info.pop("Properties"))
    columns = [properties[name] for name in names]
    if columns[:2] != [("symbols", 1), ("positions", 3)] or columns[2:] not in ([], [("forces", 3)], [("force", 3)]):
        return None
    if converters[0] is not str or any(converter is not float for converter in converters[1:]):
        return None
    tokens = body.split()
    width = sum(size for _, size in columns)
    if len(tokens) != int(count) * width:
        return None  # ASE says what is wrong with it
    symbols = [symbol.capitalize() for symbol in tokens[::width]]
    del tokens[::width]
    values = np.fromiter(map(float, tokens), float, len(tokens)).reshape(-1, width - 1)
    pbc, cell = info.pop("pbc", [True, True, True]), info.pop("Lattice").T
    atoms = Atoms(symbols, positions=values[:, :3], cell=cell, pbc=pbc, info=info)
    set_calc_and_arrays(atoms, {columns[2][0]: values[:, 3:].copy()} if columns[2:] else {})
    return atoms


def _ase_db(file: Path) -> Iterator[Record]:
    from ase.db import connect

    index = 0
    try:
        for row in connect(file, type="db").select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            yield Record(file, index, atoms=atoms)
            index += 1
    except (sqlite3.DatabaseError, OSError, ValueError, KeyError) as err:
        yield Record(file, index, problem=f"the database cannot be read on: {err}")


def computed_of(atoms: Atoms) -> Computed | None:
    """Energy, forces and stress that came with a structure; None where it has neither energy nor forces.

    The energy is the free energy where there is one, for the forces are its derivative (with smeared occupations the
    energy extrapolated to no smearing is another). A stress in a column `virial` (eV, 3 × 3, -dE/dε as in QUIP and
    GST-GAP-22) becomes -virial / volume, ASE's sign. A single atom needs no forces, they are zero.

    Raises
    ------
    DataError
        One of energy and forces is missing, not a number, not finite, of a wrong shape; or virial and stress disagree.
    """
    found: dict[str, Any] = {**atoms.info, **(getattr(atoms.calc, "results", None) or {})}
    energy = found.get("free_energy", found.get("energy"))
    forces = found.get("forces", atoms.arrays.get("forces", atoms.arrays.get("force")))
    if energy is None and forces is None:
        return None
    if energy is None:
        raise DataError("forces without an energy")
    if forces is None:
        if len(atoms) != 1:
            raise DataError("an energy without forces")
        forces = np.zeros((1, 3))
    energy_eV = _numbers(energy, "energy", ())
    forces_eV_A = _numbers(forces, "forces", (len(atoms), 3))
    return Computed(float(energy_eV), forces_eV_A, _stress(atoms, found))


def _numbers(value: Any, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise DataError(f"{name} '{str(value)[:40]}' is not numbers") from err
    if array.shape not in shapes:
        raise DataError(f"{name} of shape {array.shape}, not {' or '.join(map(str, shapes))}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} not finite")
    return array


def _stress(atoms: Atoms, found: dict[str, Any]) -> list[float] | None:
    stresses = []
    if found.get("stress") is not None:
        stresses.append(_voigt(_numbers(found["stress"], "stress", (6,), (3, 3)), "stress"))
    if found.get("virial") is not None:
        stresses.append(_voigt(-_numbers(found["virial"], "virial", (3, 3)) / atoms.get_volume(), "virial"))
    if len(stresses) == 2 and not np.allclose(*stresses, rtol=1e-3, atol=1e-5):
        raise DataError("stress and virial disagree: the stress is -virial/volume")
    return stresses[0].tolist() if stresses else None


def _voigt(tensor: np.ndarray, name: str) -> np.ndarray:
    """xx, yy, zz, yz, xz, xy of a symmetric tensor."""
    if tensor.shape == (6,):
        return tensor
    # files hold few digits, but a tensor off by more than this was not symmetric to begin with
    if np.abs(tensor - tensor.T).max() > 0.01 * np.abs(tensor).max() + 1e-6:
        raise DataError(f"{name} is not symmetric")
    return ((tensor + tensor.T) / 2)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
