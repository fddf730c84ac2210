"""`gst structures gamma` and `select`: where a potential extrapolates, and what to label of that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import (
    IterationOption,
    JsonOption,
    TagOption,
    open_project,
    parse_range,
    print_json,
    print_table,
    say,
)
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.structures.made import said_of_new, store_unless
from gst_jobflow.documents import Potential, Structure, Trajectory
from gst_jobflow.dynamics.potential_files import check_graded
from gst_jobflow.importing.options import known_config_type
from gst_jobflow.selection import frames
from gst_jobflow.selection.choice import ChosenStructure, candidates, choose, grade
from gst_jobflow.selection.cluster_choice import Candidate, CutSettings, choose_clusters, cluster_candidates
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

PotentialOption = Annotated[str, typer.Option("--potential", help="Id or name; it needs .yaml and .asi.")]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="Stored structures, as in gst query structures.")
]
FromOption = Annotated[str | None, typer.Option("--from", help="Frames of this trajectory: id or name.")]
EveryOption = Annotated[int, typer.Option(min=1, help="Only each n-th frame of the trajectory.")]
_LISTED = 20


def gamma(
    potential: PotentialOption,
    files: list[Path] | None = argument("Files of structures, of the kinds of import."),
    where: WhereOption = None,
    trajectory: FromOption = None,
    every: EveryOption = 1,
    above: float = option("Count the share of atoms whose grade is above this.", default=1.0, min=0),
    as_json: JsonOption = False,
) -> None:
    """Extrapolation grade of structures: the largest of each, and how many of its atoms extrapolate.

    Above 1 an atom's surroundings lie outside of what the potential was fitted to.

    Examples: gst structures gamma --potential GST-ACE -w tags=iter-1; gst structures gamma --potential GST-ACE --from
    melt_quench --every 10
    """
    project = open_project()
    results = Results.open(project)
    chosen = _potential(results, potential)
    found, _ = _found(results, files or [], where, trajectory, every)
    grades = grade(results, project.settings, chosen, found, above, cores())
    rows = [
        {
            "structure": each.name,
            "formula": each.atoms.get_chemical_formula(mode="metal"),
            "n_atoms": len(each.atoms),
            "max_gamma": one.maximum,
            "element": one.element,
            "share_above": one.share,
        }
        for each, one in zip(found, grades, strict=True)
    ]
    if as_json:
        print_json({"potential_id": chosen.id, "above": above, "structures": rows})
        return
    worst = sorted(rows, key=lambda row: -row["max_gamma"])
    print_table(
        [[row["structure"], row["formula"], row["n_atoms"], f"{row['max_gamma']:.4g}", row["element"],
          f"{100 * row['share_above']:.3g} %"] for row in worst[:_LISTED]],
        ["structure", "formula", "atoms", "largest gamma", "of", f"atoms above {above:g}"],
    )  # fmt: skip
    if len(rows) > _LISTED:
        say(f"the {_LISTED} largest of {len(rows)}; --json gives all")
    say(f"{sum(row['max_gamma'] > above for row in rows)} of {len(rows)} structures are above {above:g}")


def select(
    window: Annotated[
        str, typer.Option("--gamma", metavar="MIN[:MAX]", help="Largest grade of the structures, e.g. 2:25.")
    ],
    potential: PotentialOption,
    number: int = option("How many, at most.", "--number", "-N", "-n", default=20, min=1),
    where: WhereOption = None,
    trajectory: FromOption = None,
    every: EveryOption = 1,
    max_atoms: int = option("Larger cells are too dear to label.", default=300, min=1),
    cluster: bool = flag("Cut cells around the atoms that extrapolate out of larger frames.", "--cluster"),
    radius: float | None = option("Surroundings of such an atom that stay as they are, Å; else the cutoff.", min=0),
    floor: float | None = option(
        "Smallest distance at the seam of such a cell, Å; else 0.8 × sum of covalent radii.", min=0.1
    ),
    config_type: str | None = option("Of new structures; else of the trajectory's last structure, or its start."),
    iteration: IterationOption = 0,
    tag: TagOption = None,
    dry_run: bool = flag("Choose and write nothing.", "--dry-run"),
    as_json: JsonOption = False,
) -> None:
    """Choose structures that a potential extrapolates on, diverse by D-optimality, as candidates for labels.

    Each adds what the active set and those chosen before it lack. Frames of a trajectory are stored as structures;
    stored structures get the tags. Of frames too large for a label, cells around single atoms are stored.

    Examples: gst structures select --gamma 2:25 --potential GST-ACE --from melt_quench -N 20 --tag iter-2;
    gst structures select --cluster --gamma 2:25 --potential GST-ACE --from reset_1 -N 20 --tag iter-2
    """
    limits, tags = parse_range(window, "--gamma", "MIN or MIN:MAX, e.g. 2:25"), tag or []
    kind = known_config_type(config_type) if config_type else None
    if not cluster and (radius is not None or floor is not None):
        raise InputError("--radius and --floor are for cells that are cut out", "add --cluster")
    project = open_project()
    results = Results.open(project)
    known = _potential(results, potential)
    if cluster:
        cut = CutSettings(limits, max_atoms, radius, floor)
        large, run = _large(results, where, trajectory, every)
        cells, dropped = choose_clusters(results, project.settings, known, large, cut, number, cores())
        documents = cluster_candidates(results, known, cells, run, cut.radius(known), tags, iteration, kind)
        _say_clusters(known.id, cells, dropped, documents, store_unless(results, documents, dry_run), as_json)
        return
    found, run = _found(results, [], where, trajectory, every, max_atoms)
    grades = grade(results, project.settings, known, found, cores=cores())
    chosen = choose(results, project.settings, known, list(zip(found, grades, strict=True)), limits, number)
    documents = candidates(results, known, chosen, run, tags, iteration, kind)
    _say_chosen(known.id, chosen, documents, len(found), store_unless(results, documents, dry_run), as_json)


def _say_chosen(
    potential_id: str,
    chosen: Sequence[ChosenStructure],
    documents: Sequence[Structure],
    n_graded: int,
    new: int | None,
    as_json: bool,
) -> None:
    """Print the ids of chosen structures, and how many of those graded they are."""
    rows: list[dict[str, Any]] = [
        {
            "structure_id": document.id,
            "from": each.found.name,
            "max_gamma": each.grade.maximum,
            "share_above_1": each.grade.share,
            "gain": each.gain,
        }
        for each, document in zip(chosen, documents, strict=True)
    ]
    if as_json:
        print_json({"potential_id": potential_id, "graded": n_graded, "new": new or 0, "structures": rows})
        return
    for document in documents:
        typer.echo(document.id)
    largest = max(row["max_gamma"] for row in rows)
    say(f"{len(rows)} of {n_graded} chosen, gamma up to {largest:.3g}; {said_of_new(new, len(rows))}")


def _potential(results: Results, which: str) -> Any:
    found = get_located(results, Potential, which)
    check_graded(
        found,
        "use an ACE potential that was fitted here, or imported with --yaml and --asi; gst structures sample takes "
        "frames without grades",
    )
    return found


def _found(
    results: Results,
    files: list[Path],
    where: list[str] | None,
    trajectory: str | None,
    every: int,
    max_atoms: int | None = None,
) -> tuple[list[FoundStructure], Trajectory | None]:
    """The structures that were asked for, in one of the ways; and the trajectory that they are frames of."""
    if bool(files) + (where is not None) + (trajectory is not None) != 1:
        raise InputError(
            "of which structures?", "give one of --where, --from TRAJECTORY" + ", or files" * (not max_atoms)
        )
    if trajectory is not None:
        run = get_located(results, Trajectory, trajectory)
        frames.check_cell_size(run, max_atoms)
        return list(frames.iter_trajectory(results, run, every)), run
    found = frames.file_structures(files) if files else frames.stored_structures(results, where or [])
    if max_atoms and (large := [each for each in found if len(each.atoms) > max_atoms]):
        raise InputError(
            f"{len(large)} of {len(found)} structures have more than {max_atoms} atoms: whole cells are taken up to it",
            f"-w 'n_atoms<={max_atoms}', or cut cells out of the larger ones: -w 'n_atoms>{max_atoms}' --cluster",
        )
    return found, None


def _large(
    results: Results, where: list[str] | None, trajectory: str | None, every: int
) -> tuple[Iterable[FoundStructure], Trajectory | None]:
    """The frames that cells are cut from, those of a trajectory one at a time, and the trajectory."""
    if where is None and trajectory is not None:
        run = get_located(results, Trajectory, trajectory)
        return frames.iter_trajectory(results, run, every), run
    return _found(results, [], where, trajectory, every)


def _say_clusters(
    potential_id: str,
    cells: Sequence[Candidate],
    dropped: dict[str, str],
    documents: Sequence[Structure],
    new: int | None,
    as_json: bool,
) -> None:
    """Print the ids of cells that were cut out, and beside them what people look at before they pay for labels."""
    rows: list[dict[str, Any]] = [
        {
            "structure_id": document.id,
            "from": each.name,
            "formula": each.cluster.atoms.get_chemical_formula(mode="metal"),
            "n_atoms": len(each.cluster.atoms),
            "n_deleted": each.cluster.n_deleted,
            "gamma": each.gamma,
            "max_gamma": each.max_gamma,
            "min_distance_A": document.min_distance_A,
            "gain": each.gain,
        }
        for each, document in zip(cells, documents, strict=True)
    ]
    if as_json:
        print_json({"potential_id": potential_id, "new": new or 0, "dropped": dropped, "structures": rows})
        return
    for row in rows:
        typer.echo(row["structure_id"])
        say(
            f"{row['from']}: {row['formula']}, gamma {row['gamma']:.4g}, {row['max_gamma']:.4g} in all of the cell, "
            f"closest contact {row['min_distance_A']:.3g} Å, {counted(row['n_deleted'], 'atom')} taken out"
        )
    for name, why in dropped.items():
        say(f"dropped: {name}: {why}")
    say(f"{counted(len(rows), 'cell')} chosen, {len(dropped)} dropped; {said_of_new(new, len(rows))}")
