"""`gst structures device`: cross-point and mushroom cells, at the paper's size unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import (
    JsonOption,
    TagOption,
    chosen_project,
    open_project,
    parse_repeat,
    print_json,
    print_table,
    progress_line,
    say,
)
from gst_jobflow.devices.cell import (
    CrossPointSpec,
    MushroomSpec,
    barrier_tiling,
    build_device,
    check_cutoff,
    device_counts,
)
from gst_jobflow.devices.cell.crystal import motif_of
from gst_jobflow.devices.cell.files import check_room, layer_dicts, write_device
from gst_jobflow.devices.cell.replicate import column_of, write_replicated
from gst_jobflow.devices.cell.source import HARD_SPHERE, HARD_SPHERE_WARNING, hard_sphere_barrier, read_barrier
from gst_jobflow.devices.cell_maker import (
    DeviceCellMaker,
    check_potential,
    check_stored,
    melt_quench_stages,
    store_cell,
)
from gst_jobflow.devices.restart import write_restart
from gst_jobflow.documents import Potential
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lineage import locate

if TYPE_CHECKING:
    from ase import Atoms


app = typer.Typer(
    no_args_is_help=True, help="Device cells with a frozen amorphous barrier; by default the paper's, atom by atom."
)

Formula = Annotated[str, typer.Option(help="Composition on the GeTe–Sb2Te3 line.")]
RepeatOption = Annotated[
    str | None, typer.Option("--repeat", help="Crystal cells along x, y, z (up), before the barrier takes its place.")
]
Size = Annotated[
    str | None, typer.Option(help="Instead: nm along x, y, z, e.g. 20x20x40; the nearest whole cells are taken.")
]
Thickness = Annotated[float | None, typer.Option("--barrier-thickness", help="Å; the nearest whole layers.")]
Density = Annotated[float, typer.Option("--barrier-density", help="g/cm3 of the barrier.")]
Contact = Annotated[
    float | None,
    typer.Option("--min-contact", help="Å: smallest distance of all pairs across seams; by default by pair."),
]
Barrier = Annotated[
    str | None,
    typer.Option(
        help="Amorphous material for the barrier, tiled to size: a file, the id of a structure in the database, or "
        "hard-sphere (random atoms, for a look only)."
    ),
]
PotentialOption = Annotated[
    str | None,
    typer.Option("--potential", help="Id or name of a potential: submit the melt-quench of the barrier, and the cell."),
]
MeltQuench = Annotated[
    str, typer.Option("--melt-quench", help="With --potential: temperature, time in the melt, time to cool: K,ps,ps.")
]
Cutoff = Annotated[
    float, typer.Option(min=0, help="Å: refuse cells too small for it; with --potential that of the potential.")
]
Elements = Annotated[str, typer.Option(help="Atom types of the file, in the order of pair_coeff.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="LAMMPS data file (.gz: compressed), groups and JSON beside it; no project needed."
    ),
]
Format = Annotated[
    str, typer.Option("--format", help="data, or replicate: LAMMPS commands that repeat a column, for huge cells.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Also have LAMMPS write a binary restart file.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same cell.")]


@app.command("cross-point")
def cross_point(
    formula: Formula = "Ge1Sb2Te4",
    repeat: RepeatOption = None,
    size: Size = None,
    barrier_thickness: Thickness = None,
    barrier_density: Density = 5.9,
    phase: Annotated[str, typer.Option(help="trigonal or rocksalt crystal.")] = "trigonal",
    cut: Annotated[str, typer.Option(help="block: whole van der Waals blocks; layer: between any layers.")] = "block",
    disorder: Annotated[bool, typer.Option("--disorder", help="Mixed cations in the trigonal crystal.")] = False,
    lattice_scale: Annotated[float, typer.Option(help="Lattice parameters relative to the measured ones.")] = 1.0,
    min_contact: Contact = None,
    barrier: Barrier = None,
    potential: PotentialOption = None,
    melt_quench: MeltQuench = "2000,10,50",
    cutoff: Cutoff = 8.0,
    elements: Elements = "Ge,Sb,Te",
    output: Output = None,
    format: Format = "data",
    restart: Restart = False,
    seed: Seed = 0,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """A crystal with the barrier across the periodic boundary along z: 532,980 atoms, 20 x 20 x 40 nm3.

    Example: gst structures device cross-point --repeat 12x7x4 --barrier hard-sphere -o cell.data
    """
    values = {
        "formula": formula,
        "barrier_density_g_cm3": barrier_density,
        "phase": phase,
        "cut": cut,
        "disorder": disorder,
        "lattice_scale": lattice_scale,
        **({} if min_contact is None else {"min_contact_A": min_contact}),
        "seed": seed,
    }
    spec = checked(
        CrossPointSpec, {**CrossPointSpec.paper().model_dump(), **_sized(barrier_thickness, repeat), **values}
    )
    request = _Request(
        spec=_resized(spec, size, repeat),
        barrier=barrier,
        potential=potential,
        melt_quench=melt_quench,
        cutoff_A=cutoff,
        elements=elements,
        output=output,
        format=format,
        restart=restart,
        tags=tag or [],
        as_json=as_json,
    )
    request.carry_out()


@app.command()
def mushroom(
    formula: Formula = "Ge1Sb2Te4",
    repeat: RepeatOption = None,
    size: Size = None,
    barrier_thickness: Thickness = None,
    barrier_density: Density = 5.9,
    lattice: Annotated[float, typer.Option(help="Rock-salt lattice constant, Å.")] = 6.03,
    electrode_width: Annotated[
        float | None, typer.Option(help="Å along x that the bottom electrode touches; by default a fifth of the cell.")
    ] = None,
    electrode_height: Annotated[float, typer.Option(help="Å up to which atoms belong to the contact.")] = 10.0,
    min_contact: Contact = None,
    barrier: Barrier = None,
    potential: PotentialOption = None,
    melt_quench: MeltQuench = "2000,10,50",
    cutoff: Cutoff = 8.0,
    elements: Elements = "Ge,Sb,Te",
    output: Output = None,
    format: Format = "data",
    restart: Restart = False,
    seed: Seed = 0,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """A rock-salt slab with cations and vacancies at random, barrier on top: 794,808 atoms, 100 x 5 x 46 nm3.

    x is the width, y the few nm of depth, z the height: the paper's 166 x 76 x 9 cells are --repeat 166x9x76 here.

    Example: gst structures device mushroom --size 30x5x14 --barrier-thickness 30 --barrier hard-sphere -o cell.data
    """
    values = {
        "formula": formula,
        "barrier_density_g_cm3": barrier_density,
        "lattice_A": lattice,
        "electrode": {"width_A": electrode_width, "height_A": electrode_height},
        **({} if min_contact is None else {"min_contact_A": min_contact}),
        "seed": seed,
    }
    spec = checked(MushroomSpec, {**_paper(MushroomSpec), **_sized(barrier_thickness, repeat), **values})
    request = _Request(
        spec=_resized(spec, size, repeat),
        barrier=barrier,
        potential=potential,
        melt_quench=melt_quench,
        cutoff_A=cutoff,
        elements=elements,
        output=output,
        format=format,
        restart=restart,
        tags=tag or [],
        as_json=as_json,
    )
    request.carry_out()


@dataclass
class _Request:
    """What both commands do with a specification."""

    spec: CrossPointSpec | MushroomSpec
    barrier: str | None
    potential: str | None
    melt_quench: str
    cutoff_A: float
    elements: str
    output: Path | None
    format: str
    restart: bool
    tags: list[str]
    as_json: bool

    def carry_out(self) -> None:
        """Submit the melt-quench, or make the cell now."""
        self._check()
        if self.potential is not None:
            self._submit(self.potential)
            return
        if self.barrier is None:
            raise InputError(
                "what is the barrier made of?",
                "--potential ID melts and quenches it, --barrier takes a file, a structure id or hard-sphere",
            )

        check_cutoff(self.spec, self.cutoff_A)
        if self.output is not None:
            self._check_room(self.output)
        block, source = self._block(self.barrier)
        if self.barrier == HARD_SPHERE:
            say(f"WARNING: {HARD_SPHERE_WARNING}")
        made = self._store(block, source) if self.output is None else self._write(block, source, self.output)
        made = {"barrier": source, "spec": self.spec.model_dump(mode="json"), **made}
        if self.as_json:
            print_json(made)
        else:
            _show(made)

    def _check(self) -> None:
        if self.format not in ("data", "replicate"):
            raise InputError(f"no format '{self.format}'", nearest(self.format, ["data", "replicate"]))
        if self.potential is not None and self.barrier is not None:
            raise InputError("--potential and --barrier say the same thing twice", "give one of them")
        if self.output is None and (self.restart or self.format == "replicate"):
            raise InputError("--restart and --format replicate write files", "say where: --output FILE")
        if self.output is None and chosen_project() is None:
            raise InputError("no project here whose database could hold the cell", "write files: --output FILE")
        if self.potential is not None and (self.restart or self.format == "replicate"):
            raise InputError(
                "--restart and --format replicate need a barrier that is there already",
                "submit the cell first, then take its barrier: --barrier ID",
            )

    def _check_room(self, output: Path) -> None:
        spec = column_of(self.spec)[0] if self.format == "replicate" else self.spec
        check_room(output, sum(device_counts(spec).values()))

    def _block(self, barrier: str) -> tuple[Atoms, str]:
        """The amorphous material, and what it is in words."""
        if barrier == HARD_SPHERE:
            spec = column_of(self.spec)[0] if self.format == "replicate" else self.spec
            return hard_sphere_barrier(spec), HARD_SPHERE
        if Path(barrier).is_file():
            return read_barrier(Path(barrier), self._elements()), f"file {Path(barrier).name}"
        return _from_database(barrier), f"structure {barrier}"

    def _elements(self) -> list[str]:
        return [element.strip() for element in self.elements.split(",") if element.strip()]

    def _write(self, block: Atoms, source: str, output: Path) -> dict[str, Any]:
        restart = output.with_name(f"{output.name.removesuffix('.gz').rsplit('.', 1)[0]}.restart")
        with progress_line() as progress:
            if self.format == "replicate":
                replicated = write_replicated(
                    self.spec, block, output, self._elements(), source, restart if self.restart else None, progress
                )
                files, groups, layers = replicated.files(), {}, replicated.column.layers
                report = replicated.report
            else:
                written = write_device(self.spec, block, output, self._elements(), source, progress)
                files, groups, layers, report = written.files(), written.groups, written.layers, written.report
        if self.restart:
            write_restart(replicated if self.format == "replicate" else written, restart)
            files.append(restart)
        return {
            "files": [str(file) for file in files],
            "groups": groups,
            "layers": layer_dicts(layers),
            "report": report,
        }

    def _store(self, block: Atoms, source: str) -> dict[str, Any]:
        check_stored(self.spec)
        results = Results.open(open_project())
        device = build_device(self.spec, block)
        parents = [source.removeprefix("structure ")] if source.startswith("structure ") else []
        structure = store_cell(results, self.spec, device, parents, source, self.tags)
        return {
            "id": structure.id,
            "groups": device.groups,
            "layers": layer_dicts(device.layers),
            "report": device.report,
        }

    def _submit(self, which: str) -> None:
        project = open_project()
        results = Results.open(project)
        potential = results.get(Potential, locate(results.database, which, "potentials")[1])
        check_potential(self.spec, potential)
        n_atoms = sum(device_counts(self.spec).values())
        if self.output is None:
            check_stored(self.spec)
        else:
            self._check_room(self.output)
        maker = DeviceCellMaker(
            cell=self.spec,
            barrier_stages=_stages(self.melt_quench),
            output=None if self.output is None else str(self.output.resolve()),
            tags=self.tags,
        )
        submit(maker.make(potential.id), project)
        tiling = barrier_tiling(self.spec)
        n_tiles = tiling.tiles[0] * tiling.tiles[1]
        say(
            f"submitted 2 jobs: melt-quench of {sum(tiling.counts.values()):,} atoms for {n_tiles} tiles of the "
            f"barrier, then the {self.spec.kind} cell of {n_atoms:,} atoms; next: gst launch"
        )


def _from_database(barrier: str) -> Atoms:
    if chosen_project() is None:
        raise InputError(
            f"--barrier {barrier}: no such file, and no project whose database could hold it",
            "give a file, hard-sphere, or work in a project",
        )
    return load_atoms(Results.open(open_project()), barrier)


def _stages(text: str) -> Any:
    try:
        melt_K, melt_ps, quench_ps = (float(part) for part in text.split(","))
        return melt_quench_stages(melt_K, melt_ps, quench_ps)
    except ValueError as err:
        raise InputError(
            f"--melt-quench {text}", "three numbers: K, ps in the melt, ps to cool, e.g. 2000,10,50"
        ) from err


def _paper(model: Any) -> dict[str, Any]:
    return model.paper().model_dump()


def _sized(barrier_thickness: float | None, repeat: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if barrier_thickness is not None:
        values["barrier_thickness_A"] = barrier_thickness
    if repeat is not None:
        values["repeat"] = parse_repeat(repeat)
    return values


def _resized(spec: Any, size: str | None, repeat: str | None) -> Any:
    """The specification with as many cells as come nearest to a size in nm."""
    if size is None:
        return spec
    if repeat is not None:
        raise InputError("--size and --repeat say the same thing twice", "give one of them")
    try:
        lengths = [float(part) for part in size.lower().replace("×", "x").split("x")]
    except ValueError:
        lengths = []
    if len(lengths) != 3 or not all(0 < length < 1e6 for length in lengths):
        raise InputError(f"--size {size}", "three lengths in nm, e.g. 20x20x40")
    _, edges_A = motif_of(spec)
    cells = [max(1, round(10 * length / edge)) for length, edge in zip(lengths, edges_A, strict=True)]
    return spec.model_copy(update={"repeat": tuple(cells)})


def _show(made: dict[str, Any]) -> None:
    report, spec = made["report"], made["spec"]
    counts = " ".join(f"{element} {count:,}" for element, count in report["counts"].items())
    box = " x ".join(f"{edge / 10:.2f}" for edge in report["box_A"])
    tiles = " x ".join(str(n) for n in report["tiles"])
    rows = [
        ("cell", f"{spec['kind']}, {spec['formula']}, {report['n_atoms']:,} atoms: {counts}"),
        ("box", f"{box} nm3"),
        ("mobile", f"{report['n_mobile']:,} atoms, {report['crystal_density_g_cm3']:.3f} g/cm3"),
        (
            "barrier",
            f"{report['n_barrier']:,} atoms, {report['barrier_A'] / 10:.2f} nm "
            f"(asked {report['barrier_asked_A'] / 10:.2f}), {report['barrier_density_g_cm3']:.3f} g/cm3, "
            f"{tiles} tiles; {made['barrier']}",
        ),
        (
            "closest contacts",
            f"{report['min_distance_A']:.3f} Å; barrier to crystal {report['seam_contact_A']:.3f} Å, "
            f"{report['n_moved']:,} atoms moved by up to {report['longest_move_A']:.2f} Å",
        ),
        ("groups", ", ".join(f"{name} {first}:{last}" for name, (first, last) in made["groups"].items())),
        ("layers", f"{len(made['layers'])} slabs of mobile atoms along z"),
    ]
    print_table([row for row in rows if row[1]], ["", ""])
    for file in made.get("files", []):
        typer.echo(file)
    if "id" in made:
        typer.echo(made["id"])
