"""`gst structures`: make, import, grade, select and sample structures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli import device, structures_failures, structures_gamma, structures_import, structures_sample
from gst_jobflow.cli.common import IterationOption, TagOption, chosen_material, open_project, parse_repeat, say
from gst_jobflow.flows.structures import CrystalSpec, crystal_family, hard_sphere_family
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.hard_sphere import HardSphereSpec

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer(
    no_args_is_help=True,
    help="Make, import and select structures: random hard-sphere structures, crystals, device cells.",
)
app.command("import")(structures_import.command)
app.command("gamma")(structures_gamma.gamma)
app.command("select")(structures_gamma.select)
app.command("sample")(structures_sample.command)
app.command("failures")(structures_failures.command)
app.add_typer(device.app, name="device")

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write extended XYZ to this file instead of the database; needs no project."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same structures.")]


@app.command("hard-sphere")
def hard_sphere(
    formula: Annotated[str, typer.Argument(help="Composition, e.g. Ge2Sb2Te5; only ratios matter.")],
    atoms: Annotated[int, typer.Option("--atoms", min=1, help="Atoms in each structure.")] = 36,
    number: Annotated[int, typer.Option("--number", "-N", min=1, help="Number of structures.")] = 1,
    density: Annotated[
        str | None,
        typer.Option(help="Density, g/cm3: a number, or a range such as 5.2-6.2; default: the material's."),
    ] = None,
    min_distance: Annotated[
        list[str] | None,
        typer.Option(
            help="Å: 2.4 for all pairs, 1.6-2.4 for a random one a structure, or Ge-Te=2.5 for a pair (repeatable)."
        ),
    ] = None,
    shape: Annotated[str, typer.Option(help="cubic, orthorhombic or triclinic cells.")] = "triclinic",
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the nearest composition possible with so many atoms.")
    ] = False,
    seed: Seed = 0,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    output: Output = None,
) -> None:
    """Make random hard-sphere structures for training sets, like AIRSS' buildcell.

    Example: gst structures hard-sphere Ge2Sb2Te5 --atoms 36 -N 20 --density 5.4-6.2 --min-distance 1.6-2.4
    """
    spec = _spec(
        formula, atoms, density or str(chosen_material().density_g_cm3), min_distance or [], shape, nearest, seed
    )
    _deliver(hard_sphere_family([spec], number), "hard_sphere", iteration, tag, output)


@app.command()
def crystal(
    kind: Annotated[str, typer.Argument(help="rocksalt (disordered, any composition) or trigonal.")],
    formula: Annotated[str, typer.Argument(help="e.g. Ge1Sb2Te4, Ge2Sb2Te5, Sb2Te3, GeTe.")],
    repeat: Annotated[str, typer.Option(help="Cells along x, y, z, e.g. 2x2x2.")] = "2x2x2",
    lattice: Annotated[float | None, typer.Option(help="Rock-salt lattice constant, Å.")] = None,
    rattle: Annotated[float, typer.Option(min=0, help="Standard deviation of random displacements, Å.")] = 0.0,
    volume: Annotated[float, typer.Option(help="Volume relative to the reference cell.")] = 1.0,
    number: Annotated[int, typer.Option("--number", "-N", min=1, help="Number of structures.")] = 1,
    seed: Seed = 0,
    iteration: IterationOption = 0,
    tag: TagOption = None,
    output: Output = None,
) -> None:
    """Make crystals of the material, strained and rattled.

    Example: gst structures crystal rocksalt Ge1Sb2Te4 --repeat 2x2x2 --rattle 0.1 -N 5
    """
    values: dict[str, Any] = {"kind": kind, "formula": formula, "repeat": parse_repeat(repeat), "lattice_A": lattice}
    values["material"] = chosen_material()
    spec = checked(
        CrystalSpec, {**values, "volume_scales": (volume,), "rattles_A": (rattle,), "n_each": number, "seed": seed}
    )
    _deliver(crystal_family(spec), "crystal", iteration, tag, output)


def _number_or_range(text: str) -> float | tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split("-"))
    return numbers[0] if len(numbers) == 1 else numbers


def _spec(
    formula: str, atoms: int, density: str, min_distances: list[str], shape: str, nearest: bool, seed: int
) -> Any:
    pairs: dict[str, float] = {}
    everywhere: dict[str, Any] = {}
    try:
        for text in min_distances:
            pair, sign, value = text.rpartition("=")
            if sign:
                pairs[pair] = float(value)
            else:
                everywhere["min_distance_A"] = _number_or_range(value)
        density_g_cm3 = _number_or_range(density)
    except ValueError as err:
        raise InputError(str(err), "write numbers as 2.4, pairs as Ge-Te=2.5, ranges as 5.2-6.2") from err
    return checked(
        HardSphereSpec,
        {
            "formula": formula,
            "n_atoms": atoms,
            "density_g_cm3": density_g_cm3,
            "min_distances_A": pairs,
            "cell_shape": shape,
            "rounding": "nearest" if nearest else "exact",
            "seed": seed,
            **everywhere,
        },
    )


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
    say(counted(new, "new structure") + (f", {known} known before" if known else ""))


def _write(family: Iterator[tuple[Atoms, dict[str, Any]]], config_type: str, output: Path) -> None:
    from ase.io import write

    images = []
    for atoms, source in family:
        atoms.info.update(config_type=config_type, source=source)
        images.append(atoms)
    try:
        write(output, images, format="extxyz")
    except OSError as err:
        raise InputError(f"{output} cannot be written: {err.strerror}", "name another file with -o") from err
    say(f"{counted(len(images), 'structure')} in {output}")
