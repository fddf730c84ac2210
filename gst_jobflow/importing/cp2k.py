"""Read CP2K runs: a trajectory together with its forces, cells and output, or a single point.

The files of a run lie in one folder and share the project name P: P-pos-1.xyz (Å), P-frc-1.xyz (hartree/bohr),
P-1.cell, the input and the output. Steps are matched by their numbers. The output says which steps converged; CP2K
writes energy and forces of the others too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.importing.cp2k_input import Section, input_atoms, input_cell, input_method, parse_input
from gst_jobflow.importing.files import ENDINGS, first_bytes, open_text, plain_name
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record, last_record_says_why
from gst_jobflow.labelling.cp2k_output import (
    BOHR_A,
    CONVERGED,
    HARTREE_EV,
    NOT_CONVERGED,
    read_energy,
    read_single_point,
)
from gst_jobflow.labelling.method import Method
from gst_jobflow.structures.document_fields import content_hash

_POSITIONS = re.compile(r"^(?P<project>.+)-pos-(?P<part>\d+)\.xyz(\.(gz|bz2|xz|zst))?$")
_FORCES = re.compile(r"^.+-frc-\d+\.xyz(\.(gz|bz2|xz|zst))?$")
_TITLE = re.compile(r"^\s*i =\s*(\d+),(?:\s*time =\s*\S+,)?\s*E =\s*(\S+)\s*$")
_STEP = re.compile(r"^\s*(?:MD\|\s*)?step number\s*=?\s*(\d+)\s*$", re.IGNORECASE)
_LONGEST_OUTPUT_HEAD = 1 << 16
_LARGEST_SINGLE_POINT = 1 << 27
_SAME_ENERGY_EV = 1e-7
"""Trajectories have ten decimals of hartree."""
NO_OUTPUT = "no CP2K output beside it: whether the electrons converged is not known, nor is the version"


@dataclass
class _Output:
    """What an output says of its run; `bad` are the (after, up to) steps in which an SCF did not converge."""

    path: Path
    project: str = ""
    version: str = ""
    run_type: str = ""
    ensemble: str = ""
    input_name: str = ""
    bad: list[tuple[int, int]] = field(default_factory=list)
    any_bad: bool = False
    energies_eV: dict[int, float | None] = field(default_factory=dict)
    # second-generation Car–Parrinello takes only a few corrector steps
    corrected_only: bool = False

    @property
    def cell_moves(self) -> bool:
        return "NPT" in self.ensemble or "NPE" in self.ensemble or self.run_type == "CELL_OPT"

    def problem(self, step: int, energy_eV: float) -> str:
        """Return why a step cannot be trusted; empty if it can.

        A restart appends some steps of the earlier run again; the energy tells which run a frame belongs to.
        """
        if self.corrected_only:
            return ""
        if self.run_type != "MD":
            return "an SCF of this run did not converge, in which step is not said" if self.any_bad else ""
        printed_eV = self.energies_eV.get(step)
        if printed_eV is None or abs(printed_eV - energy_eV) > _SAME_ENERGY_EV:
            where = "not in" if printed_eV is None else "of another run than"
            return f"step {step} is {where} {self.path.name}, so whether it converged is not known"
        if any(after < step <= upto for after, upto in self.bad):
            return f"step {step}: {NOT_CONVERGED}"
        return ""


@dataclass(frozen=True)
class _Frame:
    step: int
    energy: float
    symbols: list[str]
    values: np.ndarray


def check_cp2k(file: Path, options: ImportOptions) -> None:
    """Refuse a file without the files that belong to it, before anything is read."""
    if _FORCES.match(file.name):
        raise InputError(f"{file} holds forces only", "name the -pos- file; forces beside it are read along")
    if _POSITIONS.match(file.name):
        _forces_of(file)
        return
    output = _read_head(file)
    if output.run_type in ("ENERGY", "ENERGY_FORCE"):
        if _input_of(file, output.project, output) is None:
            raise InputError(f"no CP2K input beside {file}", "put the input there: it holds the structure")
        return
    _forces_of(_positions_of(file, output))


@last_record_says_why
def read_cp2k(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every step of the trajectory that `file` (-pos-1.xyz or output) belongs to, or its single point."""
    if _POSITIONS.match(file.name):
        yield from _trajectory(file, file, _output_of(file))
        return
    output = _scan(file)
    if output.run_type in ("ENERGY", "ENERGY_FORCE"):
        yield _single_point(file, output)
    else:
        yield from _trajectory(file, _positions_of(file, output), output)


def _trajectory(named: Path, positions: Path, output: _Output | None) -> Iterator[Record]:
    """Stream positions, forces and cells side by side; records are of the file that was named."""
    index, group = 0, ""
    project, part = _project_of(positions)
    source = _input_of(positions, project, output)
    tree, problem = _tree(source)
    _check_units(tree)
    cells = _Cells(positions, project, part, tree, problem, output)
    method: Method | None = None
    why = warning = NO_OUTPUT if output is None else ""
    forces_file = _forces_of(positions)
    with open_text(positions) as stream, open_text(forces_file) as force_stream:
        while (frame := _next_frame(stream, positions)) is not None:
            forces = _next_frame(force_stream, forces_file)
            _check_match(frame, forces)
            assert forces is not None  # checked
            atoms = _labelled(frame, forces, *cells(frame.step))
            if index == 0:
                group = content_hash(atoms)
                if output is not None:
                    method, why = _method(tree, problem, output, atoms)
                    output.corrected_only = bool(method and "electrons" in method.parameters)
            record = Record(named, index, atoms, "", method, why, group, warning, step=frame.step)
            if output is not None and (bad := output.problem(frame.step, frame.energy * HARTREE_EV)):
                record = Record(named, index, problem=bad, group=group, step=frame.step)
            yield record
            index += 1
        if _next_frame(force_stream, forces_file) is not None:
            raise DataError(f"{forces_file.name} has more steps than {positions.name}")


def _check_match(frame: _Frame, forces: _Frame | None) -> None:
    if forces is None:
        raise DataError(f"no forces of step {frame.step}; the rest of the file is not read")
    if forces.step != frame.step:
        raise DataError(
            f"positions of step {frame.step} meet forces of step {forces.step}; the rest of the file is not read"
        )
    if forces.symbols != frame.symbols:
        raise DataError(
            f"step {frame.step}: positions and forces name different atoms; the rest of the file is not read"
        )
    if forces.energy != frame.energy:
        raise DataError(
            f"step {frame.step}: positions and forces state different energies; the rest of the file is not read"
        )


def _labelled(frame: _Frame, forces: _Frame, cell_A: np.ndarray, pbc: list[bool]) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    try:
        atoms = Atoms(frame.symbols, positions=frame.values, cell=cell_A, pbc=pbc)
    except KeyError as err:
        raise DataError(f"step {frame.step}: {err} is no element; the rest of the file is not read") from err
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results.update(free_energy=frame.energy * HARTREE_EV, forces=forces.values * (HARTREE_EV / BOHR_A))
    return atoms


def _next_frame(stream: TextIO, path: Path) -> _Frame | None:
    """Return the next step of a file of positions or forces; None at the end.

    Raises
    ------
    DataError
        The file is cut or not in CP2K's form.
    """
    first = stream.readline()
    if not first.strip():
        return None
    title = stream.readline()
    match = _TITLE.match(title)
    if not first.strip().isdecimal() or match is None:
        raise DataError(f"{path.name}: not the head of a step of CP2K: '{title.strip()[:60]}'; the rest is not read")
    lines = [stream.readline() for _ in range(int(first))]
    if not all(line.endswith("\n") for line in lines):
        raise DataError(f"{path.name}: truncated in step {match[1]}")
    words = [line.split() for line in lines]
    try:
        values = np.array([[float(word) for word in row[1:4]] for row in words])
        energy = float(match[2])
    except ValueError as err:
        raise DataError(f"{path.name}: step {match[1]}: {err}; the rest is not read") from err
    if values.shape != (len(words), 3):
        raise DataError(f"{path.name}: step {match[1]} is not in rows of three numbers; the rest is not read")
    return _Frame(int(match[1]), energy, [row[0] for row in words], values)


class _Cells:
    """Return the cell of a step: from the .cell file, else the fixed cell of the input or the output."""

    def __init__(
        self, positions: Path, project: str, part: str, tree: Section | None, problem: str, output: _Output | None
    ) -> None:
        self._rows: Iterator[tuple[int, np.ndarray]] | None = None
        self._fixed: np.ndarray | None = None
        self._pbc = [True, True, True]
        self._last: tuple[int, np.ndarray] | None = None
        if tree is not None:
            try:
                self._fixed, self._pbc = input_cell(tree)
            except DataError as err:
                problem = err.message
        file = _beside(positions, f"{project}-{part}.cell")
        if file is not None:
            self._rows = _cell_rows(file)
            self._fixed = None
            return
        ensemble = tree.at("MOTION", "MD") if tree is not None else None
        words = (ensemble.words("ENSEMBLE") if ensemble is not None else None) or [""]
        if words[0].upper().startswith("NP") or (output is not None and output.cell_moves):
            raise DataError(f"the cell changes and there is no {project}-{part}.cell: print it (MOTION/PRINT/CELL)")
        if self._fixed is None and output is not None:
            self._fixed = _printed_cell(output.path)
        if self._fixed is None:
            raise DataError(f"no cell: neither {project}-{part}.cell nor an input that gives it ({problem})")

    def __call__(self, step: int) -> tuple[np.ndarray, list[bool]]:
        if self._fixed is not None:
            return self._fixed, self._pbc
        assert self._rows is not None
        while self._last is None or self._last[0] != step:
            row = next(self._rows, None)
            if row is None:
                raise DataError(f"the .cell file lacks step {step}; the rest of the file is not read")
            # a restart begins again at an earlier step
            if row[0] > step and (self._last is None or row[0] > self._last[0]):
                raise DataError(
                    f"positions of step {step} meet the cell of step {row[0]}; the rest of the file is not read"
                )
            self._last = row
        return self._last[1], self._pbc


def _cell_rows(file: Path) -> Iterator[tuple[int, np.ndarray]]:
    with open_text(file) as stream:
        for line in stream:
            words = line.split()
            if words and words[0] == "#":
                if "[Angstrom]" not in line:
                    raise DataError(f"{file.name}: cells not in Angstrom")
                continue
            try:
                yield int(words[0]), np.array([float(word) for word in words[2:11]]).reshape(3, 3)
            except (ValueError, IndexError) as err:
                raise DataError(f"{file.name} is cut or not a .cell file: '{line.strip()[:60]}'") from err


def _printed_cell(path: Path) -> np.ndarray | None:
    """Return the cell of an output if its vectors lie along the axes; others have only three decimals."""
    head = first_bytes(path, _LONGEST_OUTPUT_HEAD).decode(errors="replace")
    found = re.findall(
        r"^ CELL\| Vector [abc] \[angstrom\]:\s+(\S+)\s+(\S+)\s+(\S+)\s+\|[abc]\| =\s+(\S+)", head, re.MULTILINE
    )[:3]
    if len(found) != 3:
        return None
    vectors = np.array([[float(word) for word in row[:3]] for row in found])
    if np.count_nonzero(vectors - np.diag(np.diag(vectors))):
        return None
    return np.diag([float(row[3]) for row in found])


def _single_point(file: Path, output: _Output) -> Record:
    """Return the structure of the input with the results of the output or of the files beside it."""
    from ase.calculators.singlepoint import SinglePointCalculator

    source = _input_of(file, output.project, output)
    tree, problem = _tree(source)
    if tree is None:
        raise DataError(problem)
    atoms = input_atoms(tree)
    if file.stat().st_size > _LARGEST_SINGLE_POINT:
        raise DataError("too long for a single point")
    text = _text_of(file)
    if output.any_bad:
        raise DataError(NOT_CONVERGED)
    if CONVERGED not in text:
        raise DataError("the output does not say that the SCF converged")
    try:
        found = read_single_point(text, file.parent, output.project, len(atoms), _text_of)
    except ValueError as err:
        raise DataError(str(err)) from err
    computed = {"free_energy": found.energy_eV, "forces": found.forces_eV_A, "stress": found.stress_eV_A3}
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results.update({name: value for name, value in computed.items() if value is not None})
    method, why = _method(tree, problem, output, atoms)
    return Record(file, 0, atoms, method=method, no_method=why)


def _text_of(file: Path) -> str:
    with open_text(file) as stream:
        return stream.read()


def _method(tree: Section | None, problem: str, output: _Output, atoms: Atoms) -> tuple[Method | None, str]:
    """Return the method, or why it is not known."""
    if tree is None:
        return None, problem
    if not output.version:
        return None, "the CP2K output does not tell its version"
    try:
        return input_method(tree, output.version, atoms), ""
    except DataError as err:
        return None, err.message


def _check_units(tree: Section | None) -> None:
    """Refuse files in units that the input chooses: the files themselves do not state them."""
    for name in ("TRAJECTORY", "FORCES"):
        section = tree.at("MOTION", "PRINT", name) if tree is not None else None
        unit = (section.words("UNIT") if section is not None else None) or []
        usual = {"TRAJECTORY": ("ANGSTROM", "[ANGSTROM]"), "FORCES": ("HARTREE*BOHR^-1", "[HARTREE*BOHR^-1]")}[name]
        if unit and unit[0].upper() not in usual:
            raise DataError(f"the CP2K input prints {name} in {unit[0]}, which is not read")


def _scan(path: Path) -> _Output:
    """Read an output line by line: what ran, and which steps did not converge."""
    output = _read_head(path)
    pending = pending_at_start = restarted = False
    before: int | None = None
    energy_eV = start_eV = None
    with open_text(path) as stream:
        for line in stream:
            if NOT_CONVERGED in line:
                pending = output.any_bad = True
            elif "ENERGY| Total FORCE_EVAL" in line:
                try:
                    energy_eV = read_energy(line)
                except ValueError:
                    energy_eV = None
            elif "RESTART INFORMATION" in line:
                restarted = True
            elif "Ensemble" in line and (match := re.search(r"Ensemble [Tt]ype\s+(\S+)", line)):
                output.ensemble = match[1]
            elif "MD_INI| MD initialization" in line or "INITIAL POTENTIAL ENERGY" in line:
                # the start of a run; the number of the next step tells which step that is
                pending, pending_at_start, start_eV = False, pending, energy_eV
            elif ("tep number" in line or "STEP NUMBER" in line) and (match := _STEP.match(line)):
                step = int(match[1])
                if before is None:
                    before = step - 1 if restarted else 0
                    output.energies_eV[before] = start_eV
                if pending_at_start:
                    output.bad.append((step - 2, step - 1))
                if pending:
                    output.bad.append((before, step))
                output.energies_eV[step] = energy_eV
                pending, pending_at_start, before = False, False, step
    return output


def _read_head(path: Path) -> _Output:
    head = first_bytes(path, _LONGEST_OUTPUT_HEAD).decode(errors="replace")

    def found(pattern: str) -> str:
        match = re.search(pattern, head, re.MULTILINE)
        return match[1] if match else ""

    return _Output(
        path,
        project=found(r"^ GLOBAL\| Project name\s+(\S+)"),
        version=found(r"^ CP2K\| version string:\s+CP2K version (\S+)"),
        run_type=found(r"^ GLOBAL\| Run type\s+(\S+)").upper(),
        input_name=found(r"^ CP2K\| Input file name\s+(\S+)"),
    )


def _output_of(positions: Path) -> _Output | None:
    """Return the output beside a trajectory with the same project name; None if there is none."""
    project, _ = _project_of(positions)
    found = []
    for path in sorted(positions.parent.iterdir()):
        if path.is_file() and plain_name(path).endswith((".out", ".log")):
            output = _read_head(path)
            if output.version and output.project == project:
                found.append(path)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"outputs of project {project}: {names}; name the output of this trajectory instead")
    return _scan(found[0]) if found else None


def _positions_of(file: Path, output: _Output) -> Path:
    run_type = output.run_type or "unknown"
    fix = f"put the trajectory beside its output (a run of type {run_type})"
    return _needed(file, f"{output.project}-pos-1.xyz", fix)


def _forces_of(positions: Path) -> Path:
    project, part = _project_of(positions)
    fix = "put it there, for energies without forces are not labels (MOTION/PRINT/FORCES writes it)"
    return _needed(positions, f"{project}-frc-{part}.xyz", fix)


def _project_of(positions: Path) -> tuple[str, str]:
    """Return the project name and the number in the name of a file of positions."""
    match = _POSITIONS.match(positions.name)
    assert match is not None  # the callers see to it
    return match["project"], match["part"]


def _needed(file: Path, name: str, fix: str) -> Path:
    if (found := _beside(file, name)) is None:
        raise InputError(f"no {name} beside {file}", fix)
    return found


def _input_of(file: Path, project: str, output: _Output | None) -> Path | None:
    """Return the input beside a file: by the name in the output, else by the project's name."""
    names = [Path(output.input_name).name] if output is not None and output.input_name else []
    names += [f"{project}.inp", f"{project}-1.restart"]
    return next((path for name in names if (path := _beside(file, name)) is not None), None)


def _tree(source: Path | None) -> tuple[Section | None, str]:
    """Return the input as a tree, or why there is none."""
    if source is None:
        return None, "there is no CP2K input beside it"
    try:
        return parse_input(_text_of(source)), ""
    except DataError as err:
        return None, err.message


def _beside(file: Path, name: str) -> Path | None:
    return next((path for ending in ENDINGS if (path := file.parent / (name + ending)).is_file()), None)
