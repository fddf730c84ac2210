"""Read vasprun.xml, one ionic step in memory at a time."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import Pieces, open_bytes
from gst_jobflow.importing.records import Record, group_id, last_record_says_why
from gst_jobflow.labelling.vasp import STAND_IN, VaspSettings, functional_of, method_of, stress_of_kbar

if TYPE_CHECKING:
    from pymatgen.io.vasp.outputs import Vasprun

    from gst_jobflow.importing.options import ImportOptions
    from gst_jobflow.labelling.method import Method

_FIRST_STEP = b"<calculation"
_NO_STEP = b"<calculation><scstep><energy></energy></scstep></calculation></modeling>"
_LARGEST_HEADER = 1 << 28
_VASP_KSPACING = 0.5
"""VASP's default, 1/Å."""


@dataclass(frozen=True)
class _Header:
    """What the head of the file says of all steps."""

    symbols: list[str]
    most_electronic_steps: int
    method: Method


@last_record_says_why
def read_vasprun(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every ionic step of a vasprun.xml: its own structure, the free energy, forces and stress.

    The energy is `e_fr_energy`, as in our own labels: the forces are its derivative. The code that checks our own
    runs reads the method. Steps whose electrons did not converge are bad records.
    """
    from lxml import etree

    index = 0
    group = ""
    try:
        header = _header(file, options)
        with open_bytes(file) as stream:
            # <set> holds the tables of <dos>, <eigenvalues> and <projected>: large, and no part of a label
            tags = ("calculation", "set")
            for _, element in etree.iterparse(Pieces(stream), tag=tags, huge_tree=True, resolve_entities=False):
                if element.tag == "calculation":
                    record = _step(file, index, element, header, group)
                    group = record.group or group
                    yield record
                    index += 1
                    while element.getprevious() is not None:
                        del element.getparent()[0]
                element.clear()
    except etree.XMLSyntaxError as err:
        raise DataError(f"truncated or damaged, the steps before are complete: {err.msg}") from err


def _header(file: Path, options: ImportOptions) -> _Header:
    """Read the head of the file, given to pymatgen alone, since it reads a whole file into memory.

    Raises
    ------
    DataError
        There is no step, the head is not that of VASP, or a stand-in wrote it.
    """
    from pymatgen.io.vasp.outputs import Vasprun

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "vasprun.xml"
        part.write_bytes(_before_first_step(file) + _NO_STEP)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the step is empty
                run = Vasprun(str(part), parse_dos=False, parse_eigen=False, parse_potcar_file=False)
            if STAND_IN in run.vasp_version and not options.allow_stand_in:
                raise DataError(f"version {run.vasp_version} is a stand-in, not VASP")
            return _Header(list(run.atomic_symbols), int(run.parameters["NELM"]), vasprun_method(run))
        except (SyntaxError, ValueError, KeyError, IndexError, AttributeError, TypeError) as err:
            raise DataError(f"the head is not that of a vasprun.xml: {type(err).__name__}: {err}") from err


def _before_first_step(file: Path) -> bytes:
    head = b""
    with open_bytes(file) as stream:
        pieces = Pieces(stream)
        while (place := head.find(_FIRST_STEP)) < 0:
            piece = pieces.read(1 << 20)
            if not piece or len(head) > _LARGEST_HEADER:
                raise DataError("no ionic step")
            head += piece
    return head[:place]


def vasprun_method(run: Vasprun) -> Method:
    """Return the method of a vasprun.xml, equal to that of our backend with the same settings.

    A mesh from a KPOINTS file that KSPACING and KGAMMA do not explain is part of the method with its divisions.
    """
    spacing = run.incar.get("KSPACING", run.parameters.get("KSPACING", _VASP_KSPACING))
    method = method_of(run, VaspSettings(kspacing_per_A=float(spacing), functional=functional_of(run)))
    style = run.kpoints.style.name
    incar = dict(method.parameters["incar"])
    if style not in ("Gamma", "Monkhorst") or len(run.kpoints.kpts[0]) != 3:
        incar["KSPACING"] = f"{len(run.actual_kpoints)} points of a list"
    elif any(run.kpoints.kpts_shift):
        incar["KSPACING"] = f"mesh {list(run.kpoints.kpts[0])} shifted {list(run.kpoints.kpts_shift)}"
    elif (style == "Gamma") != bool(incar["KGAMMA"]) and any(points % 2 == 0 for points in run.kpoints.kpts[0]):
        incar["KSPACING"] = f"mesh {list(run.kpoints.kpts[0])} {style}"
    return method.model_copy(update={"parameters": {**method.parameters, "incar": incar}})


def _step(file: Path, index: int, element: Any, header: _Header, group: str) -> Record:
    from ase.calculators.singlepoint import SinglePointCalculator

    electronic = sum(1 for step in element.iterfind("scstep") if step.find("energy") is not None)
    try:
        basis = _rows(element.find("structure/crystal/varray[@name='basis']"), "basis")
        places = _rows(element.find("structure/varray[@name='positions']"), "positions")
        if len(places) != len(header.symbols):
            raise DataError(f"positions of {len(places)} atoms, not {len(header.symbols)}")
        atoms = Atoms(header.symbols, cell=basis, scaled_positions=places, pbc=True)
        # steps around a bad one stay in one group
        group = group or group_id(atoms)
        if electronic == 0:
            raise DataError("no electronic steps: not computed by density functional theory (a machine-learned step?)")
        if electronic >= header.most_electronic_steps:
            raise DataError(f"electronic self-consistency not reached in {electronic} steps (NELM)")
        energy = element.find("energy/i[@name='e_fr_energy']")
        if energy is None:
            raise DataError("no e_fr_energy")
        results: dict[str, Any] = {"free_energy": _float(energy.text, "e_fr_energy")}
        results["forces"] = _rows(element.find("varray[@name='forces']"), "forces")
        stress = element.find("varray[@name='stress']")
        if stress is not None:
            results["stress"] = stress_of_kbar(_rows(stress, "stress"))
    except DataError as err:
        return Record(file, index, problem=err.message, group=group)
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results.update(results)
    return Record(file, index, atoms, method=header.method, group=group)


def _rows(element: Any, name: str) -> np.ndarray:
    if element is None:
        raise DataError(f"no {name}")
    rows = [[_float(word, name) for word in (row.text or "").split()] for row in element.iterfind("v")]
    if any(len(row) != 3 for row in rows):
        raise DataError(f"{name} not in rows of three")
    return np.array(rows).reshape(-1, 3)


def _float(text: str | None, name: str) -> float:
    try:
        return float(text or "")
    except ValueError as err:
        # Fortran writes stars for a number that does not fit
        raise DataError(f"{name} '{text}' is not a number") from err
