"""`gst analyse`: crystallinity, grains, growth, motifs, gamma and maps of runs, structures and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from ase import Atoms

from gst_jobflow.analysis.plan import AnalysisPlan, known_analyses
from gst_jobflow.analysis.run import analyse_frames, analyse_stored, analyse_trajectory, bonds_of
from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import (
    JsonOption,
    chosen_material,
    open_project,
    parse_assignments,
    print_json,
    print_table,
    say,
)
from gst_jobflow.cli.option_group import argument, option, with_options
from gst_jobflow.documents import Trajectory
from gst_jobflow.importing.formats import read_records
from gst_jobflow.selection.frames import FoundStructure, stored_structures
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import located_runs

Where = Annotated[
    list[str] | None,
    typer.Option("--where", "-w", help="Instead: stored structures, as in gst query: 'config_type=melt_quench'."),
]
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class AnalyseOptions:
    """Options of analyses, in place or as jobs."""

    what: str = option(f"Joined by commas: {', '.join(known_analyses())}.", default="anion")
    every: int = option("Only each n-th frame, and the last state.", default=1, min=1)
    frames: int | None = option("About so many frames of each run, evenly.", min=1)
    reference: list[str] | None = option(
        "Crystal for k-bar: a file, the id of a structure, or rocksalt or trigonal, which are built. "
        "Best of the frames' composition at temperature. Default: both built ones.",
    )
    species: bool = option("Whether k-bar tells elements apart.", "--species/--blind", default=False)
    soap: list[str] | None = option("A hyperparameter of k-bar, e.g. cutoff_A=6 (repeatable).")
    k_bar_cutoff: float | None = option("Above it an atom is crystal-like; calibrate it. Else no share.", min=0, max=1)
    min_grain: int = option("Smallest grain, in atoms of the anion.", default=100, min=1)
    since: str | None = option("growth: trajectory whose last state is the first one; else the first frame.")
    bond: list[str] | None = option("Longest bond, as Ge-Te=3.2; else first minima of g(r).")
    processes: int | None = option("Default: the cores of this machine or job.", min=1)

    def plan(self) -> AnalysisPlan:
        """Return what is computed; raises InputError if an analysis is unknown or an option does not fit."""
        soap = parse_assignments(self.soap or [], "--soap") | ({"species": True} if self.species else {})
        given: dict[str, Any] = {
            "what": self.what, "every": self.every, "frames": self.frames, "soap": soap, "since": self.since,
            "k_bar_cutoff": self.k_bar_cutoff, "min_grain": self.min_grain, "bonds_A": _bonds(self.bond or []),
            "material": chosen_material(),
        }  # fmt: skip
        if self.reference:
            # a job runs in another folder
            paths = [str(Path(name).absolute()) if Path(name).is_file() else name for name in self.reference]
            given["references"] = paths
        return checked(AnalysisPlan, given, "gst analyse")


@with_options(AnalyseOptions, "options")
def command(
    source: str | None = argument("A trajectory or a cycle by id or name, CYCLE:N, or a file of structures."),
    where: Where = None,
    options: AnalyseOptions = AnalyseOptions(),
    as_json: JsonOption = False,
) -> None:
    """Analyse frames: crystallinity, grains, growth, motifs, gamma, maps. Frames that are done are skipped.

    Examples: gst analyse set_1 --what anion,grains; gst analyse melt --what motifs --bond Ge-Te=3.2;
    gst analyse frames.extxyz --what k-bar --reference rocksalt.extxyz --reference trigonal.extxyz
    """
    plan, processes = options.plan(), options.processes or cores()
    if source is not None and where is None and Path(source).is_file():
        tables = {source: ("", _of_file(Path(source), plan, processes))}
    else:
        tables = dict(_of_stored(Results.open(open_project()), source, where or [], plan, processes))
    if as_json:
        print_json([{"source": name, "id": id, "rows": rows} for name, (id, rows) in tables.items()])
    else:
        for name, (id, rows) in tables.items():
            _show(name, id, rows)
    if any("problem" in row for _, rows in tables.values() for row in rows):
        raise typer.Exit(1)


def runs_of(results: Results, source: str | None, where: list[str]) -> list[Trajectory]:
    """Return the runs that a command names, none with `--where`; raises InputError if it names both, or none."""
    if (source is None) == (not where):
        raise InputError("which frames?", "a trajectory or a cycle, or structures by --where")
    if source is None:
        return []
    try:
        return located_runs(results, source)
    except InputError as error:
        raise InputError(f"'{source}' is not a file, and {error.message}", error.fix) from error


def _bonds(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        pair, _, end = text.partition("=")
        try:
            found[pair] = float(end)
        except ValueError as error:
            raise InputError(f"'{text}' is no bond", "for example --bond Ge-Te=3.2") from error
    return found


def _of_file(file: Path, plan: AnalysisPlan, processes: int) -> list[dict[str, Any]]:
    first = next((each.atoms for each in _frames_of(file) if not each.problem), None)
    if first is None:
        raise InputError(f"{file}: no structure can be read from it", "name a file that holds some")
    options = plan.frame_options(plan.crystals(None, first.get_chemical_formula()))
    if options.needs_bonds:
        options = replace(options, bonds_A=bonds_of(_frames_of(file)))
        say("bonds end at " + ", ".join(f"{a}-{b} {end:.2f} Å" for (a, b), end in options.bonds_A.items()))
    frames = ((each, options.what) for number, each in enumerate(_frames_of(file)) if number % plan.every == 0)
    rows = []
    for frame, answers in analyse_frames(frames, options, processes):
        row: dict[str, Any] = {"frame": frame.name}
        for answer in answers.values():
            row |= _told(frame.name, answer) if isinstance(answer, str) else answer[0]
        rows.append(row)
    return rows


def _told(name: str, problem: str) -> dict[str, str]:
    say(f"{name}: {problem}")
    return {"problem": problem}


def _frames_of(file: Path) -> Iterator[FoundStructure]:
    """Structures of a file; a record that cannot be read has a problem, and the others go on."""
    for record in read_records(file):
        atoms = Atoms() if record.atoms is None else record.atoms
        yield FoundStructure(f"{file}:{record.index}", atoms, problem=record.problem if record.atoms is None else "")


def _of_stored(
    results: Results, source: str | None, where: list[str], plan: AnalysisPlan, processes: int
) -> Iterator[tuple[str, tuple[str, list[dict[str, Any]]]]]:
    runs = runs_of(results, source, where)
    for run in runs:
        done = analyse_trajectory(results, run, plan, processes=processes, tell=say)
        label = run.name if run.operation_index is None else f"operation {run.operation_index + 1}: {run.name}"
        yield label, (run.id, done.table())
    if not runs:
        ids = [str(each.structure_id) for each in stored_structures(results, where)]
        name = " ".join(where)
        done, study = analyse_stored(results, ids, f"analysis of {name}", plan, processes, say)
        yield name, (study.id, done.table())


def _show(name: str, id: str, rows: list[dict[str, Any]]) -> None:
    say(f"{name}: {counted(len(rows), 'frame')}" + (f", stored in {id}" if id else ""))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print_table([[_short(row.get(key)) for key in columns] for row in rows], columns)


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.{_SHOWN}g}" if isinstance(value, float) else str(value)
