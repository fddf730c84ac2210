"""`gst structures device`: make cross-point and mushroom cells, by default of the paper's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from ase import Atoms

from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.cli.common import (
    JsonOption,
    TagOption,
    chosen_material,
    chosen_project,
    open_project,
    parse_repeat,
    print_json,
    print_table,
    progress_line,
    read_yaml,
    say,
)
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import flag, option, with_options
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
    check_fits_database,
    check_potential,
    melt_quench_stages,
    store_cell,
)
from gst_jobflow.devices.restart import write_restart
from gst_jobflow.documents import Potential
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import get_located

app = typer.Typer(
    no_args_is_help=True, help="Make device cells with a frozen amorphous barrier; by default the paper's."
)


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """Options of all kinds of cells: size, barrier, output."""

    formula: str | None = option("Composition; default: the material's.")
    repeat: str | None = option("Crystal cells along x, y, z (up), barrier included.")
    size: str | None = option("Size along x, y, z instead, nm, e.g. 20x20x40; rounded to whole cells.")
    barrier_thickness: float | None = option("Thickness of the barrier, Å; rounded to whole layers.")
    barrier_density: float | None = option("Density of the barrier, g/cm3; default: the material's.")
    min_contact: float | None = option("Smallest distance of any pair across a seam, Å; default: one a pair.")
    barrier: str | None = option(
        "Amorphous material for the barrier, tiled to size: a file, the id of a structure, or hard-sphere "
        "(random atoms, only for a preview)."
    )
    potential: str | None = option(
        "Id or name of a potential: submit jobs that melt-quench the barrier and make the cell."
    )
    melt_quench: str = option("With --potential: temperature, melt time, quench time: K,ps,ps.", default="2000,10,50")
    cutoff: float = option(
        "Cutoff that cells must be large enough for, Å; with --potential its own.", default=8.0, min=0
    )
    elements: str | None = option("Atom types of the file, in the order of pair_coeff; default: the material's.")
    output: Path | None = option(
        "LAMMPS data file (.gz: compressed), groups and JSON beside it; needs no project.", "--output", "-o"
    )
    format: str = option("data, or replicate: LAMMPS replicates a column, for huge cells.", default="data")
    restart: bool = flag("Also write a binary restart file of LAMMPS.", "--restart")
    seed: int | None = option("The same seed gives the same cell; default: 0.", min=0)
    config: Path | None = option("YAML file with fields that replace the paper's.")
    show_config: bool = flag("Print all fields and make nothing.", "--show-config")
    tag: TagOption = None
    as_json: JsonOption = False

    def spec(self, model: Any, **own: Any) -> Any:
        """Return the specification: options replace fields of --config, which replace those of the paper's cell."""
        given = {
            "formula": self.formula,
            "barrier_density_g_cm3": self.barrier_density,
            "barrier_thickness_A": self.barrier_thickness,
            "repeat": None if self.repeat is None else parse_repeat(self.repeat),
            "min_contact_A": self.min_contact,
            "seed": self.seed,
            **own,
        }
        content = {} if self.config is None else read_yaml(self.config)
        material = chosen_material()
        paper = {"material": material, "min_contact_A": dict(material.min_contacts_A), **model.PAPER}
        values = merged(merged(paper, content), _without_none(given))
        return _resized(checked(model, values, str(self.config or "")), self.size, self.repeat)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _without_none(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in nested.items() if value is not None}


@app.command("cross-point")
@with_options(CellOptions, "options")
def cross_point(
    options: CellOptions,
    phase: str | None = option("trigonal (default) or rocksalt crystal."),
    cut: str | None = option("block (default): whole van der Waals blocks; layer: between any layers."),
    disorder: bool = flag("Mix the cations of the trigonal crystal.", "--disorder"),
    lattice_scale: float | None = option("Lattice parameters relative to experiment."),
) -> None:
    """Make a crystal with the barrier across the periodic boundary along z: 532,980 atoms, 20 x 20 x 40 nm3.

    Example: gst structures device cross-point --repeat 12x7x4 --barrier hard-sphere -o cell.data
    """
    own = {"phase": phase, "cut": cut, "disorder": disorder or None, "lattice_scale": lattice_scale}
    _Request(options.spec(CrossPointSpec, **own), options).carry_out()


@app.command()
@with_options(CellOptions, "options")
def mushroom(
    options: CellOptions,
    lattice: float | None = option("Rock-salt lattice constant, Å."),
    electrode_width: float | None = option("Width of the bottom electrode along x, Å; default: a fifth of the cell."),
    electrode_height: float | None = option("Height up to which atoms belong to the contact, Å; default: 10."),
) -> None:
    """Make a rock-salt slab with cations and vacancies at random, barrier on top: 794,808 atoms, 100 x 5 x 46 nm3.

    x is the width, y the depth, z the height: the paper's 166 x 76 x 9 cells are --repeat 166x9x76 here.

    Example: gst structures device mushroom --size 30x5x14 --barrier-thickness 30 --barrier hard-sphere -o cell.data
    """
    own = {"lattice_A": lattice, "electrode": {"width_A": electrode_width, "height_A": electrode_height}}
    _Request(options.spec(MushroomSpec, **own), options).carry_out()


@dataclass(frozen=True)
class _Request:
    """Make, store or submit the cell of a specification."""

    spec: CrossPointSpec | MushroomSpec
    options: CellOptions

    def carry_out(self) -> None:
        """Submit the melt-quench, or make the cell now."""
        if self.options.show_config:
            typer.echo(as_commented_yaml(self.spec), nl=False)
            return
        self._check()
        if self.options.potential is not None:
            self._submit(self.options.potential)
            return
        if self.options.barrier is None:
            raise InputError(
                "no material for the barrier",
                "--potential ID makes it by melt-quench; --barrier takes a file, a structure id or hard-sphere",
            )

        check_cutoff(self.spec, self.options.cutoff)
        if self.options.output is not None:
            self._check_room(self.options.output)
        block, source = self._block(self.options.barrier)
        if self.options.barrier == HARD_SPHERE:
            say(f"WARNING: {HARD_SPHERE_WARNING}")
        made = (
            self._store(block, source)
            if self.options.output is None
            else self._write(block, source, self.options.output)
        )
        made = {"barrier": source, "spec": self.spec.model_dump(mode="json"), **made}
        if self.options.as_json:
            print_json(made)
        else:
            _show(made)

    def _check(self) -> None:
        check_known("no format", self.options.format, ("data", "replicate"))
        if self.options.potential is not None and self.options.barrier is not None:
            raise InputError("--potential and --barrier exclude each other", "give one of them")
        if self.options.output is None and (self.options.restart or self.options.format == "replicate"):
            raise InputError("--restart and --format replicate need a file", "name it: --output FILE")
        if self.options.output is None and chosen_project() is None:
            raise InputError("no project here to store the cell in", "write files: --output FILE")
        if self.options.potential is not None and (self.options.restart or self.options.format == "replicate"):
            raise InputError(
                "--restart and --format replicate need an existing barrier",
                "submit the cell first, then use its barrier: --barrier ID",
            )

    def _check_room(self, output: Path) -> None:
        spec = column_of(self.spec)[0] if self.options.format == "replicate" else self.spec
        check_room(output, sum(device_counts(spec).values()))

    def _block(self, barrier: str) -> tuple[Atoms, str]:
        """Return the amorphous material and its description."""
        if barrier == HARD_SPHERE:
            spec = column_of(self.spec)[0] if self.options.format == "replicate" else self.spec
            return hard_sphere_barrier(spec), HARD_SPHERE
        if Path(barrier).is_file():
            return read_barrier(Path(barrier), self._elements()), f"file {Path(barrier).name}"
        return _from_database(barrier), f"structure {barrier}"

    def _elements(self) -> list[str]:
        given = self.options.elements
        if given is None:
            return list(self.spec.material.elements)
        return [element.strip() for element in given.split(",") if element.strip()]

    def _write(self, block: Atoms, source: str, output: Path) -> dict[str, Any]:
        restart = output.with_name(f"{output.name.removesuffix('.gz').rsplit('.', 1)[0]}.restart")
        given = (self.spec, block, output, self._elements(), source)
        groups: dict[str, Any] = {}
        made: Any
        with progress_line() as progress:
            if self.options.format == "replicate":
                made = write_replicated(*given, restart if self.options.restart else None, progress)
                layers = made.column.layers
            else:
                made = write_device(*given, progress)
                groups, layers = made.groups, made.layers
        files = made.files()
        if self.options.restart:
            write_restart(made, restart)
            files.append(restart)
        names = [str(file) for file in files]
        return {"files": names, "groups": groups, "layers": layer_dicts(layers), "report": made.report}

    def _store(self, block: Atoms, source: str) -> dict[str, Any]:
        check_fits_database(self.spec)
        results = Results.open(open_project())
        device = build_device(self.spec, block)
        parents = [source.removeprefix("structure ")] if source.startswith("structure ") else []
        structure = store_cell(results, self.spec, device, parents, source, self.options.tag or [])
        return {
            "id": structure.id,
            "groups": device.groups,
            "layers": layer_dicts(device.layers),
            "report": device.report,
        }

    def _submit(self, which: str) -> None:
        project = open_project()
        results = Results.open(project)
        potential = get_located(results, Potential, which)
        check_potential(self.spec, potential)
        n_atoms = sum(device_counts(self.spec).values())
        if self.options.output is None:
            check_fits_database(self.spec)
        else:
            self._check_room(self.options.output)
        maker = DeviceCellMaker(
            cell=self.spec,
            barrier_stages=_stages(self.options.melt_quench),
            output=None if self.options.output is None else str(self.options.output.resolve()),
            tags=self.options.tag or [],
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
            f"--barrier {barrier}: no such file, and no project here to look it up in",
            "give a file or hard-sphere, or work in a project",
        )
    return load_atoms(Results.open(open_project()), barrier)


def _stages(text: str) -> Any:
    try:
        melt_K, melt_ps, quench_ps = (float(part) for part in text.split(","))
        return melt_quench_stages(melt_K, melt_ps, quench_ps)
    except ValueError as err:
        raise InputError(
            f"--melt-quench {text}", "give three numbers: K, ps in the melt, ps of the quench, e.g. 2000,10,50"
        ) from err


def _resized(spec: Any, size: str | None, repeat: str | None) -> Any:
    """Return the specification with the number of cells nearest to a size in nm."""
    if size is None:
        return spec
    if repeat is not None:
        raise InputError("--size and --repeat exclude each other", "give one of them")
    try:
        lengths = [float(part) for part in size.lower().replace("×", "x").split("x")]
    except ValueError:
        lengths = []
    if len(lengths) != 3 or not all(0 < length < 1e6 for length in lengths):
        raise InputError(f"--size {size}: not three lengths", "give nm along x, y, z, e.g. 20x20x40")
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
