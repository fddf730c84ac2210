"""Read an OUTCAR through ASE's parsers, with parsers of ours for the lines that ASE cannot read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ase.io import ParseError
from ase.io.vasp_parsers import vasp_outcar_parsers as ase_parsers

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import open_text
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record, group_id, last_record_says_why

NO_METHOD = "an OUTCAR does not repeat the INCAR, so the settings that VASP ran with are not fully known from it"
_NELM = re.compile(r"^\s*NELM\s*=\s*(\d+)\s*;")
_ITERATION = re.compile(r"Iteration\s+\d+\(\s*(\d+)\)")
_BAD_TEXT = (ParseError, ValueError, IndexError, KeyError, AttributeError)


class _FreeEnergy(ase_parsers.SimpleVaspChunkParser):
    """Parse the free energy of an ionic step; patched versions append one without dispersion."""

    LINE_DELIMITER = "free  energy   TOTEN"

    def parse(self, cursor: int, lines: Any) -> dict[str, Any]:
        return {"free_energy": float(lines[cursor].split("=")[1].split()[0])}


class _IonsPerSpecies(ase_parsers.SimpleVaspHeaderParser):
    """Parse the number of atoms of each species; VASP writes ten on a line and continues below."""

    LINE_DELIMITER = "ions per type"

    def parse(self, cursor: int, lines: Any) -> dict[str, Any]:
        counts = [int(word) for word in lines[cursor].split("=")[1].split()]
        for line in lines[cursor + 1 :]:
            words = line.split()
            if not words or not all(word.isdecimal() for word in words):
                break
            counts += [int(word) for word in words]
        return {"ion_types": counts}


class _WatchedLines:
    """Pass lines on to ASE, and note NELM and whether VASP finished."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.name = "OUTCAR"
        self.ended = False
        self.most_electronic_steps = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._stream)
        if "General timing and accounting" in line:
            self.ended = True
        elif not self.most_electronic_steps and (found := _NELM.match(line)):
            self.most_electronic_steps = int(found[1])
        return line


@last_record_says_why
def read_outcar(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every ionic step of an OUTCAR: structure (5 decimals), free energy, forces and stress; no method."""
    index = 0
    group = ""
    try:
        with open_text(file) as stream:
            lines = _WatchedLines(stream)
            for chunk in _chunks(lines):
                record = _step(file, index, chunk, group, lines.most_electronic_steps)
                group = record.group or group
                yield record
                index += 1
    except (*_BAD_TEXT, StopIteration, RuntimeError) as err:
        raise DataError(f"not an OUTCAR, or cut: {str(err) or type(err).__name__}") from err
    if not lines.ended:
        raise DataError("truncated: VASP's last lines are missing, steps before are whole")
    if index == 0:
        raise DataError("no ionic step with an energy")


def _chunks(lines: _WatchedLines) -> Iterator[Any]:
    parsers = (ase_parsers.Cell(), ase_parsers.PositionsAndForces(), ase_parsers.Stress(), _FreeEnergy())
    # without a folder ASE does not look for a POSCAR
    header_parser = ase_parsers.OutcarHeaderParser(parsers=(ase_parsers.SpeciesTypes(), _IonsPerSpecies()))
    return ase_parsers.outcarchunks(
        lines,  # type: ignore[arg-type]
        chunk_parser=ase_parsers.OutcarChunkParser(parsers=parsers),
        header_parser=header_parser,
    )


def _step(file: Path, index: int, chunk: Any, group: str, most_electronic_steps: int) -> Record:
    try:
        atoms = chunk.build()
    except _BAD_TEXT as err:
        return Record(file, index, problem=f"the step cannot be read: {str(err) or type(err).__name__}", group=group)
    atoms.set_constraint()
    group = group or group_id(atoms)
    if problem := _unbelievable(chunk.lines, most_electronic_steps):
        return Record(file, index, problem=problem, group=group)
    return Record(file, index, atoms, no_method=NO_METHOD, group=group)


def _unbelievable(lines: list[str], most_electronic_steps: int) -> str:
    """Return why the energy of a step is not a label; empty if it is one.

    VASP up to 5.4.4 writes "EDIFF is reached" even after the last of NELM steps, so that line alone proves nothing.
    """
    if any("ML FREE ENERGIE" in line for line in lines):
        return "not computed by density functional theory (a machine-learned step)"
    if not any("aborting loop because EDIFF is reached" in line for line in lines):
        return "electronic self-consistency not reached: there is no line 'EDIFF is reached'"
    if not most_electronic_steps:
        return "the head of the OUTCAR lacks NELM, so convergence of the electrons is unknown"
    # the line of the first iteration is in the head
    electronic = max((int(found[1]) for line in lines if (found := _ITERATION.search(line))), default=1)
    if electronic >= most_electronic_steps:
        return f"electronic self-consistency not reached in {electronic} steps (NELM)"
    return ""
