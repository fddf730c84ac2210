"""`gst structures import`: structures and labels out of other people's files."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import (
    IterationOption,
    JsonOption,
    TagOption,
    open_project,
    print_json,
    progress_line,
    read_yaml,
    say,
)
from gst_jobflow.cli.option_group import flag, option, with_options
from gst_jobflow.importing.files import is_packed
from gst_jobflow.importing.formats import known_format
from gst_jobflow.importing.options import ImportOptions, assignments, config_type_map, known_config_type
from gst_jobflow.importing.outcome import Outcome
from gst_jobflow.importing.run import ImportReport, UnansweredError, import_files
from gst_jobflow.labelling.method import Method
from gst_jobflow.store import Results

_TELL_S = 0.1
"""Between two looks at the progress: what it says costs as much as to take a record."""
Files = Annotated[
    list[Path],
    typer.Argument(
        help="Extended XYZ, vasprun.xml, OUTCAR, CP2K (-pos-1.xyz or output), ASE .db, pacemaker .pckl.gzip, "
        "LAMMPS data or dump; all but .db also packed by gzip, bzip2, xz or zstd."
    ),
]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What the user says of the files."""

    format: str | None = option("Format of the files, if first bytes and name do not tell.")
    method: Path | None = option("YAML with code, version and parameters of the method behind the energies.")
    method_name: str | None = option("Only a name for that method: labels of one name are one method.")
    energy_key: str | None = option(
        "Name of the energy that is the label, e.g. REF_energy; default: free_energy or energy."
    )
    forces_key: str | None = option("Name of its forces; else those of the same prefix as --energy-key, or forces.")
    stress_key: str | None = option("Name of its stress or virial; else the same way: stress, virial or virials.")
    free_atoms: str | None = option(
        "eV, kept with the method for --reference-energies free-atoms: Ge=-4.1,Sb=-3.9,Te=-3.2."
    )
    config_type: list[str] | None = option("THEIRS=OURS, e.g. liquid=aimd (repeatable).")
    default_config_type: str | None = option("Config type of ours for all others, e.g. other.")
    group_key: str | None = option("Records of a file that agree in this key are one group: a split keeps them whole.")
    one_group: bool = flag("Each file is one group: one trajectory.", "--one-group")
    type_map: str | None = option("Elements of the atom types of LAMMPS files, e.g. 1=Ge,2=Sb,3=Te.")
    energy_corrected: bool = flag("Take pacemaker's energy_corrected where there is no energy.", "--energy-corrected")
    min_distance: float = option("Å: closer atoms make a bad record.", default=0.8)

    def values(self) -> dict[str, Any]:
        """Return the fields of `ImportOptions` that these are."""
        default = self.default_config_type
        return {
            **self._method(),
            "config_types": config_type_map(self.config_type or []),
            "default_config_type": known_config_type(default) if default else None,
            "format": known_format(self.format) if self.format else None,
            "type_map": assignments("--type-map", self.type_map, "1=Ge,2=Sb") if self.type_map else {},
            "free_atoms_eV": assignments("--free-atoms", self.free_atoms, "Ge=-4.1") if self.free_atoms else {},
            "min_distance_A": self.min_distance,
            **{
                name: getattr(self, name)
                for name in ("energy_key", "forces_key", "stress_key", "group_key", "one_group", "energy_corrected")
            },
        }

    def _method(self) -> dict[str, Any]:
        if self.method is not None and self.method_name is not None:
            raise InputError("--method and --method-name say the same thing twice", "give one of them")
        if self.method_name is not None:
            method = Method(code="imported", parameters={"name": self.method_name})
        elif self.method is not None:
            method = checked(Method, read_yaml(self.method), str(self.method))
        else:
            return {}
        return {"fingerprint": method.fingerprint(), "method": method.model_dump(mode="json")}


@with_options(FileOptions, "about")
def command(
    files: Files,
    about: FileOptions = FileOptions(),
    iteration: IterationOption = 0,
    tag: TagOption = None,
    dry_run: bool = flag("Check all and write nothing.", "--dry-run"),
    strict: bool = flag("Stop at the first bad record or warning.", "--strict"),
    workers: int | None = option(
        "Processes that parse extended XYZ; default: one for large files; 1: none of its own.",
        "--processes",
        "--workers",
        min=1,
    ),
    as_json: JsonOption = False,
) -> None:
    """Import structures, with their energies, forces and stresses as labels. Doing it again changes nothing.

    Every record is checked; bad ones are named by file and index (from 0) and left out, and the exit code is 1. What
    the files do not say (method, config type, which of two sets of labels) is asked once, with a command that answers.

    vasprun.xml and, where the input is one of our settings, CP2K tell the method of their labels themselves. The frames
    of a trajectory are one group, which no split of train and test parts.

    Example: gst structures import GST-GAP-22.extxyz --method-name PBE-GAP22 --default-config-type other
    """
    values = {"iteration": iteration, "tags": tag or [], "dry_run": dry_run, "strict": strict}
    options = checked(ImportOptions, values | about.values())
    project = None if dry_run else open_project()
    results = None if project is None else Results.open(project)
    receipts = None if project is None else project.private_dir / "imports"
    try:
        with _progress() as progress:
            report = import_files(files, results, options, progress, workers, receipts)
    except UnansweredError as err:
        raise InputError(f"{err.message}; nothing more was imported", _same_command(err.options)) from err
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
        if options.free_atoms_eV and not dry_run:
            say('next: gst dataset create NAME -w "n_atoms>1" --reference-energies free-atoms')
    if report.n_bad or report.stopped:
        raise typer.Exit(1)


def _same_command(options: list[str]) -> str:
    """Return the command line of this process with options added."""
    return f"gst {shlex.join(sys.argv[1:])} {' '.join(options)}"


@contextmanager
def _progress() -> Iterator[Callable[[ImportReport, Outcome], None]]:
    """Show records, bad ones and rate, and a bar by the bytes of the file if its reader counts them."""
    start = told = time.monotonic()
    # without asking the disk at each record
    sizes: dict[Path, int] = {}
    with progress_line(percent=True) as line:

        def show(report: ImportReport, outcome: Outcome) -> None:
            nonlocal told
            if time.monotonic() - told < _TELL_S:
                return
            told = time.monotonic()
            if outcome.file not in sizes:
                sizes[outcome.file] = 0 if is_packed(outcome.file) else outcome.file.stat().st_size
            rate = report.records / max(time.monotonic() - start, 1e-3)
            what = f"{outcome.file.name}: {counted(report.records, 'record')}, {report.n_bad} bad, {rate:.0f}/s"
            line(what, outcome.end if sizes[outcome.file] else 0, sizes[outcome.file])

        yield show


def _print_report(report: ImportReport, listed: int = 20) -> None:
    for kind, flaws, number in (
        ("bad", report.reasons, len(report.reasons)),
        ("look at", report.outliers, report.n_outliers),
        ("warning", report.warnings, len(report.warnings)),
    ):
        for flaw in flaws[:listed]:
            more = f" and {flaw.count - 1} more" if flaw.count > 1 else ""
            say(f"{kind}: {flaw.file} record {flaw.index}{more}: {flaw.reason}")
        if number > listed:
            say(f"… {number - listed} more ({kind}); --json lists the first thousand")
    if report.options:
        say(f"  → {_same_command(report.options)}")
    counts = f"{counted(report.records, 'record')}, {report.n_bad} of them bad"
    if report.stopped:
        say("stopped at the first flaw" + ("" if report.dry_run else "; what is written stays, see the counts"))
    if report.dry_run:
        typer.echo(f"{counts}; a dry run, nothing is written")
        return
    typer.echo(
        f"{counts}; structures: {report.structures['new']} new, {report.structures['known']} known before; "
        f"labels: {report.labels['new']} new, {report.labels['known']} known before"
    )
