"""`gst import`: import bundles and potentials."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from gst_jobflow.archive.import_bundle import BundleReport, import_bundle
from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import (
    JsonOption,
    check_name,
    disk_in_words,
    open_project,
    print_json,
    print_table,
    progress_line,
    say,
)
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.importing.potential import PotentialImport, import_potential
from gst_jobflow.store import Results

app = typer.Typer(no_args_is_help=True, help="Import bundles and potentials; for structures: gst structures import.")


@app.command()
def bundle(
    path: Path = argument("Folder, .tar or .tar.gz written by gst export.", default=...),
    dry_run: bool = flag("Only check; needs no project.", "--dry-run"),
    as_json: JsonOption = False,
) -> None:
    """Check a bundle, then import its files and documents. Repeating it changes nothing.

    Exits 1 if a label was refused because the database holds one with another energy.
    """
    results = None if dry_run else Results.open(open_project())
    with disk_in_words(), progress_line() as line:
        report = import_bundle(results, path, dry_run=dry_run, progress=line)
    if as_json:
        print_json({**asdict(report), "changed": 0 if report.dry_run else report.changed})
    else:
        _print(report)
    if report.n_problems:
        raise typer.Exit(1)


@app.command()
def potential(
    file: Path = argument("Potential for LAMMPS.", default=..., metavar="FILE.yace"),
    name: str = option("Name of the potential.", default=...),
    yaml: Path | None = option("pacemaker's .yaml, to continue the fit and for gamma."),
    asi: Path | None = option("Active set of the .yaml, for the extrapolation grade."),
    source: str = option("Source, such as a DOI or URL.", default=""),
    tag: list[str] | None = option("A tag (repeatable)."),
    as_json: JsonOption = False,
) -> None:
    """Import a published ACE potential, to run and evaluate it like one fitted here.

    Example: gst import potential Sb2Te3.yace --name XPOT-Sb2Te3 --source 'github.com/dft-dutoit/XPOT'
    """
    check_name(name)
    project = open_project()
    try:
        engine = lammps_engine(project.settings)
    except MissingProgramError as err:
        engine = None
        say(f"not tested in LAMMPS: {err.message}")
    given = PotentialImport(file, name, yaml, asi, source, tuple(tag or ()))
    found, new = import_potential(Results.open(project), given, engine)
    if as_json:
        print_json({"potential_id": found.id, "name": found.name, "new": new})
        return
    what = f"{' '.join(found.elements)}, P = {found.n_densities}, {found.n_functions:,} functions, {found.cutoff_A:g} Å"
    typer.echo(f"{found.id}: {found.name} ({what})" + ("" if new else "; already in the database"))


def _print(report: BundleReport, listed: int = 20) -> None:
    for problem in report.problems[:listed]:
        say(f"refused: {problem}")
    if report.n_problems > listed:
        say(f"… {report.n_problems - listed} more refused; --json lists the first thousand")
    for note in report.notes[:listed]:
        say(note)
    if report.left_out:
        say(f"not in the bundle: {counted(report.left_out, 'file')} of its documents; its README.md says which and why")
    if report.dry_run:
        print_table(((name, taken.new) for name, taken in report.collections.items()), ("", "documents"))
        typer.echo("the bundle is complete; nothing was written (--dry-run)")
        return
    columns = ("", "new", "known before", "replaced", "refused")
    rows = [(name, t.new, t.known, t.replaced, t.refused) for name, t in report.collections.items()]
    print_table([*rows, ("files", report.files["new"], report.files["known"], 0, 0)], columns)
    typer.echo("imported" if report.changed else "nothing new: the database already holds all of it")
