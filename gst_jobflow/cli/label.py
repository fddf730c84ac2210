"""`gst label`: report the quality of labels, and leave some out of datasets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import user_name
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, progress_line, say
from gst_jobflow.cli.option_group import option
from gst_jobflow.datasets.exclude import exclude_labels, include_labels
from gst_jobflow.report.label_data import collect_labels
from gst_jobflow.report.pages.labels import as_dict, build_label_page, error_rows, state_rows
from gst_jobflow.report.pages.study import check_place
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import locate
from gst_jobflow.store.query import make_query

app = typer.Typer(
    no_args_is_help=True, help="Report the quality of labels and the differences between methods, and leave labels out."
)


@app.command()
def report(
    where: list[str] | None = option(
        "Conditions on structures and labels, as in gst query; default: all.", "--where", "-w"
    ),
    fingerprint: list[str] | None = option(
        "Fingerprint of a method, or its beginning (repeatable).", "--fingerprint", "-f"
    ),
    reference: str | None = option("Method to compare with; default: VASP, else CP2K, else the one with most labels."),
    near_duplicates: float | None = option(
        "Tolerance of near-duplicates, Å; default: 0.01, for up to 5,000 labels a method."
    ),
    output: Path | None = option("File to write; default: reports/labels.html in the project.", "--output", "-o"),
    as_json: JsonOption = False,
) -> None:
    """Report the quality of labels as an HTML page: convergence, energies, forces, outliers, duplicates, cost.

    Example: gst label report -w tags=iter-0 --reference vasp
    """
    project = open_project()
    target = output or project.root / "reports" / "labels.html"
    check_place(target)
    with progress_line() as line:
        data = collect_labels(
            Results.open(project), where or [], fingerprint or [], reference, near_duplicates, progress=line
        )
    page = build_label_page(data, target)
    if as_json:
        print_json({**as_dict(data), "page": page})
        return
    columns, rows = state_rows(data)
    print_table(rows, columns)
    columns, rows = error_rows(data)
    if rows:
        print_table(rows, columns, title="\nMethods on the same structures")
    say(f"page: {page}")


LabelIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID…", help="Ids of labels or of their structures, or how they begin.")
]
LabelWhere = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="Or conditions, as in gst query labels: 'max_force_eV_A>80'.")
]


@app.command()
def exclude(
    ids: LabelIds = None,
    where: LabelWhere = None,
    reason: str = option("Why; it is kept with your name and the time.", default=""),
    as_json: JsonOption = False,
) -> None:
    """Leave labels out of future datasets; existing datasets stay, and gst label include reverts it.

    Example: gst label exclude 4f0c21… 81b2aa… --reason "magnetic solution"
    """
    results = Results.open(open_project())
    _say(exclude_labels(results, _labels(results, ids, where), reason, user_name()), as_json)


@app.command()
def include(ids: LabelIds = None, where: LabelWhere = None, as_json: JsonOption = False) -> None:
    """Take excluded labels back in, so that future datasets may hold them.

    Example: gst label include -w state=excluded
    """
    results = Results.open(open_project())
    _say(include_labels(results, _labels(results, ids, where)), as_json)


def _labels(results: Results, ids: list[str] | None, where: list[str] | None) -> list[str]:
    """Return the ids of the labels that a user means."""
    if bool(ids) == bool(where):
        raise InputError("which labels?", "give ids, or conditions with --where")
    labels = results.database["labels"]
    if where:
        found = [label["_id"] for label in labels.find(make_query("labels", where).where, {"_id": 1})]
        if not found:
            raise InputError(f"no label meets {' '.join(where)}", "gst query labels shows what there is")
        return found
    named = []
    for text in ids or []:
        collection, id = locate(results.database, text, "labels", "structures")
        of_structure = [label["_id"] for label in labels.find({"structure_id": id}, {"_id": 1})]
        if collection == "structures" and len(of_structure) != 1:
            raise InputError(
                f"structure {id} has {counted(len(of_structure), 'label')}",
                f"give the id of one: gst query labels -w structure_id={id}",
            )
        named.append(of_structure[0] if collection == "structures" else id)
    return list(dict.fromkeys(named))


def _say(counts: Counter[str], as_json: bool) -> None:
    if as_json:
        print_json(dict(counts))
    else:
        say("; ".join(f"{counted(number, 'label')}: {what}" for what, number in sorted(counts.items())))
