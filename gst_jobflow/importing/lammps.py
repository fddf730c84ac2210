"""Read LAMMPS text dumps, one frame in memory at a time, and data files: structures without labels.

LAMMPS numbers its atom types. Files do not always name the element of a number; it is never guessed from a mass or an
order.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.dynamics.dump import box_of
from gst_jobflow.importing.files import CANNOT_READ_ON, first_bytes, open_text
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record, last_record_says_why
from gst_jobflow.structures.document_fields import content_hash
from gst_jobflow.structures.lammps_data import stated_units

TYPE_MAP_FIX = "name the element of each type: --type-map 1=Ge,2=Sb,3=Te"
_COORDINATES = (("x", "y", "z"), ("xu", "yu", "zu"), ("xs", "ys", "zs"), ("xsu", "ysu", "zsu"))
_UNITS_IN_A = ("metal", "real")
_MASS_TOLERANCE_U = 0.5
"""Larger than the rounding of a mass, smaller than the difference of any two elements in use together."""


def check_dump(file: Path, options: ImportOptions) -> None:
    """Refuse a dump that needs a type map and has none."""
    head = first_bytes(file).decode(errors="replace")
    match = re.search(r"^ITEM: ATOMS(.*)$", head, re.MULTILINE)
    columns = match[1].split() if match else []
    if not match or {"element", "typelabel"} & set(columns):
        return
    if "type" not in columns:
        raise InputError(
            f"{file} has neither a column element nor type", "write it again with one: dump … custom … element"
        )
    if not options.type_map and not _labels_in(head, match):
        raise InputError(f"{file} has no column of elements", TYPE_MAP_FIX)


def _labels_in(head: str, match: re.Match[str]) -> bool:
    """Return whether the types of a dump are written as labels."""
    columns = match[1].split()
    first = head[match.end() :].split("\n")[1:2]
    words = first[0].split() if first else []
    return "type" in columns and len(words) == len(columns) and not words[columns.index("type")].isdecimal()


@last_record_says_why
def read_dump(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every frame of a text dump; wrapped, unwrapped and scaled coordinates, restricted and general boxes."""
    index, group = 0, ""
    with open_text(file) as stream:
        while (head := _next_head(stream)) is not None:
            lines = [stream.readline() for _ in range(head.n_atoms)]
            if not all(line.endswith("\n") for line in lines):
                raise DataError(f"truncated in the frame of step {head.step}")
            try:
                atoms = _frame(head, lines, options)
                group = group or content_hash(atoms)
                record = Record(file, index, atoms, group=group)
            except DataError as err:
                record = Record(file, index, problem=err.message, group=group)
            yield record
            index += 1


@dataclass
class _Head:
    step: int = -1
    n_atoms: int = -1
    cell_A: np.ndarray | None = None
    origin_A: np.ndarray | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)
    columns: tuple[str, ...] = ()


def _next_head(stream: TextIO) -> _Head | None:
    """Return the head of the next frame; None at the end.

    Raises
    ------
    DataError
        The file is cut, is not a dump, or has lengths in other units than Å.
    """
    head = _Head()
    line = stream.readline()
    while line.isspace():
        line = stream.readline()
    if not line:
        return None
    while True:
        if not line.startswith("ITEM: ") or not line.endswith("\n"):
            where = f"after step {head.step}" if head.step >= 0 else "at the beginning of a frame"
            raise DataError(f"truncated or not a LAMMPS dump, {where}: '{line.strip()[:60]}'")
        words = line.split()[1:]
        try:
            if words[0] == "ATOMS":
                head.columns = tuple(words[1:])
                break
            _read_item(words, stream, head)
        except (ValueError, IndexError) as err:
            raise DataError(f"truncated or damaged in the head of a frame, {' '.join(words)[:40]}: {err}") from err
        line = stream.readline()
    if head.n_atoms < 0 or head.cell_A is None:
        raise DataError(f"step {head.step}: no number of atoms or no box")
    return head


def _read_item(words: list[str], stream: TextIO, head: _Head) -> None:
    if words[0] == "TIMESTEP":
        head.step = int(stream.readline())
    elif words[:3] == ["NUMBER", "OF", "ATOMS"]:
        head.n_atoms = int(stream.readline())
    elif words[0] == "UNITS":
        units = stream.readline().strip()
        if units not in _UNITS_IN_A:
            raise DataError(f"a dump in units {units}; only those with Å ({', '.join(_UNITS_IN_A)}) are read")
    elif words[0] == "TIME":
        stream.readline()
    elif words[:2] == ["BOX", "BOUNDS"]:
        rows = [[float(word) for word in stream.readline().split()] for _ in range(3)]
        # old versions write no flags
        flags = [word for word in words[2:] if re.fullmatch("[psfm]{2}", word)] or ["pp"] * 3
        head.pbc = (flags[0] == "pp", flags[1] == "pp", flags[2] == "pp")
        if words[2:4] == ["abc", "origin"]:
            # general triclinic: the vectors themselves, and the corner
            table = np.array(rows)
            head.cell_A, head.origin_A = table[:, :3], table[:, 3]
        else:
            head.cell_A, head.origin_A = box_of(np.array(rows))
    else:
        raise DataError(f"the dump has an item that is not known: {' '.join(words)[:40]}")


def _frame(head: _Head, lines: list[str], options: ImportOptions) -> Atoms:
    rows = [line.split() for line in lines]
    if any(len(row) != len(head.columns) for row in rows):
        raise DataError(f"step {head.step}: a line does not have the {len(head.columns)} columns of its head")
    columns = dict(zip(head.columns, zip(*rows, strict=True), strict=True)) if rows else {}
    if not rows:
        raise DataError("no atoms")
    assert head.cell_A is not None and head.origin_A is not None  # _next_head sees to it
    names = next((names for names in _COORDINATES if set(names) <= set(columns)), None)
    if names is None:
        raise DataError("no coordinates: x y z, xu yu zu, xs ys zs or xsu ysu zsu")
    try:
        values = np.array([columns[name] for name in names], dtype=float).T
        ids = np.array(columns["id"], dtype=int) if "id" in columns else np.arange(len(rows))
    except ValueError as err:
        raise DataError(f"step {head.step}: {err}") from err
    if len(np.unique(ids)) != len(ids):
        raise DataError(f"step {head.step}: an atom id comes twice")
    # shift all atoms into a cell that begins at 0
    positions = values @ head.cell_A if "s" in names[0] else values - head.origin_A
    symbols = _symbols(columns, options)
    order = np.argsort(ids, kind="stable")
    try:
        atoms = Atoms([symbols[place] for place in order], positions=positions[order], cell=head.cell_A, pbc=head.pbc)
    except KeyError as err:
        raise DataError(f"step {head.step}: {err} is no element") from err
    return atoms


def _symbols(columns: dict[str, tuple[str, ...]], options: ImportOptions) -> list[str]:
    """Return the element of every line: from its own column, from the map, or from a type label.

    Raises
    ------
    DataError
        A type has no element, or the map and the file disagree.
    """
    mapped: list[str] | None = None
    if "type" in columns and options.type_map and all(kind.isdecimal() for kind in columns["type"]):
        missing = sorted({kind for kind in columns["type"] if int(kind) not in options.type_map}, key=int)
        if missing:
            raise DataError(f"type {missing[0]} has no element in --type-map")
        mapped = [options.type_map[int(kind)] for kind in columns["type"]]
    if "element" in columns:
        named = list(columns["element"])
        # LAMMPS writes C for every type until dump_modify element names them
        unset = set(named) == {"C"}
        if unset and mapped is None and len(set(columns.get("type", ()))) > 1:
            raise DataError(
                f"the column element is C for every type, so it was never set (dump_modify element): {TYPE_MAP_FIX}"
            )
        if mapped is not None and mapped != named and not unset:
            theirs, ours = next(pair for pair in zip(named, mapped, strict=True) if pair[0] != pair[1])
            raise DataError(f"the file says {theirs} where --type-map says {ours}")
        return mapped if unset and mapped is not None else named
    if mapped is not None:
        return mapped
    labels = columns.get("typelabel", columns.get("type", ()))
    if labels and all(label in chemical_symbols[1:] for label in labels):
        return list(labels)
    raise DataError(f"the elements of the types are not known: {TYPE_MAP_FIX}")


def check_lammps_data(file: Path, options: ImportOptions) -> None:
    """Refuse a data file that needs a type map and has none."""
    try:
        elements = _data_elements(file, options)
    except (DataError, *CANNOT_READ_ON):
        return  # reading will report it
    if not elements:
        raise InputError(f"{file} does not name the elements of its types", TYPE_MAP_FIX)


@last_record_says_why
def read_lammps_data(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read the one structure of a data file in units of Å, unwrapped by its image flags, taken as periodic."""
    from ase.io import lammpsdata

    try:
        elements = _data_elements(file, options)
        numbers = {kind: atomic_numbers[element] for kind, element in elements.items()}
        with open_text(file) as stream:
            text = stream.read()
        if not text.endswith("\n"):
            raise DataError("truncated: the last line has no end, so its last number may be cut")
        # metal leaves lengths as they are, which is right for real, too
        raw = lammpsdata.read_lammps_data(io.StringIO(_in_order_of_ids(text)), Z_of_type=numbers, units="metal")
        kinds = raw.arrays["type"]
        odd = np.flatnonzero(np.abs(raw.get_masses() - atomic_masses[raw.numbers]) > _MASS_TOLERANCE_U)
        if len(odd):
            first = odd[0]
            mass = raw.get_masses()[first]
            raise DataError(f"type {kinds[first]} has the mass {mass:g}, which is not that of {raw.symbols[first]}")
        yield Record(file, 0, Atoms(raw.numbers, positions=raw.positions, cell=raw.cell, pbc=True))
    except KeyError as err:
        raise DataError(f"type {err.args[0]} has no element: {TYPE_MAP_FIX}") from err
    # ASE stumbles over cut files in several ways
    except (ValueError, IndexError, TypeError, RuntimeError, StopIteration, AttributeError, UnboundLocalError) as err:
        raise DataError(f"truncated or not a LAMMPS data file: {str(err) or type(err).__name__}") from err


def _in_order_of_ids(text: str) -> str:
    """Return the text of a data file with its atoms sorted by id.

    LAMMPS writes them unsorted. ASE 3.29 sorts positions by id but not type labels, which would move species.

    Raises
    ------
    DataError
        The title states units without Å, atoms are missing, or an id comes twice.
    """
    lines = text.splitlines()
    units = stated_units(lines[0]) if lines else ""
    if units and units not in _UNITS_IN_A:
        raise DataError(f"a data file in units {units}; only those with Å ({', '.join(_UNITS_IN_A)}) are read")
    begin = next((place for place, line in enumerate(lines) if place and line.split()[:1] == ["Atoms"]), None)
    if begin is None:
        raise DataError("no section Atoms")
    rest = range(begin + 1, len(lines))
    end = next((place for place in rest if lines[place][:1].isalpha()), len(lines))
    rows = [line for line in lines[begin + 1 : end] if line.strip()]
    head = "\n".join(lines[1:begin])
    declared = re.search(r"^\s*(\d+)\s+atoms\b", head, re.MULTILINE)
    if declared and int(declared[1]) != len(rows):
        raise DataError(f"{len(rows)} of {declared[1]} atoms")
    ids = [int(row.split()[0]) for row in rows]
    if len(set(ids)) != len(ids):
        raise DataError("an atom id comes twice")
    rows = [row for _, row in sorted(zip(ids, rows, strict=True))]
    return "\n".join([*lines[: begin + 1], "", *rows, "", *lines[end:], ""])


def _data_elements(file: Path, options: ImportOptions) -> dict[int, str]:
    """Return the element of each type by map, type labels or comments of the masses; empty if there are none.

    Raises
    ------
    DataError
        The map and the file disagree.
    """
    found = _named_types(file)
    for kind, element in options.type_map.items():
        if found.get(kind, element) != element:
            raise DataError(f"the file says that type {kind} is {found[kind]}, --type-map says {element}")
    return found | options.type_map


def _named_types(file: Path) -> dict[int, str]:
    """Return the elements that the sections Atom Type Labels and Masses name; other labels are left out."""
    found: dict[int, str] = {}
    section = ""
    with open_text(file) as stream:
        stream.readline()  # the title
        for line in stream:
            text, _, comment = line.partition("#")
            words = text.split()
            if not words:
                continue
            if words[0].isalpha() and words[0] not in ("nan", "inf"):
                section = " ".join(words)
                if section.startswith("Atoms"):
                    break
            elif section == "Atom Type Labels" and words[0].isdecimal() and len(words) > 1:
                found[int(words[0])] = words[1]
            elif section == "Masses" and words[0].isdecimal() and comment.strip():
                found.setdefault(int(words[0]), comment.split()[0])
    return {kind: name for kind, name in found.items() if name in chemical_symbols[1:]}
