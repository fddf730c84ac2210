"""`gst web`: serve a live, read-only page of the project."""

from __future__ import annotations

import socket

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.common import open_project, say
from gst_jobflow.cli.option_group import option
from gst_jobflow.store.address import connection
from gst_jobflow.store.users import add_user, reads_only, uri_path

_ACCOUNT = "web"
_PORT = 8765
_LOOPBACK = "127.0.0.1"


def command(
    port: int = option("Port to listen on; 0 takes a free one.", default=_PORT, min=0, max=65535),
    account: str = option("Account that reads the database; 'web' is made if needed.", default=_ACCOUNT),
    listen: str = option(
        "Address to listen on. Another one than loopback shows the project, without a password and "
        "unencrypted, to everybody who reaches this host; it needs --name.",
        default=_LOOPBACK,
    ),
    name: list[str] | None = option(
        "Name or address by which browsers call this host, besides localhost (repeatable)."
    ),
) -> None:
    """Show the project in a browser, live and read-only: jobs, data, potentials, cycles, studies.

    The page only reads: it has no action, opens the database with an account that may not write, and listens on this
    host only. From elsewhere, open a tunnel first; both ends then use the same address.

    Examples: gst web; ssh -L 8765:localhost:8765 HOST, then http://localhost:8765 in a browser here
    """
    # Flask and matplotlib's users would slow other commands
    from gst_jobflow.flows.details import detail
    from gst_jobflow.report.web.app import LOOPBACK_NAMES, create_app, plain_host
    from gst_jobflow.report.web.server import listen as listen_on
    from gst_jobflow.report.web.server import serve_pages
    from gst_jobflow.report.web.source import Source

    for each in name or ():
        if not plain_host(each).partition(":")[0].strip("."):
            raise InputError(f"--name '{each}' names no host", "--name HOST, the name that browsers use")
    if listen not in (_LOOPBACK, "localhost") and not name:
        raise InputError(
            f"--listen {listen} shows the project to everybody who reaches this host",
            "leave it out and use an ssh tunnel; or add --name HOST, the name that browsers use",
        )
    project = open_project()
    account = _account(project, account)
    source = Source(project, account)
    # a wrong account or a missing database is said here, not by each page
    with source.reading():
        pass
    source.close()
    listener = listen_on(listen, port)
    _tell(listener, account)
    serve_pages(lambda: create_app(source, detail, (*LOOPBACK_NAMES, *(name or ()))), listener)


def _account(project: Project, account: str) -> str:
    """Return the account, made if it is the usual one; empty if that of the project only reads anyway."""
    if account != _ACCOUNT or uri_path(project, account).is_file():
        return account
    where = connection(project)
    if where.external and reads_only(where):
        return ""
    file = add_user(project, account, "reader")
    say(f"made the account '{account}', which may only read ({file})")
    return account


def _tell(listener: socket.socket, account: str) -> None:
    address, port = listener.getsockname()
    typer.echo(f"http://{address}:{port}/")
    whose = f"the account '{account}'" if account else "the account of the project"
    say(f"read-only, by {whose}; from elsewhere: ssh -L {port}:localhost:{port} HOST. Ctrl-C ends it.")
