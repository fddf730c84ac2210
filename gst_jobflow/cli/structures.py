"""`gst structures`: make structures or import them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, say

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer(no_args_is_help=True, help="Make structures (hard-sphere random ones, crystals) or import them.")

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write extended XYZ here instead of the database; no project needed."),
]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="Tag the structures, to find them again (repeatable).")]
Iteration = Annotated[int, typer.Option(min=0, help="Iteration of the training protocol that they belong to.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same structures.")]


@app.command("hard-sphere")
def hard_sphere(
    formula: Annotated[str, typer.Argument(help="Composition, e.g. Ge2Sb2Te5; only ratios count.")],
    atoms: Annotated[int, typer.Option("--atoms", "-n", min=1, help="Atoms in each structure.")] = 36,
    number: Annotated[int, typer.Option("--number", "-N", min=1, help="How many structures.")] = 1,
    density: Annotated[str, typer.Option(help="g/cm3: one number, or a range as 5.2-6.2.")] = "5.9",
    min_distance: Annotated[
        list[str] | None, typer.Option(help="Å: 2.4 for all pairs, or Ge-Te=2.5 for one (repeatable).")
    ] = None,
    shape: Annotated[str, typer.Option(help="cubic, orthorhombic or triclinic cells.")] = "triclinic",
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the nearest composition that the atoms allow.")
    ] = False,
    seed: Seed = 0,
    iteration: Iteration = 0,
    tag: Tag = None,
    output: Output = None,
) -> None:
    """Random structures of hard spheres, as AIRSS' buildcell makes them for training sets.

    Example: gst structures hard-sphere Ge2Sb2Te5 -n 36 -N 20 --density 5.4-6.2 --min-distance 2.4
    """
    from gst_jobflow.flows.structures import hard_sphere_family

    spec = _spec(formula, atoms, density, min_distance or [], shape, nearest, seed)
    _deliver(hard_sphere_family([spec], number), "hard_sphere", iteration, tag, output)


@app.command()
def crystal(
    kind: Annotated[str, typer.Argument(help="rocksalt (disordered, any composition on the line) or trigonal.")],
    formula: Annotated[str, typer.Argument(help="e.g. Ge1Sb2Te4, Ge2Sb2Te5, Sb2Te3, GeTe.")],
    repeat: Annotated[str, typer.Option(help="Cells along x, y, z, e.g. 2x2x2.")] = "2x2x2",
    lattice: Annotated[float | None, typer.Option(help="Rock-salt lattice constant, Å.")] = None,
    rattle: Annotated[float, typer.Option(min=0, help="Random displacements, standard deviation, Å.")] = 0.0,
    volume: Annotated[float, typer.Option(help="Volume relative to the reference cell.")] = 1.0,
    number: Annotated[int, typer.Option("--number", "-N", min=1, help="How many structures.")] = 1,
    seed: Seed = 0,
    iteration: Iteration = 0,
    tag: Tag = None,
    output: Output = None,
) -> None:
    """Crystals of the GeTe–Sb2Te3 line, strained and rattled.

    Example: gst structures crystal rocksalt Ge1Sb2Te4 --repeat 2x2x2 --rattle 0.1 -N 5
    """
    from gst_jobflow.flows.structures import CrystalSpec, crystal_family

    values: dict[str, Any] = {"kind": kind, "formula": formula, "repeat": _repeat(repeat), "lattice_A": lattice}
    spec = _checked(
        CrystalSpec, {**values, "volume_scales": (volume,), "rattles_A": (rattle,), "n_each": number, "seed": seed}
    )
    _deliver(crystal_family(spec), "crystal", iteration, tag, output)


def _spec(
    formula: str, atoms: int, density: str, min_distances: list[str], shape: str, nearest: bool, seed: int
) -> Any:
    from gst_jobflow.errors import InputError
    from gst_jobflow.structures.hard_sphere import HardSphereSpec

    pairs: dict[str, float] = {}
    everywhere = {}
    try:
        for text in min_distances:
            pair, sign, value = text.rpartition("=")
            if sign:
                pairs[pair] = float(value)
            else:
                everywhere["min_distance_A"] = float(value)
        numbers = tuple(float(part) for part in density.split("-"))
    except ValueError as err:
        raise InputError(str(err), "numbers as 2.4, pairs as Ge-Te=2.5, ranges as 5.2-6.2") from err
    return _checked(
        HardSphereSpec,
        {
            "formula": formula,
            "n_atoms": atoms,
            "density_g_cm3": numbers[0] if len(numbers) == 1 else numbers,
            "min_distances_A": pairs,
            "cell_shape": shape,
            "rounding": "nearest" if nearest else "exact",
            "seed": seed,
            **everywhere,
        },
    )


def _checked(model: Any, values: dict[str, Any]) -> Any:
    from gst_jobflow.strict import checked

    return checked(model, values)


def _repeat(text: str) -> tuple[int, int, int]:
    from gst_jobflow.errors import InputError

    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--repeat {text}", "three whole numbers, e.g. 2x2x2")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _deliver(
    family: Iterator[tuple[Atoms, dict[str, Any]]],
    config_type: Any,
    iteration: int,
    tags: list[str] | None,
    output: Path | None,
) -> None:
    if output is not None:
        _write(family, config_type, output)
        return
    from gst_jobflow.store import Results
    from gst_jobflow.store.atoms import structure_document

    results = Results.open(open_project())
    documents = [
        structure_document(
            atoms, config_type, source=source, iteration=iteration, tags=tags, artifacts=results.artifacts
        )
        for atoms, source in family
    ]
    new, known = results.add_many(documents)
    for document in documents:
        typer.echo(document.id)
    say(f"{new} new structures" + (f", {known} known before" if known else ""))


def _write(family: Iterator[tuple[Atoms, dict[str, Any]]], config_type: str, output: Path) -> None:
    from ase.io import write

    from gst_jobflow.errors import InputError

    images = []
    for atoms, source in family:
        atoms.info.update(config_type=config_type, source=source)
        images.append(atoms)
    try:
        write(output, images, format="extxyz")
    except OSError as err:
        raise InputError(f"{output} cannot be written: {err.strerror}", "choose another file") from err
    say(f"{len(images)} structures in {output}")


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Extended XYZ, vasprun.xml, OUTCAR, CP2K (-pos-1.xyz or output), ASE .db, pacemaker .pckl.gzip, "
            "LAMMPS data or dump; all but .db also gzipped."
        ),
    ],
    format: Annotated[
        str | None, typer.Option(help="What the files are, where name and first bytes do not tell.")
    ] = None,
    method: Annotated[
        Path | None, typer.Option(help="YAML with code, version and parameters of the method behind the energies.")
    ] = None,
    method_name: Annotated[
        str | None, typer.Option(help="Only a name for that method: labels of one name are one method.")
    ] = None,
    config_type: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, e.g. liquid=aimd (repeatable).")] = None,
    default_config_type: Annotated[
        str | None, typer.Option(help="Config type of ours for all others, e.g. other.")
    ] = None,
    group_key: Annotated[
        str | None,
        typer.Option(help="Records of a file that agree in this key are one group: a split keeps them whole."),
    ] = None,
    one_group: Annotated[bool, typer.Option("--one-group", help="Each file is one group: one trajectory.")] = False,
    type_map: Annotated[
        str | None, typer.Option(help="Elements of the atom types of LAMMPS files, e.g. 1=Ge,2=Sb,3=Te.")
    ] = None,
    energy_corrected: Annotated[
        bool, typer.Option("--energy-corrected", help="Take pacemaker's energy_corrected where there is no energy.")
    ] = False,
    min_distance: Annotated[float, typer.Option(help="Å: closer atoms make a bad record.")] = 0.8,
    iteration: Iteration = 0,
    tag: Tag = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all and write nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad record or warning.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that parse extended XYZ; by itself: one a core, three at most.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import structures, with their energies, forces and stresses as labels. Doing it again changes nothing.

    Every record is checked; bad ones are named by file and index (from 0) and left out, and the exit code is 1.

    vasprun.xml and, where the input is one of our settings, CP2K tell the method of their labels themselves. The frames
    of a trajectory are one group, which no split of train and test parts.

    Example: gst structures import GST-GAP-22.extxyz --method-name PBE-GAP22 --default-config-type other
    """
    from dataclasses import asdict

    from gst_jobflow.importing.formats import known_format
    from gst_jobflow.importing.options import ImportOptions, config_type_map, known_config_type
    from gst_jobflow.importing.options import type_map as read_type_map
    from gst_jobflow.importing.run import import_files
    from gst_jobflow.store import Results

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
    options = _checked(ImportOptions, values)
    results = None if dry_run else Results.open(open_project())
    with _import_progress() as progress:
        report = import_files(files, results, options, progress, workers)
    if as_json:
        print_json(asdict(report))
    else:
        _tell_import(report)
    if report.n_bad or report.stopped:
        raise typer.Exit(1)


def _method_values(file: Path | None, name: str | None) -> dict[str, Any]:
    import yaml

    from gst_jobflow.errors import InputError
    from gst_jobflow.labelling.method import Method

    if file is not None and name is not None:
        raise InputError("--method and --method-name say the same thing twice", "give one of them")
    if file is None and name is None:
        return {}
    if name is not None:
        method = Method(code="imported", parameters={"name": name})
    else:
        try:
            values = yaml.safe_load(file.read_text())  # type: ignore[union-attr]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
            raise InputError(f"--method {file} cannot be read: {err}", "a YAML file") from err
        if not isinstance(values, dict):
            raise InputError(f"--method {file} holds no keys", "code, version, parameters")
        method = _checked(Method, values)
    return {"fingerprint": method.fingerprint(), "method": method.model_dump(mode="json")}


@contextmanager
def _import_progress() -> Iterator[Any]:
    """A counter on a terminal, a line every few seconds elsewhere."""
    import time

    def text(report: Any, file: Path) -> str:
        rate = report.records / max(time.monotonic() - start, 1e-3)
        return f"{file.name}: {report.records} records, {report.n_bad} bad, {rate:.0f}/s"

    start = said = time.monotonic()
    if not sys.stderr.isatty():

        def line(report: Any, file: Path) -> None:
            nonlocal said
            if time.monotonic() - said > 5:
                said = time.monotonic()
                say(text(report, file))

        yield line
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("…") as status:

        def show(report: Any, file: Path) -> None:
            nonlocal said
            if time.monotonic() - said > 0.2:
                said = time.monotonic()
                status.update(escape(text(report, file)))

        yield show


def _tell_import(report: Any, listed: int = 20) -> None:
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
