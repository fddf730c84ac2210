"""`gst query`: find documents in the results database."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say


def command(
    collection: Annotated[
        str,
        typer.Argument(help="structures, labels, datasets, potentials, studies, trajectories, cycles or attempts"),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="Conditions, e.g. 'composition=Ge2Sb2Te5 n_atoms<40 dmin>=2.4'."),
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Field to sort by; -field for falling order.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="At most this many; 0 for all. Default: 20 in a table, all with --json.")
    ] = None,
    fields: Annotated[str | None, typer.Option(help="Columns of the table, apart by commas.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find documents: tables for people, --json for programs.

    Examples: gst query structures -w "composition=Ge1Sb2Te4 dmin<2.6"; gst query potentials --sort
    rmse.test.force_meV_per_A; gst query labels -w state=failed --count; gst query cycles --json
    """
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.query import COLUMNS, make_query, pick

    if limit is None:
        limit = 0 if as_json else 20
    query = make_query(collection, where or [], sort, limit)
    database = connect(open_project())
    if count:
        typer.echo(query.count(database))
        return
    documents = list(query.documents(database))
    if as_json:
        print_json(documents)
        return
    columns = fields.split(",") if fields else COLUMNS[collection]
    print_table([[_cell(pick(document, column)) for column in columns] for document in documents], columns)
    total = query.count(database)
    if total > len(documents):
        say(f"{len(documents)} of {total}; --limit 0 shows all")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_cell(item) for item in value)
    if hasattr(value, "isoformat"):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else str(value)
