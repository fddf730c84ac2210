"""Entry point of `gst`: joins the commands and turns known errors into one line and a non-zero exit."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gst_jobflow.cli.common import choose_project, complain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Phase-change memory materials from first-principles labels to full-cycle device simulations.\n\n"
        "First steps: gst init DIR; cd DIR; gst doctor; gst db up; gst demo"
    ),
)

# (module, attribute): each command module offers a function or a typer app; order is the order of --help
_COMMANDS = (
    "init",
    "doctor",
    "demo",
    "db",
    "structures",
    "submit",
    "launch",
    "status",
    "recover",
    "query",
    "show",
    "report",
    "ingest",
)


def _version(value: bool) -> None:
    if value:
        from gst_jobflow import __version__

        typer.echo(f"gst_jobflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    project: Annotated[
        Path | None,
        typer.Option("--project", "-p", help="Project folder; else GST_PROJECT, else the nearest gst.yaml upwards."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, e.g. --set lammps.ranks=4 (repeatable)."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    choose_project(project, assignments or [])


for _name in _COMMANDS:
    _module = importlib.import_module(f"gst_jobflow.cli.{_name}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name)
    else:
        app.command(_name)(_module.command)


def main() -> None:
    """Run `gst`; known errors become one line on stderr and exit code 1 (2 for wrong usage)."""
    from gst_jobflow.errors import GstError

    debug = os.environ.get("GST_DEBUG_TRACEBACK")
    try:
        app()
    except GstError as err:
        if debug:
            raise
        complain(err.message, err.fix)
        sys.exit(1)
    except BrokenPipeError:
        # `gst query … | head` is no error; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as err:
        # the driver's own text may hold the URI, and its traceback tells a user nothing
        if debug or not type(err).__module__.startswith("pymongo"):
            raise
        complain(f"the database went away or refused ({type(err).__name__})", "gst db status; then run this again")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted", "what was done is kept; run the same command again to go on")
        sys.exit(130)
