"""`gst db`: the project's database server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from pymongo.errors import PyMongoError

from gst_jobflow.archive import backup as backups
from gst_jobflow.archive.manifests import BackupManifest
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.base.words import counted, size
from gst_jobflow.cli import users
from gst_jobflow.cli.common import JsonOption, disk_in_words, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import argument, flag
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.services import LocalMongod, ServiceStatus
from gst_jobflow.store import check as checks
from gst_jobflow.store.address import connection
from gst_jobflow.store.check import Finding
from gst_jobflow.store.connect import connect
from gst_jobflow.store.driver_errors import explain
from gst_jobflow.store.schema.migrate import migrate as migrate_database

app = typer.Typer(
    no_args_is_help=True,
    help="Start, stop, check, back up and restore the project's database.",
)

app.add_typer(users.app, name="users")


@app.command()
def up(
    no_migrate: bool = flag("Only start: leave collections and indexes alone.", "--no-migrate"),
    take_over: bool = flag("Start here although it was last started on another host (now gone).", "--take-over"),
    as_json: JsonOption = False,
) -> None:
    """Start the database unless it runs, and prepare it; safe to repeat."""
    project = open_project()
    status = LocalMongod(project).up(take_over=take_over)
    if not no_migrate and (changed := migrate_database(project, tell=say)):
        status.notes.append(f"prepared collections, indexes and launchpad ({len(changed)} changes)")
    _show(status, as_json)


@app.command()
def down(as_json: JsonOption = False) -> None:
    """Stop the database that `gst db up` started; the data is kept. External ones are left alone."""
    status = LocalMongod(open_project()).down()
    status.problem = ""
    _show(status, as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show whether the database runs and how much it holds; exits 0 if it runs, else 1."""
    found = LocalMongod(open_project()).status()
    _show(found, as_json)
    if not found.running:
        raise typer.Exit(1)


@app.command()
def migrate(as_json: JsonOption = False) -> None:
    """Migrate documents, collections, validators and indexes to this version; repeating it changes nothing.

    After a kill, run it again: it continues. Jobs are refused until it has finished.
    """
    project = open_project()
    with _explained(project):
        changed = migrate_database(project, tell=say)
    if as_json:
        print_json({"changed": changed})
        return
    for line in changed or ["nothing to change"]:
        typer.echo(line)


@app.command()
def check(
    deep: bool = flag("Also hash every file and validate every document.", "--deep"),
    repair: bool = flag("First repair what is safe: indexes, validators, attempts whose process died.", "--repair"),
    as_json: JsonOption = False,
) -> None:
    """Find dangling references, missing files and other damage; exits 0 if clean, else 1."""
    project = open_project()
    with _explained(project):
        repaired = _repair(project) if repair else []
        findings = checks.check(project, deep=deep)
        n_findings = _stream_json(repaired, findings) if as_json else _stream_text(repaired, findings)
    if n_findings:
        raise typer.Exit(1)


@contextmanager
def _explained(project: Project) -> Iterator[None]:
    """Turn errors of the driver and of the disk into one line with a remedy."""
    try:
        with disk_in_words():
            yield
    except PyMongoError as err:
        # the driver's text and traceback may hold the URI
        raise explain(err, connection(project)) from None


def _repair(project: Project) -> list[str]:
    """Repair what is safe; return a line for each change."""
    done = migrate_database(project)
    database = connect(project)
    lost = list(checks.check_attempts(database))
    database.client.close()
    if lost:
        done += [f"attempt {finding.id}: marked lost" for finding in lost]
        done += [f"firework {item.fw_id} {item}" for item in recover(project)]
    return done


def _stream_json(repaired: list[str], findings: Iterable[Finding]) -> int:
    """Write findings as they are found, in one JSON object; return their number."""
    sys.stdout.write(f'{{"repaired": {json.dumps(repaired)}, "findings": [')
    count = 0
    for count, finding in enumerate(findings, 1):
        sys.stdout.write(("," if count > 1 else "") + "\n  " + json.dumps(asdict(finding)))
    sys.stdout.write("\n]}\n" if count else "]}\n")
    return count


def _stream_text(repaired: list[str], findings: Iterable[Finding]) -> int:
    for line in repaired:
        typer.echo(f"repaired: {line}")
    count = 0
    for finding in findings:
        count += 1
        typer.echo(f"{finding.collection} {finding.id}".rstrip() + f": {finding.what}\n  → {finding.fix}")
    typer.echo(f"findings: {count}" if count else "clean")
    return count


@app.command()
def backup(
    file: Path = argument("The tar to write; it must not exist yet.", default=...),
    no_files: bool = flag("Leave out the files (potentials, member lists, …): documents only.", "--no-files"),
    while_running: bool = flag(
        "Allow running jobs; their state in the backup is then inconsistent.", "--while-running"
    ),
    as_json: JsonOption = False,
) -> None:
    """Write the whole database and its files to one checksummed tar; exits 1 if a file was missing."""
    project = open_project()
    with _explained(project):
        manifest = backups.backup(project, file.absolute(), files=not no_files, while_running=while_running)
    _show_backup(manifest, f"written: {file}", as_json)
    if manifest.files.missing:
        say(f"left out: {counted(len(manifest.files.missing), 'file')} that documents name, missing or corrupt")
        say("  → gst db check --deep names them")
        raise typer.Exit(1)


@app.command()
def restore(
    file: Path = argument("A tar of `gst db backup`.", default=...),
    force: bool = flag("Drop the documents that the database holds.", "--force"),
    yes: bool = flag("With --force: do not ask.", "--yes"),
    as_json: JsonOption = False,
) -> None:
    """Restore a backup into this project; it is verified before anything is changed."""
    project = open_project()

    def confirm(held: int) -> None:
        name = project.root.name
        text = f"{counted(held, 'document')} of project '{name}' will be dropped. Type its name to continue"
        if typer.prompt(text, err=True, default="", show_default=False) != name:
            raise InputError("that is not the name of the project; nothing was changed", "run it again, or add --yes")

    with _explained(project):
        manifest = backups.restore(project, file.absolute(), force=force, confirm=None if yes else confirm)
    _show_backup(manifest, f"restored: {file}", as_json)


def _show_backup(manifest: BackupManifest, done: str, as_json: bool) -> None:
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    typer.echo(done)
    files = manifest.files
    held = f"{files.count} ({size(files.size_bytes)})" if files.included else "none (--no-files)"
    rows = [
        ("made", f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("documents", f"{manifest.documents} in {len(manifest.collections)} collections"),
        ("files", held),
    ]
    print_table(rows, ("", ""))


def _show(status: ServiceStatus, as_json: bool) -> None:
    if as_json:
        print_json(asdict(status))
        return
    for note in status.notes:
        say(note)
    state = "running" if status.running else "not running"
    rows = [
        ("state", f"{state} (external)" if status.external else state),
        ("uri", status.uri),
        ("version", status.version),
        ("pid", status.pid),
        ("size", None if status.size_bytes is None else size(status.size_bytes)),
        ("documents", ", ".join(f"{name} {count}" for name, count in status.collections.items() if count)),
    ]
    print_table([row for row in rows if row[1] not in (None, "")], ("", ""))
    if status.problem:
        say(status.problem + (f"\n  → {status.fix}" if status.fix else ""))
