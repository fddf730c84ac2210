"""Parse CP2K input into a tree; read the method and the structure of a label from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.units import Bohr

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings, cp2k_input
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, CarParrinello, MdPart, md_input, md_method
from gst_jobflow.labelling.method import Method

_PATH_KEYWORDS = {
    "SCF": {"SCF_GUESS", "MAX_SCF", "MAX_SCF_HISTORY", "EPS_SCF_HISTORY"},
    "QS": {"EXTRAPOLATION", "EXTRAPOLATION_ORDER"},
    "DFT": {"WFN_RESTART_FILE_NAME"},
    "FORCE_EVAL": {"STRESS_TENSOR"},
    "KIND": {"ELEMENT"},
}
"""Numerics and printing, which do not change the result."""
_PATH_SECTIONS = {
    "SCF": {"DIAGONALIZATION", "MIXING", "PRINT", "OUTER_SCF"},
    "DFT": {"PRINT"},
    "SUBSYS": {"CELL", "COORD", "VELOCITY", "TOPOLOGY", "PRINT"},
    "FORCE_EVAL": {"PRINT"},
}


@dataclass
class Section:
    """A section of the input: parameter, keywords with their values, subsections.

    A repeated keyword (atoms in COORD) has several entries.
    """

    name: str
    parameter: str = ""
    keywords: dict[str, list[list[str]]] = field(default_factory=dict)
    sections: dict[str, list[Section]] = field(default_factory=dict)
    lines: list[list[str]] = field(default_factory=list)

    def at(self, *path: str) -> Section | None:
        """Return the only section at a path; None if it is missing."""
        here: Section | None = self
        for name in path:
            found = here.sections.get(name, []) if here is not None else []
            here = found[0] if len(found) == 1 else None
        return here

    def words(self, keyword: str) -> list[str] | None:
        """Return the values of a keyword; None if it is missing."""
        found = self.keywords.get(keyword)
        return found[0] if found else None


def parse_input(text: str) -> Section:
    """Read an input or a restart file.

    Raises
    ------
    DataError
        It uses the preprocessor (@SET, ${…}), which is not carried out here, or its sections do not close.
    """
    root = Section("")
    stack = [root]
    for raw in text.splitlines():
        line = re.split(r"[!#]", raw, maxsplit=1)[0].strip()
        if not line:
            continue
        if line.startswith("@") or "$" in line:
            raise DataError(f"the CP2K input uses the preprocessor ({line[:40]})")
        words = line.split()
        if words[0].upper().startswith("&END"):
            if len(stack) == 1:
                raise DataError("the CP2K input ends a section that it did not begin")
            stack.pop()
        elif words[0].startswith("&"):
            section = Section(words[0][1:].upper(), " ".join(words[1:]).upper())
            stack[-1].sections.setdefault(section.name, []).append(section)
            stack.append(section)
        else:
            stack[-1].keywords.setdefault(words[0].upper(), []).append(words[1:])
            stack[-1].lines.append(words)
    if len(stack) > 1:
        raise DataError(f"the CP2K input does not end its section {stack[-1].name}")
    return root


def input_cell(root: Section) -> tuple[np.ndarray, list[bool]]:
    """Return the lattice vectors (rows, Å) and the periodic directions.

    Raises
    ------
    DataError
        They are not in the input itself, or in an unknown form.
    """
    cell = root.at("FORCE_EVAL", "SUBSYS", "CELL")
    if cell is None:
        raise DataError("no cell in the CP2K input")
    periodic = (cell.words("PERIODIC") or ["XYZ"])[0].upper()
    pbc = [axis in periodic for axis in "XYZ"]
    odd = {"CELL_FILE_NAME", "MULTIPLE_UNIT_CELL", "SYMMETRY"} & set(cell.keywords)
    if odd - {"SYMMETRY"}:
        raise DataError(f"the cell of the CP2K input uses {', '.join(sorted(odd))}")
    if all(name in cell.keywords for name in "ABC"):
        return np.array([_lengths(cell.words(name)) for name in "ABC"]), pbc
    if "ABC" in cell.keywords:
        angles = [float(word) for word in cell.words("ALPHA_BETA_GAMMA") or ["90", "90", "90"] if word[0] != "["]
        return Cell.fromcellpar([*_lengths(cell.words("ABC")), *angles]).array, pbc
    raise DataError("the cell of the CP2K input has neither A, B, C nor ABC")


def input_atoms(root: Section) -> Atoms:
    """Return the structure in the input.

    Raises
    ------
    DataError
        The input has no cell or no coordinates of its own.
    """
    cell_A, pbc = input_cell(root)
    coord = root.at("FORCE_EVAL", "SUBSYS", "COORD")
    if coord is None:
        raise DataError("no coordinates in the CP2K input")
    # SCALED alone switches it on
    scaled = "SCALED" in coord.keywords and _value(coord.words("SCALED") or ["T"]) == [True]
    unit = f"[{(coord.words('UNIT') or ['angstrom'])[0]}]"
    rows = [words for words in coord.lines if words[0].upper() not in ("UNIT", "SCALED")]
    kinds = {kind.parameter: kind for kind in _subsections(root, "FORCE_EVAL", "SUBSYS", "KIND")}
    symbols = []
    for row in rows:
        kind = kinds.get(row[0].upper())
        symbols.append(((kind.words("ELEMENT") if kind else None) or [row[0]])[0].capitalize())
    try:
        values = np.array([[float(word) for word in row[1:4]] for row in rows])
        if scaled:
            return Atoms(symbols, scaled_positions=values, cell=cell_A, pbc=pbc)
        return Atoms(symbols, positions=values * _unit_A(unit), cell=cell_A, pbc=pbc)
    except (ValueError, KeyError) as err:
        raise DataError(f"the coordinates of the CP2K input cannot be read: {err}") from err


def input_method(root: Section, version: str, atoms: Atoms) -> Method:
    """Return the method of an input that our own backend could have written; it equals that of our labels.

    Our backend's input with these settings is compared with this one in everything that the result depends on.
    Second-generation Car–Parrinello is told by its corrector, and is a method of its own.

    Raises
    ------
    DataError
        Our settings cannot express it, so none of our fingerprints fits.
    """
    dynamics = car_parrinello(root)
    settings = Cp2kSettings.model_validate(_settings(root, smeared=dynamics is None))
    if root.at("FORCE_EVAL", "DFT", "KPOINTS") is not None:
        raise DataError("a k-point mesh does not tell the rule that chose it")
    try:
        if dynamics is None:
            text = cp2k_input(atoms, settings)
        else:
            part = MdPart(temperature_K=300, steps=1, timestep_fs=1, every=1, seed=1)
            text = md_input(atoms, settings, dynamics, part)
    except InputError as err:
        raise DataError(err.message) from err
    difference = _difference(parse_input(text).at("FORCE_EVAL"), root.at("FORCE_EVAL"), "FORCE_EVAL")
    if difference:
        raise DataError(f"the CP2K input is not one of our settings: {difference}")
    return md_method(Cp2kBackend(settings=settings), dynamics or BornOppenheimer(), version)


def car_parrinello(root: Section) -> CarParrinello | None:
    """Return the settings of second-generation Car–Parrinello; None for other runs.

    Raises
    ------
    DataError
        The corrector has a threshold different from that of the first steps.
    """
    scf, dft_qs = root.at("FORCE_EVAL", "DFT", "SCF"), root.at("FORCE_EVAL", "DFT", "QS")
    md = root.at("MOTION", "MD")
    if scf is None or dft_qs is None or md is None or "OT" not in scf.sections or "MAX_SCF_HISTORY" not in scf.keywords:
        return None
    if (md.words("ENSEMBLE") or [""])[0].upper() != "LANGEVIN":
        return None
    if _value(scf.words("EPS_SCF_HISTORY") or []) != _value(scf.words("EPS_SCF") or []):
        raise DataError("the CP2K input has another EPS_SCF_HISTORY than EPS_SCF")
    try:
        steps = int((scf.words("MAX_SCF_HISTORY") or [""])[0])
        return CarParrinello(corrector_steps=steps, history=int((dft_qs.words("EXTRAPOLATION_ORDER") or ["3"])[0]))
    except ValueError as err:
        raise DataError(f"the CP2K input has a corrector that is not a number: {err}") from err


def _settings(root: Section, smeared: bool = True) -> dict[str, Any]:
    """Return the values of our CP2K settings that an input states."""

    def number(keyword: str, *path: str) -> float:
        section = root.at("FORCE_EVAL", "DFT", *path)
        words = (section.words(keyword) if section is not None else None) or []
        try:
            return float(words[-1])
        except (IndexError, ValueError) as err:
            raise DataError(f"the CP2K input does not state {'/'.join((*path, keyword))}") from err

    kinds = {name: kind.model_dump() for name, kind in Cp2kSettings().kinds.items()}
    for kind in _subsections(root, "FORCE_EVAL", "SUBSYS", "KIND"):
        basis, potential = kind.words("BASIS_SET"), kind.words("POTENTIAL")
        if not basis or not potential:
            raise DataError(f"kind {kind.parameter} of the CP2K input has no basis set or potential")
        kinds[kind.parameter.capitalize()] = {"basis": basis[-1], "potential": potential[-1]}
    scf = root.at("FORCE_EVAL", "DFT", "SCF")
    # 0 is CP2K's default and means EPS_SCF
    if scf is not None and float((scf.words("EPS_SCF_HISTORY") or ["0"])[-1]) > number("EPS_SCF", "SCF"):
        raise DataError(
            "the CP2K input converges steps of the dynamics less (EPS_SCF_HISTORY) than the first (EPS_SCF)"
        )
    return {
        "kinds": kinds,
        "cutoff_Ry": number("CUTOFF", "MGRID"),
        "relative_cutoff_Ry": number("REL_CUTOFF", "MGRID"),
        "n_grids": int(number("NGRIDS", "MGRID")),
        "eps_default": number("EPS_DEFAULT", "QS"),
        "eps_scf": number("EPS_SCF", "SCF"),
        **({"smearing_K": number("ELECTRONIC_TEMPERATURE", "SCF", "SMEAR")} if smeared else {}),
    }


def _difference(ours: Section | None, theirs: Section | None, where: str) -> str:
    """Return how an input differs from ours in what the result depends on; empty if it does not."""
    if ours is None or theirs is None:
        return f"{where} is {'missing' if theirs is None else 'not ours'}"
    if _value([theirs.parameter]) != _value([ours.parameter]):
        return f"{where} is '{theirs.parameter}'"
    skipped = _PATH_KEYWORDS.get(ours.name, set())
    for name in sorted((set(ours.keywords) | set(theirs.keywords)) - skipped):
        mine, other = ours.words(name), theirs.words(name)
        if mine is None or other is None or _value(mine) != _value(other):
            return f"{where}/{name} is {'not stated' if other is None else ' '.join(other)}"
    for name in sorted((set(ours.sections) | set(theirs.sections)) - _PATH_SECTIONS.get(ours.name, set())):
        mine_all = {section.parameter: section for section in ours.sections.get(name, [])}
        their_all = {section.parameter: section for section in theirs.sections.get(name, [])}
        if name == "KIND":
            # inputs may list kinds that do not occur
            pairs: list[tuple[Section | None, Section | None]]
            pairs = [(mine_all[key], their_all.get(key)) for key in mine_all]
        else:
            pairs = [(next(iter(mine_all.values()), None), next(iter(their_all.values()), None))]
        for mine_section, their_section in pairs:
            if found := _difference(mine_section, their_section, f"{where}/{name}"):
                return found
    return ""


def _value(words: list[str]) -> list[Any]:
    """Return words in one form: numbers by value, switches as booleans, names in capitals."""
    values: list[Any] = []
    for word in words:
        upper = word.upper()
        if upper.startswith("[") and upper in ("[K]", "[RY]"):  # CP2K's default units
            continue
        if upper in ("", "ON", "T", ".TRUE.", "TRUE", "YES"):
            values.append(True)
            continue
        try:
            values.append(float(word.replace("D", "E").replace("d", "e")))
        except ValueError:
            values.append(upper.rpartition("/")[2])
    return values


def _subsections(root: Section, *path: str) -> Iterator[Section]:
    parent = root.at(*path[:-1])
    yield from [] if parent is None else parent.sections.get(path[-1], [])


def _lengths(words: list[str] | None) -> list[float]:
    """Return the three lengths (Å) of a keyword, given with or without a unit."""
    unit = next((word for word in words or [] if word.startswith("[")), "[angstrom]")
    try:
        values = [float(word) * _unit_A(unit) for word in words or [] if not word.startswith("[")]
    except ValueError as err:
        raise DataError(f"the cell of the CP2K input is not numbers: {' '.join(words or [])}") from err
    if len(values) != 3:
        raise DataError(f"the cell of the CP2K input has {len(values)} numbers instead of three")
    return values


def _unit_A(unit: str) -> float:
    known = {"[angstrom]": 1.0, "[bohr]": Bohr, "[nm]": 10.0}
    if unit.lower() not in known:
        raise DataError(f"the CP2K input gives lengths in {unit}")
    return known[unit.lower()]
