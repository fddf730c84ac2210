"""`gst analyse`: crystallinity, grains and motifs of trajectories, cycles and files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.analysis.frame import FrameOptions
from gst_jobflow.analysis.soap import SoapOptions, references
from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.documents import Trajectory
from gst_jobflow.flows.analyse import analyse_frames, analyse_trajectory, bonds_of
from gst_jobflow.selection.frames import file_structures
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import runs_of

_SHOWN = 6


def command(
    source: Annotated[str, typer.Argument(help="A trajectory or a cycle, by id or name, or a file of structures.")],
    what: Annotated[
        str, typer.Option("--what", help="Analyses, joined by commas: k-bar, tellurium, grains, motifs.")
    ] = "tellurium",
    every: Annotated[int, typer.Option(min=1, help="Only each n-th frame.")] = 1,
    reference: Annotated[
        list[Path] | None, typer.Option("--reference", help="A crystal of the composition at temperature, for k-bar.")
    ] = None,
    species: Annotated[bool, typer.Option("--species/--blind", help="Whether k-bar tells elements apart.")] = False,
    k_bar_cutoff: Annotated[
        float | None, typer.Option(min=0, max=1, help="Above it an atom is crystal-like; calibrate it. Else no share.")
    ] = None,
    min_grain: Annotated[int, typer.Option(min=1, help="Smallest grain, in tellurium atoms.")] = 100,
    bond: Annotated[
        list[str] | None, typer.Option("--bond", help="Longest bond, as Ge-Te=3.2; else first minima of g(r).")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: the cores of this machine or job.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse frames: crystallinity, grains, motifs. Frames that are done are skipped when it runs again.

    Examples: gst analyse set_1 --what tellurium,grains; gst analyse melt --what motifs --bond Ge-Te=3.2;
    gst analyse frames.extxyz --what k-bar --reference rocksalt.extxyz --reference trigonal.extxyz
    """
    names = tuple(dict.fromkeys(name.strip() for name in what.split(",")))
    options = _options(names, reference or [], species, k_bar_cutoff, min_grain, bond or [])
    if Path(source).is_file():
        tables = {source: _of_file(Path(source), every, options, processes or cores())}
        studies: dict[str, str] = {}
    else:
        results = Results.open(open_project())
        tables, studies = _of_stored(results, source, every, options, processes or cores())
    if as_json:
        print_json([{"source": name, "study_id": studies.get(name), "rows": rows} for name, rows in tables.items()])
    else:
        for name, rows in tables.items():
            _show(name, studies.get(name), rows)
    if any("problem" in row for rows in tables.values() for row in rows):
        raise typer.Exit(1)


def _options(
    names: tuple[str, ...], files: list[Path], species: bool, cutoff: float | None, min_grain: int, bonds: list[str]
) -> FrameOptions:
    known = None
    if files:
        crystals = {each.name: each.atoms for each in file_structures(files)}
        known = references(crystals, SoapOptions(species=species))
    return FrameOptions(names, known, cutoff, min_anions=min_grain, bonds_A=_bonds(bonds))


def _bonds(given: list[str]) -> dict[tuple[str, str], float]:
    found = {}
    for text in given:
        pair, _, end = text.partition("=")
        elements = sorted(pair.split("-"))
        try:
            found[elements[0], elements[1]] = float(end)
        except (IndexError, ValueError) as error:
            raise InputError(f"'{text}' is no bond", "for example --bond Ge-Te=3.2") from error
    return found


def _of_file(file: Path, every: int, options: FrameOptions, processes: int) -> list[dict[str, Any]]:
    from dataclasses import replace

    frames = file_structures([file])[::every]
    if "motifs" in options.what and not options.bonds_A:
        options = replace(options, bonds_A=bonds_of(frames))
        say("bonds end at " + ", ".join(f"{a}-{b} {end:.2f} Å" for (a, b), end in options.bonds_A.items()))
    rows = []
    for frame, answer in analyse_frames(frames, options, processes):
        if isinstance(answer, str):
            say(f"{frame.name}: {answer}")
        rows.append({"frame": frame.name, **({"problem": answer} if isinstance(answer, str) else answer[0])})
    return rows


def _of_stored(
    results: Results, source: str, every: int, options: FrameOptions, processes: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    tables, studies = {}, {}
    for run in _runs(results, source):
        study = analyse_trajectory(results, run, options, every=every, processes=processes, tell=say)
        label = run.name if run.operation_index is None else f"operation {run.operation_index}: {run.name}"
        tables[label], studies[label] = study.table, study.id
    return tables, studies


def _runs(results: Results, source: str) -> list[Trajectory]:
    try:
        return runs_of(results, source)
    except InputError as error:
        raise InputError(f"'{source}' is not a file, and {error.message}", error.fix) from error


def _show(name: str, study: str | None, rows: list[dict[str, Any]]) -> None:
    say(f"{name}: {len(rows)} frames" + (f", study {study}" if study else ""))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print_table([[_short(row.get(key)) for key in columns] for row in rows], columns)


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.{_SHOWN}g}" if isinstance(value, float) else str(value)
