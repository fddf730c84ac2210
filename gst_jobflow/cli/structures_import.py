"""`gst structures import`: structures and labels out of other people's files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import (
    IterationOption,
    JsonOption,
    TagOption,
    open_project,
    parse_yaml,
    print_json,
    progress_line,
    say,
)
from gst_jobflow.importing.formats import known_format
from gst_jobflow.importing.options import ImportOptions, config_type_map, known_config_type
from gst_jobflow.importing.options import type_map as read_type_map
from gst_jobflow.importing.run import import_files
from gst_jobflow.labelling.method import Method
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from gst_jobflow.importing.outcome import Outcome
    from gst_jobflow.importing.run import ImportReport

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Extended XYZ, vasprun.xml, OUTCAR, CP2K (-pos-1.xyz or output), ASE .db, pacemaker .pckl.gzip, "
        "LAMMPS data or dump; all but .db also gzipped."
    ),
]
Format = Annotated[str | None, typer.Option(help="What the files are, where name and first bytes do not tell.")]
MethodFile = Annotated[
    Path | None, typer.Option(help="YAML with code, version and parameters of the method behind the energies.")
]
MethodName = Annotated[str | None, typer.Option(help="Only a name for that method: labels of one name are one method.")]
ConfigTypes = Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, e.g. liquid=aimd (repeatable).")]
DefaultConfigType = Annotated[str | None, typer.Option(help="Config type of ours for all others, e.g. other.")]
GroupKey = Annotated[
    str | None, typer.Option(help="Records of a file that agree in this key are one group: a split keeps them whole.")
]
OneGroup = Annotated[bool, typer.Option("--one-group", help="Each file is one group: one trajectory.")]
TypeMap = Annotated[str | None, typer.Option(help="Elements of the atom types of LAMMPS files, e.g. 1=Ge,2=Sb,3=Te.")]
EnergyCorrected = Annotated[
    bool, typer.Option("--energy-corrected", help="Take pacemaker's energy_corrected where there is no energy.")
]
MinDistance = Annotated[float, typer.Option(help="Å: closer atoms make a bad record.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check all and write nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad record or warning.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that parse extended XYZ; by itself: one a core, three at most.")
]


def command(
    files: Files,
    format: Format = None,
    method: MethodFile = None,
    method_name: MethodName = None,
    config_type: ConfigTypes = None,
    default_config_type: DefaultConfigType = None,
    group_key: GroupKey = None,
    one_group: OneGroup = False,
    type_map: TypeMap = None,
    energy_corrected: EnergyCorrected = False,
    min_distance: MinDistance = 0.8,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    dry_run: DryRun = False,
    strict: Strict = False,
    workers: Workers = None,
    as_json: JsonOption = False,
) -> None:
    """Import structures, with their energies, forces and stresses as labels. Doing it again changes nothing.

    Every record is checked; bad ones are named by file and index (from 0) and left out, and the exit code is 1.

    vasprun.xml and, where the input is one of our settings, CP2K tell the method of their labels themselves. The frames
    of a trajectory are one group, which no split of train and test parts.

    Example: gst structures import GST-GAP-22.extxyz --method-name PBE-GAP22 --default-config-type other
    """
    from dataclasses import asdict

    values: dict[str, Any] = {
        **_method_values(method, method_name),
        "config_types": config_type_map(config_type or []),
        "default_config_type": known_config_type(default_config_type) if default_config_type else None,
        "format": known_format(format) if format else None,
        "type_map": read_type_map(type_map) if type_map else {},
        "group_key": group_key,
        "one_group": one_group,
        "energy_corrected": energy_corrected,
        "min_distance_A": min_distance,
        "iteration": iteration,
        "tags": tag or [],
        "dry_run": dry_run,
        "strict": strict,
    }
    options = checked(ImportOptions, values)
    results = None if dry_run else Results.open(open_project())
    with _progress() as progress:
        report = import_files(files, results, options, progress, workers)
    if as_json:
        print_json(asdict(report))
    else:
        _tell(report)
    if report.n_bad or report.stopped:
        raise typer.Exit(1)


def _method_values(file: Path | None, name: str | None) -> dict[str, Any]:
    import yaml

    if file is not None and name is not None:
        raise InputError("--method and --method-name say the same thing twice", "give one of them")
    if file is None and name is None:
        return {}
    if name is not None:
        method = Method(code="imported", parameters={"name": name})
    else:
        try:
            values = parse_yaml(file.read_text())  # type: ignore[union-attr]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
            raise InputError(f"--method {file} cannot be read: {err}", "a YAML file") from err
        if not isinstance(values, dict):
            raise InputError(f"--method {file} holds no keys", "code, version, parameters")
        method = checked(Method, values)
    return {"fingerprint": method.fingerprint(), "method": method.model_dump(mode="json")}


@contextmanager
def _progress() -> Iterator[Callable[[ImportReport, Outcome], None]]:
    """A bar by the bytes of the file that is read, where its reader counts them; records, bad ones and rate always."""
    from gst_jobflow.importing.files import plain_name

    start = time.monotonic()
    # what is known of a file without asking the disk at each record
    sizes: dict[Path, int] = {}
    with progress_line(percent=True) as line:

        def show(report: ImportReport, outcome: Outcome) -> None:
            if outcome.file not in sizes:
                sizes[outcome.file] = (
                    outcome.file.stat().st_size if plain_name(outcome.file) == outcome.file.name else 0
                )
            rate = report.records / max(time.monotonic() - start, 1e-3)
            what = f"{outcome.file.name}: {report.records} records, {report.n_bad} bad, {rate:.0f}/s"
            line(what, outcome.end if sizes[outcome.file] else 0, sizes[outcome.file])

        yield show


def _tell(report: ImportReport, listed: int = 20) -> None:
    for flaw in report.bad[:listed]:
        say(f"bad: {flaw.file} record {flaw.index}: {flaw.reason}")
    if report.n_bad > listed:
        say(f"… {report.n_bad - listed} more bad records; --json lists the first thousand")
    for flaw in report.outliers[:listed]:
        say(f"look at: {flaw.file} record {flaw.index}: {flaw.reason}")
    if report.n_outliers > listed:
        say(f"… {report.n_outliers - listed} more with energies far off")
    for flaw in report.warnings[:listed]:
        say(f"warning: {flaw.file}: {flaw.reason} (seen at record {flaw.index})")
    if len(report.warnings) > listed:
        say(f"… {len(report.warnings) - listed} more warnings; --json lists all")
    counts = f"{report.records} records, {report.n_bad} of them bad"
    if report.stopped:
        say("stopped at the first flaw" + ("" if report.dry_run else "; what is written stays, see the counts"))
    if report.dry_run:
        typer.echo(f"{counts}; a dry run, nothing is written")
        return
    typer.echo(
        f"{counts}; structures: {report.structures['new']} new, {report.structures['known']} known before; "
        f"labels: {report.labels['new']} new, {report.labels['known']} known before"
    )
