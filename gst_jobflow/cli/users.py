"""`gst db users`: manage accounts of a shared database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.base.settings import Project
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import option
from gst_jobflow.store.address import connection
from gst_jobflow.store.users import add_user, list_users, remove_user, set_password

app = typer.Typer(
    no_args_is_help=True,
    help="Manage accounts of the database: readers read, workers also run jobs, owners also drop and migrate.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
Show = Annotated[bool, typer.Option("--show", help="Also print the URI with its password.")]
File = Annotated[
    Path | None, typer.Option(help="Private file for the URI; default: .gst/users/NAME.uri of the project.")
]


@app.command()
def add(
    name: Name,
    role: str = option("owner, worker or reader.", default=...),
    file: File = None,
    show: Show = False,
    as_json: JsonOption = False,
) -> None:
    """Create an account with a random password and write its URI to a private file."""
    project = open_project()
    written = add_user(project, name, role, file and file.absolute())
    _print(project, name, role, written, show, as_json)


@app.command()
def passwd(name: Name, file: File = None, show: Show = False, as_json: JsonOption = False) -> None:
    """Replace the password of an account by a random one."""
    project = open_project()
    written = set_password(project, name, file and file.absolute())
    _print(project, name, "", written, show, as_json)


@app.command()
def remove(name: Name) -> None:
    """Remove an account; its results stay."""
    remove_user(open_project(), name)
    typer.echo(f"removed: {name}")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the accounts of this database."""
    users = list_users(open_project())
    if as_json:
        print_json([{"name": user.name, "role": user.role, "file": user.file} for user in users])
        return
    if not users:
        typer.echo("No accounts. Create one: gst db users add NAME --role reader")
        return
    print_table([(user.name, user.role, user.file) for user in users], ("name", "role", "file with its URI"))


def _print(project: Project, name: str, role: str, file: Path, show: bool, as_json: bool) -> None:
    uri = file.read_text().strip()
    if as_json:
        print_json({"name": name, "role": role, "file": str(file), **({"uri": uri} if show else {})})
        return
    typer.echo(f"wrote {file}")
    if show:
        typer.echo(uri)
    say("Hand this file over privately: it holds the password. With it, create a project on this database:")
    say(f"  gst init DIR --mongo-uri-file {file.name} --artifacts-dir {project.artifacts_dir}")
    if not connection(project).external:
        say("This database listens on this host only; from elsewhere use an ssh tunnel to the same port.")
