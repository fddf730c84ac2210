"""`gst query`: find documents in the results database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.cli.common import JsonOption, disk_in_words, open_project, print_json, print_table, say
from gst_jobflow.exporting.targets import check_target
from gst_jobflow.store.query import COLUMNS, field_path, frames, make_query, summarise_groups, value_at

if TYPE_CHECKING:
    from gst_jobflow.store.query import Query
    from gst_jobflow.store.results import Results

FORMATS = ("table", "json", "jsonl", "csv", "extxyz")
_COUNTED = 10_000
"""Counting a million takes time that nobody with a short table wants to spend."""


def command(
    collection: Annotated[
        str,
        typer.Argument(help="structures, labels, datasets, potentials, studies, trajectories, cycles or attempts"),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", "-w", help="Conditions, e.g. 'composition=Ge2Sb2Te5 config_type=crystal,rss dmin>=2.4 tags~run'."
        ),
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Field to sort by; -field for falling order.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="At most this many; 0 for all. Default: 20 in a table, else all.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option(help="Only these fields, apart by commas: columns of table and csv, keys of json.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    group_by: Annotated[str | None, typer.Option(help="Count by the values of this field instead.")] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="With --group-by: smallest, mean and largest of the main numbers.")
    ] = False,
    stats_of: Annotated[
        str | None, typer.Option(help="With --group-by: the same of these fields, apart by commas.")
    ] = None,
    form: Annotated[str | None, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here; complete or not at all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="With --output: replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find documents: tables for people, JSON, CSV and extended XYZ for programs.

    Examples: gst query structures -w "composition=Ge1Sb2Te4 dmin<2.6"; gst query potentials --sort
    rmse.test.force_meV_per_A; gst query labels --group-by config_type --stats; gst query labels -w
    "fingerprint=tblite:1" -f extxyz -o labels.xyz
    """
    from gst_jobflow.store import Results

    form = _format(form, as_json)
    if limit is None:
        limit = 20 if form == "table" and output is None and not group_by else 0
    query = make_query(collection, where or [], sort, limit)
    chosen = _names(fields)
    for name in chosen:
        field_path(query.model, name)
    _check_together(form, group_by, stats or stats_of is not None, chosen, sort)
    if count and (group_by or output is not None):
        raise InputError("--count prints one number", "leave --group-by and --output out, or --count")
    if output is not None:
        check_target(output.absolute(), force)
    results = Results.open(open_project())
    if count:
        typer.echo(query.count(results.database))
    elif group_by:
        numbers = _names(stats_of) or (None if stats else [])
        rows = summarise_groups(results.database, query, group_by, numbers)
        _write_groups(rows, group_by, form, output)
    elif form == "extxyz":
        _write_frames(results, query, output)
    else:
        documents = query.documents(results.database)
        _write_documents(documents, chosen, COLUMNS[collection], form, output)
        if form == "table" and limit and (total := query.count(results.database, at_most=_COUNTED + 1)) > limit:
            say(f"{limit} of {total if total <= _COUNTED else f'more than {_COUNTED:,}'}; --limit 0 shows all")


def _format(form: str | None, as_json: bool) -> str:
    if form is not None and form not in FORMATS:
        raise InputError(f"no format '{form}'", nearest(form, FORMATS))
    if as_json and form not in (None, "json"):
        raise InputError(f"--json and --format {form} contradict each other", "give one of them")
    return "json" if as_json else form or "table"


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _check_together(form: str, group_by: str | None, stats: bool, fields: list[str], sort: str | None) -> None:
    if stats and not group_by:
        raise InputError("--stats needs groups", "for example --group-by config_type --stats")
    if group_by and form == "extxyz":
        raise InputError("groups hold no atoms", "choose another --format")
    if group_by and (fields or sort):
        raise InputError("--group-by shows counts, largest first", "leave --fields and --sort out")
    if fields and form == "extxyz":
        raise InputError("extxyz always holds the same fields", "leave --fields out")


@contextmanager
def _stream(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name when it is complete."""
    if output is None:
        yield sys.stdout
        return
    with (
        disk_in_words(),
        replacing(output, durable=False) as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream


def _write_documents(
    documents: Iterator[dict[str, Any]], chosen: list[str], columns: Sequence[str], form: str, output: Path | None
) -> None:
    if form in ("json", "jsonl"):
        if chosen:
            documents = ({name: value_at(document, name) for name in chosen} for document in documents)
        _write_json(documents, form, output)
    else:
        columns = chosen or columns
        _write_rows(([value_at(document, name) for name in columns] for document in documents), columns, form, output)


def _write_groups(rows: Iterator[dict[str, Any]], group_by: str, form: str, output: Path | None) -> None:
    if form in ("json", "jsonl"):
        _write_json(rows, form, output)
        return
    found = list(rows)
    numbers = [name for name in (found[0] if found else {}) if name not in ("group", "count")]
    words = ("min", "mean", "max")
    columns = [group_by, "count", *(f"{word} {name}" for name in numbers for word in words)]
    cells = [[row["group"], row["count"], *(row[name][word] for name in numbers for word in words)] for row in found]
    _write_rows(cells, columns, form, output)


def _write_json(rows: Iterable[dict[str, Any]], form: str, output: Path | None) -> None:
    with _stream(output) as stream:
        if form == "json":
            with redirect_stdout(stream):
                print_json(list(rows))
            return
        for row in rows:
            stream.write(json.dumps(row, default=_time) + "\n")


def _write_rows(rows: Iterable[Sequence[Any]], columns: Sequence[str], form: str, output: Path | None) -> None:
    with _stream(output) as stream:
        if form == "csv":
            import csv

            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_csv_cell(value) for value in row] for row in rows)
        else:
            with redirect_stdout(stream):
                print_table(([_cell(value) for value in row] for row in rows), columns)


def _write_frames(results: Results, query: Query, output: Path | None) -> None:
    from ase.io.extxyz import write_xyz

    atoms_of_query = frames(results, query)
    written = 0
    with _stream(output) as stream:
        for atoms in atoms_of_query:
            write_xyz(stream, [atoms])
            written += 1
    cut = query.limit and written == query.limit
    missing = 0 if cut else query.count(results.database) - written
    say(f"{written} frames" + (f"; {missing} labels did not converge and are left out" if missing else ""))


def _time(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not JSON")
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _time(value)
    return json.dumps(value, default=_time) if isinstance(value, (dict, list)) else value


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
