"""`gst structures failures`: store the last sound frames before the failures of a robustness study."""

from __future__ import annotations

import typer

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import IterationOption, JsonOption, TagOption, open_project, print_json, say
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.structures.made import said_of_new, store_unless
from gst_jobflow.documents import Potential, Structure, Study
from gst_jobflow.selection.failures import FailureFrames, check_is_robustness, failed_runs, failure_documents
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


def command(
    study: str = argument("Robustness study: id or name.", default=...),
    potential: list[str] | None = option("Take failures of this potential only (repeatable)."),
    number: int = option("Most frames of each failed run.", "--number", "-N", "-n", default=3, min=1),
    spacing_ps: float = option("Smallest time between them, ps.", default=0.5, min=1e-3),
    max_atoms: int = option("Refuse larger cells, which are expensive to label.", default=300, min=1),
    iteration: IterationOption = 0,
    tag: TagOption = None,
    dry_run: bool = flag("Select and write nothing.", "--dry-run"),
    as_json: JsonOption = False,
) -> None:
    """Store the last sound frames before the failures of a robustness study as structures to label.

    They are of config type failure, and name their run, its failure, their time and, where the potential has an active
    set, their largest extrapolation grade.

    Example: gst structures failures robustness -N 3 --spacing-ps 0.5 --tag iter-2 --iteration 2
    """
    project = open_project()
    results = Results.open(project)
    found = get_located(results, Study, study)
    check_is_robustness(found)
    potential_ids = [get_located(results, Potential, each).id for each in potential or []]
    runs = failed_runs(results, found.id, potential_ids)
    if not runs:
        raise InputError(f"study {found.name} has no failed run with a sound frame", "there is nothing to take")
    frames = checked(FailureFrames, {"number": number, "spacing_ps": spacing_ps, "max_atoms": max_atoms})
    made = failure_documents(results, project.settings, runs, frames, tag or [], iteration, cores())
    new = store_unless(results, made, dry_run)
    if as_json:
        rows = [{"structure_id": each.id, **each.source} for each in made]
        print_json({"study_id": found.id, "failed_runs": len(runs), "new": new or 0, "structures": rows})
        return
    for document in made:
        typer.echo(document.id)
        say(_line(document))
    say(f"{counted(len(made), 'frame')} of {counted(len(runs), 'failed run')}; {said_of_new(new, len(made))}")


def _line(document: Structure) -> str:
    """Describe a frame in one line."""
    source = document.source
    if source.get("builder") != "failure":
        return f"{document.formula}: the start, since the run failed before a later sound frame"
    gamma = source.get("max_gamma")
    known = "" if gamma is None else f", gamma {gamma:.3g}"
    failure = f"{source['outcome']} at {source['failed_ps']:g} ps"
    return f"{document.formula} at {source['time_ps']:g} ps{known}, before {failure}"
