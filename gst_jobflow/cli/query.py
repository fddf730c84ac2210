"""`gst query`: find documents in the database."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import JsonOption, disk_in_words, json_default, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import flag, option, with_options
from gst_jobflow.exporting.targets import check_target
from gst_jobflow.store import Results
from gst_jobflow.store.query import COLUMNS, Query, field_path, frames, make_query, summarise_groups, value_at

FORMATS = ("table", "json", "jsonl", "csv", "extxyz")
_COUNTED = 10_000
"""Count at most so many: counting a million is slow."""


@dataclass(frozen=True, kw_only=True)
class QueryOptions:
    """Options of `gst query`: which documents, what of them, and where to."""

    where: list[str] | None = option(
        "Conditions, e.g. 'composition=Ge2Sb2Te5 config_type=crystal,rss dmin>=2.4 tags~run'.", "--where", "-w"
    )
    sort: str | None = option("Field to sort by; -field for descending order.")
    limit: int | None = option("Largest number; 0 for all. Default: 20 in a table, else all.", min=0)
    fields: str | None = option("Fields to show, separated by commas.")
    count: bool = flag("Print only the number of documents.", "--count")
    group_by: str | None = option("Count by the values of this field instead.")
    stats: bool = flag("With --group-by: minimum, mean and maximum of the main numbers.", "--stats")
    stats_of: str | None = option("With --group-by: the same of these fields, separated by commas.")
    form: str | None = option(f"One of {', '.join(FORMATS)}.", "--format", "-f")
    output: Path | None = option("File, written complete or not at all.", "--output", "-o")
    force: bool = flag("With --output: replace an existing file.", "--force")
    as_json: JsonOption = False

    @property
    def format(self) -> str:
        """Return the format that `--format` and `--json` name."""
        return "json" if self.as_json else self.form or "table"

    def check(self) -> None:
        """Refuse options that exclude each other."""
        grouped, extxyz = self.group_by is not None, self.format == "extxyz"
        check_known("no format", self.form, FORMATS)
        if self.as_json and self.form not in (None, "json"):
            raise InputError(f"--json and --format {self.form} exclude each other", "give one of them")
        if (self.stats or self.stats_of is not None) and not grouped:
            raise InputError("--stats needs --group-by", "for example --group-by config_type --stats")
        if grouped and extxyz:
            raise InputError("groups hold no atoms", "choose another --format")
        if grouped and (self.fields or self.sort):
            raise InputError("--group-by excludes --fields and --sort", "omit one of them")
        if self.fields and extxyz:
            raise InputError("--format extxyz has fixed fields", "omit --fields")
        if self.count and (grouped or self.output is not None):
            raise InputError("--count excludes --group-by and --output", "omit one of them")


@with_options(QueryOptions, "options")
def command(
    collection: Annotated[
        str,
        typer.Argument(help="structures, labels, datasets, potentials, studies, trajectories, cycles or attempts"),
    ],
    options: QueryOptions,
) -> None:
    """Find documents: tables for people, JSON, CSV and extended XYZ for programs.

    Examples: gst query structures -w "composition=Ge1Sb2Te4 dmin<2.6"; gst query potentials --sort
    rmse.test.force_meV_per_A; gst query labels --group-by config_type --stats; gst query labels -w
    "fingerprint=tblite:1" -f extxyz -o labels.xyz
    """
    options.check()
    form, output, group_by = options.format, options.output, options.group_by
    short = form == "table" and output is None and not group_by
    limit = options.limit if options.limit is not None else 20 if short else 0
    query = make_query(collection, options.where or [], options.sort, limit)
    chosen = _names(options.fields)
    for name in chosen:
        field_path(query.model, name)
    if output is not None:
        check_target(output.absolute(), options.force)
    results = Results.open(open_project())
    if options.count:
        typer.echo(query.count(results.database))
    elif group_by:
        numbers = _names(options.stats_of) or (None if options.stats else [])
        _write_groups(summarise_groups(results.database, query, group_by, numbers), group_by, form, output)
    elif form == "extxyz":
        _write_frames(results, query, output)
    else:
        _write_documents(query.documents(results.database), chosen, COLUMNS[collection], form, output)
        if form == "table" and limit:
            _say_what_is_not_shown(query.count(results.database, at_most=_COUNTED + 1), limit, options.where or [])


def _say_what_is_not_shown(total: int, limit: int, conditions: list[str]) -> None:
    by_id = [each for text in conditions for each in text.split() if "_id=" in each]
    if total > limit:
        say(f"{limit} of {total if total <= _COUNTED else f'more than {_COUNTED:,}'}; --limit 0 shows all")
    elif not total and by_id:
        say(f"nothing has {', '.join(by_id)}: the field holds whole ids, no names; gst show NAME prints an id")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


@contextmanager
def _stream(output: Path | None) -> Iterator[TextIO]:
    """Open standard output, or a file that appears when it is complete."""
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
            stream.write(json.dumps(row, default=json_default) + "\n")


def _write_rows(rows: Iterable[Sequence[Any]], columns: Sequence[str], form: str, output: Path | None) -> None:
    with _stream(output) as stream:
        if form == "csv":
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
    say(
        counted(written, "frame")
        + (f"; left out: {counted(missing, 'label')} that did not converge" if missing else "")
    )


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return json_default(value)
    return json.dumps(value, default=json_default) if isinstance(value, (dict, list)) else value


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
