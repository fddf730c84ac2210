"""`gst dataset`: make, split, weight, thin, show and compare datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError, check_known, nearest
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import (
    JsonOption,
    check_name,
    disk_in_words,
    open_project,
    print_json,
    print_table,
    progress_line,
    read_yaml,
    say,
)
from gst_jobflow.cli.fit_options import as_commented_yaml
from gst_jobflow.cli.option_group import argument, flag, option, with_options
from gst_jobflow.datasets import (
    CreatedDataset,
    DatasetSpec,
    SplitSpec,
    create_dataset,
    describe_dataset,
    diff_datasets,
    fraction_datasets,
    load_members,
    near_duplicates,
    read_members,
    reweight,
    split_by_query,
    split_dataset,
    split_in_folds,
)
from gst_jobflow.datasets.diff import MOVED, ONLY_FIRST, ONLY_SECOND, member_changes
from gst_jobflow.datasets.members import SPLITS
from gst_jobflow.datasets.select import fingerprints
from gst_jobflow.documents import ConfigType, Dataset, Potential
from gst_jobflow.exporting.chemiscope import MOST_STRUCTURES, write_map
from gst_jobflow.labelling.method import Method
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

app = typer.Typer(
    no_args_is_help=True, help="Datasets: the labels that a potential is fitted to, how they are split and weighted."
)

DatasetId = Annotated[
    str, typer.Argument(metavar="DATASET", help="Id of a dataset, at least its first 6 characters, or its name.")
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the new dataset; default: the old name and what was done.")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same draw.")]


@dataclass(frozen=True)
class SpecOptions:
    """Options of `gst dataset create` that are fields of `DatasetSpec`; one that is given replaces the file's."""

    labels_where: list[str] | None = option("As --where; structures without such a label are counted as left out.")
    test_fraction: float | None = option("Share of the groups of each config_type to test; default 0.1.")
    seed: int | None = option("Seed of the split; default 0.", min=0)
    weights: str | None = option("Factors on the loss by config_type: aimd=1,hard_sphere=0.5.")
    reference_energies: str | None = option(
        "least-squares (default), free-atoms (labels of isolated atoms), or eV: Ge=-4.1,Sb=-3.9,Te=-3.2."
    )
    max_force: float | None = option("Leave out labels with a larger force on an atom, eV/Å.")
    drop_near_duplicates: float | None = option(
        "Keep one of structures whose interatomic distances are this alike, Å. Takes a while."
    )
    random_fraction: float | None = option("Share of hard_sphere and rss structures to keep in train; default 1.")
    iteration: int | None = option("Iteration of the training protocol.", min=0)
    parent: str | None = option("Dataset, by id or name, that this one continues: what it trained on is not tested.")
    test_set: str | None = option("Dataset, by id or name, whose test set this one takes instead of drawing one.")
    config: Path | None = option("YAML file with these fields, as --show-config prints.")

    def spec(self, results: Callable[[], Results]) -> DatasetSpec:
        """Return the settings of the file with the options over them; `results` is asked only for other datasets."""
        content = {} if self.config is None else read_yaml(self.config)
        given = {
            "config_type_weights": self.weights and _numbers(self.weights, "--weights", "aimd=1,hard_sphere=0.5"),
            "reference_energies": self.reference_energies and _energies(self.reference_energies),
            "labels_where": self.labels_where,
            "max_force_eV_A": self.max_force,
            "near_duplicates_A": self.drop_near_duplicates,
            "random_fraction": self.random_fraction,
            "iteration": self.iteration,
            "parent_id": self.parent,
            "test_dataset_id": self.test_set,
        }
        split = {"test_fraction": self.test_fraction, "seed": self.seed}
        values = merged(content, {"split": {key: value for key, value in split.items() if value is not None}})
        values |= {key: value for key, value in given.items() if value is not None}
        spec = checked(DatasetSpec, values, str(self.config or ""))
        named = {field: getattr(spec, field) for field in ("parent_id", "test_dataset_id")}
        ids = {field: get_located(results(), Dataset, name).id for field, name in named.items() if name is not None}
        return spec.model_copy(update=ids)


@app.command()
@with_options(SpecOptions, "options")
def create(
    name: str | None = argument("Name that people know it by."),
    where: list[str] | None = option(
        "Conditions on structures and labels, as in gst query; all without.", "--where", "-w"
    ),
    fingerprint: str | None = option("Method of the labels; not needed where all labels are of one."),
    method_name: str | None = option("Instead: the name that labels were imported under with --method-name."),
    options: SpecOptions = SpecOptions(),
    show_config: bool = flag("Print all fields, and make nothing.", "--show-config"),
    as_json: JsonOption = False,
) -> None:
    """Make a dataset of the converged labels of structures. Repeating it gives the same id.

    Examples: gst dataset create iter-1 -w "iteration<=1 n_atoms>1" --max-force 20 --weights crystal=2; gst dataset
    create --show-config > dataset.yaml; gst dataset create iter-2 --config dataset.yaml
    """
    if show_config:
        typer.echo(as_commented_yaml(options.spec(lambda: Results.open(open_project()))), nl=False)
        return
    if name is None:
        raise InputError("the dataset has no name", "give one: gst dataset create NAME")
    check_name(name)
    results = Results.open(open_project())
    spec = options.spec(lambda: results)
    method = _fingerprint(results, fingerprint, method_name)
    with progress_line() as line:
        progress = partial(line, "compared")
        made = create_dataset(results, name, method, spec, where=where or [], progress=progress)
    for text in _remarks(made.dataset):
        say(text)
    _print_created([made], as_json)


@app.command()
def split(
    dataset: DatasetId,
    test_fraction: float | None = option("Draw this share of the groups of each config_type to test."),
    test_where: list[str] | None = option("Test the members that meet these, as in create --where."),
    kfold: int | None = option("Make so many datasets; each group is tested in one."),
    seed: Seed = 0,
    name: Name = None,
    as_json: JsonOption = False,
) -> None:
    """Split the labels of a dataset anew; the result names the old one as its parent.

    Example: gst dataset split iter-1 --test-where config_type=aimd
    """
    if sum(way is not None for way in (test_fraction, test_where, kfold)) != 1:
        raise InputError("the way to split is not clear", "give one of --test-fraction, --test-where and --kfold")
    if test_where is not None and seed:
        raise InputError("--seed has no effect with --test-where", "leave it out")
    results = Results.open(open_project())
    found = get_located(results, Dataset, dataset)
    if test_where is not None:
        made = [split_by_query(results, found.id, test_where, name=name)]
        if followed := made[0].dataset.split.get("followed_their_group"):
            say(f"{followed} more are tested, because their groups match")
    elif kfold is not None:
        made = split_in_folds(results, found.id, kfold, seed, name=name)
    else:
        spec = checked(SplitSpec, {"test_fraction": test_fraction, "seed": seed})
        made = [split_dataset(results, found.id, spec, name=name)]
    _print_created(made, as_json, found)


@app.command()
def weights(
    dataset: DatasetId,
    assignments: list[str] = argument("e.g. aimd=2 hard_sphere=0.5", default=..., metavar="TYPE=WEIGHT…"),
    name: Name = None,
    as_json: JsonOption = False,
) -> None:
    """Change weights of config types; those not named stay.

    Example: gst dataset weights iter-1 aimd=2 hard_sphere=0.5
    """
    new = _numbers(",".join(assignments), "weights", "aimd=2 hard_sphere=0.5")
    results = Results.open(open_project())
    found = get_located(results, Dataset, dataset)
    _print_created([reweight(results, found.id, new, name=name)], as_json, found)


@app.command()
def fractions(
    dataset: DatasetId,
    of: str = option("Config types to thin.", default="hard_sphere,rss"),
    keep: str = option("Shares to keep, one dataset each.", default="1,0.5,0.25,0"),
    seed: Seed = 0,
    name: Name = None,
    as_json: JsonOption = False,
) -> None:
    """Make datasets with nested shares of the random training structures, for ablations.

    Example: gst dataset fractions iter-1 --of hard_sphere,rss --keep 1,0.5,0.25,0
    """
    kinds = [kind.strip() for kind in of.split(",")]
    if unknown := [kind for kind in kinds if kind not in get_args(ConfigType)]:
        raise InputError(f"no config_type '{unknown[0]}'", nearest(unknown[0], get_args(ConfigType)))
    try:
        shares = [float(part) for part in keep.split(",")]
    except ValueError as err:
        raise InputError(f"--keep {keep} is no list of numbers", "give shares, e.g. 1,0.5,0.25,0") from err
    results = Results.open(open_project())
    found = get_located(results, Dataset, dataset)
    _print_created(fraction_datasets(results, found.id, shares, kinds, seed, name=name), as_json, found)


@app.command()
def show(
    dataset: DatasetId,
    members: bool = flag("List the members instead, one a line.", "--members"),
    as_json: JsonOption = False,
) -> None:
    """Show counts, weights, reference energies, compositions and ranges of a dataset, and how it was made.

    Example: gst dataset show iter-1
    """
    results = Results.open(open_project())
    found = get_located(results, Dataset, dataset)
    if members:
        _print_members(read_members(results.artifacts, found), as_json)
        return
    numbers = describe_dataset(results, found)
    if as_json:
        print_json({**found.model_dump(mode="json"), **numbers})
        return
    for line in _description(results, found, numbers):
        typer.echo(line)
    print_table(
        [
            [*list(row.values())[:5], _range(row["energy_per_atom_eV"]), _range(row["max_force_eV_A"])]
            for row in numbers["config_types"]
        ],
        ["config_type", "train", "test", "atoms", "weight", "energy eV/atom", "largest force eV/Å"],
    )
    shown = numbers["compositions"][:20]
    print_table([list(row.values()) for row in shown], ["composition", "train", "test"])
    if len(numbers["compositions"]) > len(shown):
        say(f"20 of {len(numbers['compositions'])} compositions; --json shows all")


@app.command("map")
def structure_map(
    dataset: DatasetId,
    output: Path = option("File to write: .json.gz or .json.", "--output", "-o", default=...),
    potential: str | None = option("Also show the errors of this potential: id or name."),
    split: str | None = option("train or test; default: both."),
    most: int = option("Structures to draw from a larger dataset, evenly.", default=MOST_STRUCTURES, min=1),
    force: bool = flag("Replace a file that is there.", "--force"),
    as_json: JsonOption = False,
) -> None:
    """Write a map of the structures for chemiscope.org: energies, forces, config types, similarity by SOAP.

    Example: gst dataset map iter-1 -o iter-1.json.gz --potential GST-ACE
    """
    check_known("no split", split, SPLITS)
    project = open_project()
    results = Results.open(project)
    found = get_located(results, Dataset, dataset)
    judged = None if potential is None else get_located(results, Potential, potential)
    with disk_in_words(), progress_line() as line:
        written = write_map(
            results, project.settings, found, output.absolute(), potential=judged, split=split, most=most, force=force,
            cores=cores(), progress=line,
        )  # fmt: skip
    total = found.n_members if split is None else found.counts[split]
    if as_json:
        print_json({"structures": written, "of": total, "file": str(output)})
        return
    drawn = "" if written == total else f" of {total:,}, drawn evenly; --most takes more"
    typer.echo(f"{output}: {counted(written, 'structure')}{drawn}")
    say("chemiscope.org opens it: Load/Save, Load dataset")


@app.command()
def diff(
    first: DatasetId,
    second: DatasetId,
    members: bool = flag("List members: - only in the first, + only in the second, ~ moved.", "--members"),
    as_json: JsonOption = False,
) -> None:
    """Compare two datasets: members, train and test, weights, reference energies.

    Example: gst dataset diff iter-0 iter-1
    """
    results = Results.open(open_project())
    one, other = get_located(results, Dataset, first), get_located(results, Dataset, second)
    if members:
        _print_changes(results, one, other, as_json)
        return
    found = diff_datasets(results, one, other)
    if as_json:
        print_json({**asdict(found), "same": found.same})
        return
    kinds = sorted({kind for counts in found.members.values() for kind in counts})
    rows = [
        [what, sum(counts.values()), *(counts.get(kind, 0) for kind in kinds)] for what, counts in found.members.items()
    ]
    print_table(
        rows, ["members", "all", *kinds], title=f"{one.name} ({one.id[:12]}) and {other.name} ({other.id[:12]})"
    )
    for title, pairs in (
        ("moved", found.moved),
        ("weight", found.weights),
        ("reference energy", found.reference_energies_eV),
    ):
        for key, change in pairs.items():
            typer.echo(f"{title} {key}: {change if isinstance(change, int) else _arrow(change)}")
    for key, (before, after) in found.fields.items():
        typer.echo(f"{key}: {before} → {after}")
    say("a fit sees the same" if found.same else "a fit sees the difference")


@app.command()
def duplicates(
    dataset: DatasetId,
    tolerance: float = option("Å by which interatomic distances may differ.", default=0.01),
    as_json: JsonOption = False,
) -> None:
    """List members that nearly equal another one. Takes a few milliseconds a structure.

    Two structures are near-duplicates when their atoms can be paired, element by element, so that the sorted distances
    to the 12 nearest neighbours of each element (up to 6 Å) differ nowhere by more than the tolerance, whatever the
    order, origin and orientation of the atoms. Moves by up to half the tolerance are always found.

    Example: gst dataset duplicates iter-1 --tolerance 0.02
    """
    results = Results.open(open_project())
    found = get_located(results, Dataset, dataset)
    table = load_members(results, found)
    with progress_line() as line:
        pairs = near_duplicates(results, table, tolerance, partial(line, "compared"))
    columns = ("structure_id", "near", "config_type", "split", "split_of_near", "energy_difference_eV_per_atom")
    ids, kinds, sides = table.structure_ids, table.config_types, ("train", "test")
    rows = [
        (
            ids[pair.row].decode(),
            ids[pair.of].decode(),
            kinds.known[kinds.codes[pair.row]],
            sides[int(table.test[pair.row])],
            sides[int(table.test[pair.of])],
            pair.energy_difference_eV,
        )
        for pair in pairs
    ]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table([[*row[:5], f"{row[5]:.2g}"] for row in rows], columns)
    straddling = sum(row[3] != row[4] for row in rows)
    say(f"{len(rows)} of {len(table)} are within {tolerance:g} Å of another, {straddling} across train and test")


def _energies(text: str) -> Any:
    if text in ("least-squares", "free-atoms"):
        return text
    return _numbers(text, "--reference-energies", "Ge=-4.1,Sb=-3.9; or least-squares, free-atoms")


def _fingerprint(results: Results, given: str | None, name: str | None) -> str:
    """Return the requested method, or the only one."""
    if given is not None and name is not None:
        raise InputError("--fingerprint and --method-name say the same thing twice", "give one of them")
    if name is not None:
        return Method(code="imported", parameters={"name": name}).fingerprint()
    if given is not None:
        return given
    known = fingerprints(results.database)
    if not known:
        raise InputError("there are no labels", "gst submit label makes labels; gst structures import brings some")
    if len(known) > 1:
        raise InputError(
            f"labels of {len(known)} methods, which never mix: {', '.join(known)}",
            f"choose one: --fingerprint {known[0]}",
        )
    say(f"labels of {known[0]}")
    return known[0]


def _numbers(text: str, option: str, example: str) -> dict[str, float]:
    """Parse `a=1,b=2`; refuse a name given twice."""
    numbers: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        key, sign, value = part.partition("=")
        if not sign or not key or key in numbers:
            raise InputError(f"{option} {text}: '{part}'", f"write each name once, e.g. {example}")
        try:
            numbers[key] = float(value)
        except ValueError as err:
            raise InputError(f"{option} {text}: '{value}' is not a number", f"e.g. {example}") from err
    return numbers


def _print_created(made: Iterable[CreatedDataset], as_json: bool, origin: Dataset | None = None) -> None:
    """Print ids, a table of counts, and which datasets were known."""
    all_made = list(made)
    if as_json:
        print_json([{**item.dataset.model_dump(mode="json"), "new": item.new} for item in all_made])
        return
    for item in all_made:
        typer.echo(item.dataset.id)
        counts = item.dataset.counts_by_config_type
        kinds = sorted({kind for side in counts.values() for kind in side})
        rows = [[kind, *(counts[split].get(kind, 0) for split in ("train", "test"))] for kind in kinds]
        rows.append(["all", *(item.dataset.counts[split] for split in ("train", "test"))])
        print_table(rows, ["config_type", "train", "test"], title=item.dataset.name)
        if not item.new:
            same = origin is not None and item.dataset.id == origin.id
            say("nothing changes: this is the dataset itself" if same else f"known before as '{item.dataset.name}'")


def _remarks(dataset: Dataset) -> Iterator[str]:
    """Yield what was left out, and a warning where free atoms were not."""
    left_out = {
        "structures_without_label": ("structure", "without such a label"),
        "structures_not_there": ("structure", "that the database does not have"),
        "labels_without_structure": ("label", "of a missing structure (gst db check)"),
        "large_forces": ("label", "with larger forces"),
        "near_duplicates": ("structure", "nearly the same as another"),
        "random_left_out": ("random structure", "of the training set"),
    }
    for reason, (noun, text) in left_out.items():
        if number := dataset.selection.get(reason):
            yield f"left out: {counted(number, noun)} {text}"
    if number := sum(side.get("isolated_atom", 0) for side in dataset.counts_by_config_type.values()):
        yield (
            f"warning: {counted(number, 'free atom')} among the members: a fit trains on their energies; to leave them "
            'out, add -w "n_atoms>1"'
        )


def _description(results: Results, dataset: Dataset, numbers: dict[str, Any]) -> Iterator[str]:
    yield f"{dataset.name} {dataset.id}"
    yield f"  made {dataset.created_at:%Y-%m-%d %H:%M}, iteration {dataset.iteration}, method {dataset.fingerprint}"
    sides = ", ".join(
        f"{n} {split} in {counted(numbers['groups'][split], 'group')}" for split, n in dataset.counts.items()
    )
    yield f"  {counted(dataset.n_members, 'label')}, {counted(dataset.n_atoms, 'atom')}: {sides}"
    yield f"  split: {_words(dataset.split)}"
    if dataset.selection:
        yield f"  selection: {_words(dataset.selection)}"
    energies = ", ".join(f"{element} {energy:.4f}" for element, energy in dataset.reference_energies_eV.items())
    yield f"  reference energies: {energies} eV ({dataset.reference_energies_source})"
    if dataset.parent_id:
        yield f"  from dataset {dataset.parent_id}"
    for collection, relation, field in (
        ("datasets", "datasets from it", "parent_id"),
        ("potentials", "potentials", "dataset_id"),
    ):
        found = [item["_id"] for item in results.database[collection].find({field: dataset.id}, {"_id": 1}).limit(20)]
        if found:
            yield f"  {relation}: {' '.join(found)}"


def _words(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {' '.join(value) or 'all' if isinstance(value, list) else value}" for key, value in values.items()
    )


def _range(values: dict[str, float] | None) -> str:
    return "" if values is None else f"{values['min']:.3f} … {values['mean']:.3f} … {values['max']:.3f}"


def _arrow(change: tuple[float | None, float | None]) -> str:
    return " → ".join("none" if value is None else f"{value:g}" for value in change)


def _print_members(members: Iterable[dict[str, Any]], as_json: bool) -> None:
    for member in members:
        # JSON lines: a million members need not fit in memory
        shown = (member["label_id"], member["structure_id"], member["config_type"], member["split"])
        typer.echo(json.dumps(member) if as_json else "  ".join(shown))


def _print_changes(results: Results, first: Dataset, second: Dataset, as_json: bool) -> None:
    signs = {ONLY_FIRST: "-", ONLY_SECOND: "+", MOVED: "~"}
    for what, before, after in member_changes(results.artifacts, first, second):
        member = before or after
        if as_json:
            typer.echo(json.dumps({"what": what, "first": before or None, "second": after or None}))
        else:
            side = f"{before['split']} → {after['split']}" if what == MOVED else member["split"]
            typer.echo(f"{signs[what]} {member['label_id']}  {member['structure_id']}  {member['config_type']}  {side}")
