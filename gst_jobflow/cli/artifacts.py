"""`gst artifacts`: list, check and clean up the stored files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer
from pymongo.database import Database

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.base.words import size
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import flag, option
from gst_jobflow.store.check import check_named_files, check_stored_files
from gst_jobflow.store.connect import connect
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.files.garbage import collect_garbage
from gst_jobflow.store.files.references import note_references
from gst_jobflow.store.id_table import IdTable

app = typer.Typer(no_args_is_help=True, help="List, check and clean up the stored files.")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_UNNAMED = "(nothing)"


def _open() -> tuple[Project, Database, ArtifactStore]:
    project = open_project()
    database = connect(project)
    return project, database, ArtifactStore(project.artifacts_dir)


def seconds(text: str) -> float:
    """Return a time such as 7d, 12h or 30m in seconds; raises InputError if it is not a time."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    if match is None:
        raise InputError(f"'{text}' is not a time", "give a number with s, m, h, d or w, for example 7d")
    if not match[2] and float(match[1]):
        raise InputError(f"'{text}' has no unit", f"write {match[1]}d for days or {match[1]}h for hours")
    return float(match[1]) * _SECONDS[match[2] or "s"]


@app.command("list")
def list_files(
    unreferenced: bool = flag("Only files that no document names.", "--unreferenced"),
    limit: int = option("Most files to show; 0: all.", default=20, min=0),
    as_json: JsonOption = False,
) -> None:
    """List stored files with hash, size, time, and the kinds of documents that name them."""
    project, database, artifacts = _open()
    rows: list[dict[str, Any]] = []
    more = False
    for row in _rows(project, database, artifacts):
        if unreferenced and row["named_by"]:
            continue
        if limit and len(rows) == limit:
            more = True
            break
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    table = []
    for row in rows:
        kinds = ", ".join(row["named_by"]) or _UNNAMED
        table.append((row["sha256"], size(row["size_bytes"]), f"{row['put_at']:%Y-%m-%d %H:%M}", kinds))
    print_table(table, ("sha256", "size", "stored (UTC)", "named by"))
    if more:
        say(f"first {limit} files; --limit 0 shows all")


def _rows(project: Project, database: Database, artifacts: ArtifactStore) -> Iterator[dict[str, Any]]:
    with IdTable() as references:
        note_references(project, database, references)
        for file in artifacts.stored():
            yield {
                "sha256": file.digest,
                "size_bytes": file.size_bytes,
                "put_at": datetime.fromtimestamp(file.time, UTC),
                "named_by": references.kinds(file.digest),
            }


@app.command()
def du(as_json: JsonOption = False) -> None:
    """Show how much space the files take, by the kinds of documents that name them."""
    project, database, artifacts = _open()
    sums: dict[str, dict[str, int]] = {}
    total = {"files": 0, "size_bytes": 0}
    for row in _rows(project, database, artifacts):
        # a file counts for each kind that names it, and once in the total
        entries = [sums.setdefault(kind, {"files": 0, "size_bytes": 0}) for kind in row["named_by"] or [_UNNAMED]]
        for entry in (*entries, total):
            entry["files"] += 1
            entry["size_bytes"] += row["size_bytes"]
    trash = {"files": 0, "size_bytes": 0}
    for file in artifacts.trashed():
        trash = {"files": trash["files"] + 1, "size_bytes": trash["size_bytes"] + file.size_bytes}
    if as_json:
        print_json({"store": "folder", "by_kind": sums, "all": total, "trash": trash})
        return
    ordered = sorted(sums.items(), key=lambda item: -item[1]["size_bytes"])
    rows = [*ordered, ("total", total), *([("trash", trash)] if trash["files"] else [])]
    print_table([(name, n["files"], size(n["size_bytes"])) for name, n in rows], ("named by", "files", "size"))


@app.command()
def check(as_json: JsonOption = False) -> None:
    """Check the hash of every file, and that no document lacks one; exits 1 if something is wrong."""
    _, database, artifacts = _open()
    findings = [*check_named_files(database, artifacts), *check_stored_files(artifacts)]
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{finding.collection} {finding.id}: {finding.what}\n  → {finding.fix}")
        typer.echo(f"findings: {len(findings)}" if findings else "clean")
    if findings:
        raise typer.Exit(1)


@app.command()
def gc(
    dry_run: bool = flag("Only show what would be done.", "--dry-run"),
    older_than: str = option("Keep files stored within this time.", default="7d"),
    grace: str = option("How long files stay in the trash.", default="1d"),
    force: bool = flag("Proceed even if the database names none of the files.", "--force"),
    as_json: JsonOption = False,
) -> None:
    """Remove files that no document and no manifest names; safe beside running jobs.

    They go to the trash first; a later run deletes them unless they are needed again.
    """
    limits = {"older_than_s": seconds(older_than), "grace_s": seconds(grace)}
    project, database, artifacts = _open()
    tell = (lambda _: None) if as_json else say
    done = collect_garbage(project, database, artifacts, **limits, dry_run=dry_run, force=force, tell=tell)
    if as_json:
        print_json(asdict(done))
        return
    rows = [
        ("files", done.files, size(done.size_bytes)),
        ("in use", done.needed, ""),
        (f"stored within {older_than}", done.young, ""),
        ("of another user, or stored just now", done.left, ""),
        ("moved to the trash", done.trashed, size(done.trashed_bytes)),
        ("restored from the trash", done.taken_back, ""),
        ("deleted", done.deleted, size(done.deleted_bytes)),
        ("still in the trash", done.in_trash, ""),
        ("leftovers removed", done.leftovers, size(done.leftover_bytes)),
    ]
    print_table(rows, ("", "number", "size"))
    if dry_run:
        typer.echo("nothing was changed (--dry-run)")
