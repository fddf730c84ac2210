"""`gst db`: the project's database server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say

if TYPE_CHECKING:
    from gst_jobflow.launch.services import ServiceStatus

app = typer.Typer(
    no_args_is_help=True, help="Start, stop and look at the project's database (its own mongod, or an external one)."
)

NoMigrate = Annotated[bool, typer.Option("--no-migrate", help="Only start: leave collections and indexes alone.")]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Start here although it was last started on another host (now gone).")
]


@app.command()
def up(no_migrate: NoMigrate = False, take_over: TakeOver = False, as_json: JsonOption = False) -> None:
    """Start the database if it does not run, and prepare it; safe to repeat."""
    from gst_jobflow.launch.services import LocalMongod

    project = open_project()
    status = LocalMongod(project).up(take_over=take_over)
    if not no_migrate:
        from gst_jobflow.store.migrate import migrate as apply

        changed = apply(project)
        if changed:
            status.notes.append(f"prepared collections, indexes and launchpad ({len(changed)} changes)")
    _show(status, as_json)


@app.command()
def down(as_json: JsonOption = False) -> None:
    """Stop the database that `gst db up` started; the data is kept. External ones are left alone."""
    from gst_jobflow.launch.services import LocalMongod

    status = LocalMongod(open_project()).down()
    status.problem = ""
    _show(status, as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say whether the database runs and how much it holds; exits 0 when it runs, 1 when not."""
    from gst_jobflow.launch.services import LocalMongod

    found = LocalMongod(open_project()).status()
    _show(found, as_json)
    if not found.running:
        raise typer.Exit(1)


@app.command()
def migrate(as_json: JsonOption = False) -> None:
    """Bring collections, validators and indexes to this version; changes nothing when they are."""
    from gst_jobflow.store.migrate import migrate as apply

    changed = apply(open_project())
    if as_json:
        print_json({"changed": changed})
        return
    for line in changed or ["nothing to change"]:
        typer.echo(line)


def _show(status: ServiceStatus, as_json: bool) -> None:
    if as_json:
        print_json(status.as_dict())
        return
    for note in status.notes:
        say(note)
    state = "running" if status.running else "not running"
    rows = [
        ("state", f"{state} (external)" if status.external else state),
        ("uri", status.uri),
        ("version", status.version),
        ("pid", status.pid),
        ("size", None if status.size_bytes is None else f"{status.size_bytes / 1e6:.1f} MB"),
        ("documents", ", ".join(f"{name} {count}" for name, count in status.collections.items() if count)),
    ]
    print_table([row for row in rows if row[1] not in (None, "")], ("", ""))
    if status.problem:
        say(status.problem + (f"\n  → {status.fix}" if status.fix else ""))
