"""`gst export`: datasets, potentials and deposit bundles out of the database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.archive.bundle import BundlePlan, kind_of_target, plan_bundle, write_bundle
from gst_jobflow.archive.manifests import BundleManifest, Citation
from gst_jobflow.archive.readme import NO_LICENCE
from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.words import counted, size
from gst_jobflow.cli.analyse import runs_of
from gst_jobflow.cli.common import JsonOption, disk_in_words, open_project, print_json, print_table, progress_line, say
from gst_jobflow.cli.option_group import flag, option, with_options
from gst_jobflow.datasets.members import SPLITS
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.exporting.formats import dataset_format, export_dataset
from gst_jobflow.exporting.frames import export_frames
from gst_jobflow.exporting.potential import export_potential, exported_files
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import locate

app = typer.Typer(
    no_args_is_help=True, help="Export datasets and potentials as files, and bundles to deposit or pass on."
)

Id = Annotated[str, typer.Argument(help="Its id, the first 6 or more characters of it, or its name.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File or folder to write, completely or not at all.")]


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """Options that every export takes; those from `allow_missing` on are for bundles only."""

    dry_run: bool = flag("Only print what would be written, and its size.", "--dry-run")
    force: bool = flag("Replace what an earlier export wrote there.", "--force")
    allow_missing: bool = flag("List missing files in the bundle instead of stopping.", "--allow-missing")
    title: str = option("Bundles: title.", default="")
    authors: str = option("Bundles: 'Family, Given; Family, Given'.", default="")
    licence: str = option("Bundles: SPDX name such as CC-BY-4.0, or an address; no default.", default="")
    doi: str = option("Bundles: DOI.", default="")
    citation: str = option("Bundles: how to cite them.", default="")
    description: str = option("Bundles: a few sentences on the contents.", default="")
    as_json: JsonOption = False

    def said(self) -> Citation:
        """Return what the depositor states about the bundle."""
        names = [name.strip() for name in self.authors.split(";") if name.strip()]
        keys = ("title", "licence", "doi", "citation", "description")
        return Citation(authors=names, **{key: getattr(self, key).strip() for key in keys})

    def refuse_without_bundle(self) -> None:
        """Refuse options of bundles if none is written."""
        given = [name for name, value in self.said().model_dump().items() if value]
        if given or self.allow_missing:
            name = given[0] if given else "allow-missing"
            raise InputError(f"--{name} is for bundles", "add --format bundle, or leave it out")


@app.command()
@with_options(BundleOptions, "options")
def dataset(
    id: Id,
    output: Output,
    form: str | None = option("extxyz, pckl.gzip or bundle; default: by the name of the file.", "--format", "-f"),
    split: str | None = option("train or test; default: both."),
    options: BundleOptions = BundleOptions(),
) -> None:
    """Export a dataset as extended XYZ, as pacemaker's dataframe, or as a bundle with its labels and structures.

    Example: gst export dataset iter-1 -o train.extxyz --split train
    """
    if form == "bundle":
        if split is not None:
            raise InputError("a bundle holds the whole dataset", "leave out --split")
        _bundle("datasets", id, output, options)
        return
    options.refuse_without_bundle()
    chosen = dataset_format(output, form)
    results = _results()
    document = results.get(Dataset, _found(results, "datasets", id))
    if options.dry_run:
        check_known("no split", split, SPLITS)
        count = document.n_members if split is None else document.counts.get(split, 0)
        _tell(
            {"structures": count, "format": chosen, "written": False},
            f"{counted(count, 'structure')}; a dry run",
            options.as_json,
        )
        return
    with disk_in_words(), progress_line() as line:
        progress = partial(line, "structures")
        written = export_dataset(
            results, document, output.absolute(), form=chosen, split=split, force=options.force, progress=progress
        )
    both = " (train and test together; --split takes one)" if split is None and chosen == "pckl.gzip" else ""
    text = f"{output}: {counted(written, 'structure')} of dataset {document.id}{both}"
    _tell({"structures": written, "format": chosen, "written": True}, text, options.as_json)


@app.command()
@with_options(BundleOptions, "options")
def potential(
    id: Id,
    output: Output,
    form: str = option(
        "files (for LAMMPS, with a README), or bundle with everything it came from.", "--format", "-f", default="files"
    ),
    options: BundleOptions = BundleOptions(),
) -> None:
    """Export a potential as a folder with README, or as a bundle with its dataset, labels and structures.

    Example: gst export potential 8c01d2 -o GST-ACE
    """
    if form == "bundle":
        _bundle("potentials", id, output, options)
        return
    check_known("no format", form, ("files", "bundle"))
    options.refuse_without_bundle()
    if kind_of_target(output) != "folder":
        raise InputError(
            f"{output.name}: these files go into a folder", "name a folder with -o, or add --format bundle"
        )
    results = _results()
    document = results.get(Potential, _found(results, "potentials", id))
    if options.dry_run:
        files = {name: ref.size_bytes for name, ref in exported_files(document)}
        text = (
            "\n".join(f"{name}: {n_bytes} bytes" for name, n_bytes in files.items()) + "\na dry run, nothing is written"
        )
        _tell({"files": files, "written": False}, text, options.as_json)
        return
    with disk_in_words():
        names = export_potential(results, document, output.absolute(), force=options.force)
    _tell({"files": names, "written": True}, f"{output}: {', '.join(names)}", options.as_json)


@app.command()
def frames(
    source: Annotated[str, typer.Argument(help="A trajectory by id or name, or CYCLE:N for the N-th operation.")],
    output: Output,
    every: int = option("Only each n-th frame, and the last state.", default=1, min=1),
    array: list[str] | None = option("An array of atoms, e.g. k_bar (repeatable); none: all."),
    force: bool = flag("Replace a file that is there.", "--force"),
) -> None:
    """The frames of a run with what gst analyse computed of each atom, as extended XYZ or a dump of LAMMPS.

    Example: gst export frames mushroom:3 -o set.lammpstrj.gz --array k_bar --array grain
    """
    results = _results()
    runs = runs_of(results, source, [])
    if len(runs) > 1:
        raise InputError(f"cycle {source} has {len(runs)} runs", f"one at a time: {source}:1")
    with disk_in_words():
        count = export_frames(
            results, runs[0], output.absolute(), every=every, arrays=array or [], force=force, tell=say
        )
    typer.echo(f"{output}: {counted(count, 'frame')} of trajectory {runs[0].id}")


@app.command()
@with_options(BundleOptions, "options")
def study(
    id: Id,
    output: Output,
    options: BundleOptions = BundleOptions(),
) -> None:
    """Export a study as a bundle with its members and everything they came from. -o is a folder, .tar or .tar.gz.

    Example: gst export study demo-1 -o demo.tar --title "A demo" --authors "Doe, Jane" --licence CC-BY-4.0
    """
    _bundle("studies", id, output, options)


@app.command()
@with_options(BundleOptions, "options")
def cycle(
    id: Id,
    output: Output,
    options: BundleOptions = BundleOptions(),
) -> None:
    """Export a device cycle as a bundle with its trajectories, cells, potential, and everything they came from.

    Example: gst export cycle 77ab01 -o cycle.tar
    """
    _bundle("cycles", id, output, options)


@app.command("all")
@with_options(BundleOptions, "options")
def everything(
    output: Output,
    options: BundleOptions = BundleOptions(),
) -> None:
    """Export all results as a bundle, without the launchpad and its queues, which `gst db backup` saves.

    Example: gst export all -o group-data.tar
    """
    _bundle("all", None, output, options)


def _results() -> Results:
    return Results.open(open_project())


def _found(results: Results, collection: str, text: str) -> str:
    return locate(results.database, text, collection)[1]


def _bundle(
    collection: str,
    text: str | None,
    output: Path,
    options: BundleOptions,
) -> None:
    kind_of_target(output)
    results = _results()
    id = _found(results, collection, text) if text is not None else None
    if options.dry_run:
        _tell_plan(plan_bundle(results, collection, id), options.as_json)
        return
    with disk_in_words(), progress_line() as line:
        manifest = write_bundle(
            results,
            collection,
            id,
            output.absolute(),
            citation=options.said(),
            force=options.force,
            allow_missing=options.allow_missing,
            progress=line,
        )
    if options.as_json:
        print_json(manifest.model_dump(mode="json"))
    else:
        _tell_bundle(manifest, output)
    if not options.licence.strip():
        say(f"{NO_LICENCE}\n  → state one: --licence")


def _tell_plan(plan: BundlePlan, as_json: bool) -> None:
    if as_json:
        files = plan.files.model_dump(include={"count", "size_bytes"})
        left_out = [ref.model_dump() for ref in plan.files.left_out]
        print_json({"documents": plan.documents, "size_bytes": plan.size_bytes, "files": files, "left_out": left_out})
        return
    rows = [(name, count, size(plan.size_bytes[name])) for name, count in plan.documents.items()]
    rows.append(("files", plan.files.count, size(plan.files.size_bytes)))
    print_table(rows, ("", "number", "size before packing"))
    for ref in plan.files.left_out[:20]:
        say(f"left out ({ref.reason}): {ref.name} {ref.sha256}")
    say("a dry run, nothing is written")


def _tell_bundle(manifest: BundleManifest, output: Path) -> None:
    rows = [(name, part.documents, size(part.size_bytes)) for name, part in manifest.collections.items()]
    print_table([*rows, ("files", manifest.files.count, size(manifest.files.size_bytes))], ("", "number", "size"))
    typer.echo(f"written: {output}")
    left_out = manifest.files.left_out
    for ref in left_out[:20]:
        say(f"left out ({ref.reason}): {ref.name} {ref.sha256}")
    if len(left_out) > 20:
        say(f"… {len(left_out) - 20} more; manifest.json and README.md list them")


def _tell(values: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        typer.echo(text)
