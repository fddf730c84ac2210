"""Entry point of `gst`: joins the commands and turns known errors into one line and a non-zero exit."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gst_jobflow.cli.common import choose_project, complain


class _Grouped(TyperGroup):
    """Lists the commands of `--help` under what they are for; rich, which does that too, takes long to load."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(map(len, self.commands))
        for panel, modules in _COMMANDS.items():
            with formatter.section(panel):
                names = [module.rstrip("_") for module in modules]
                # filled up, so that the descriptions of all groups begin in one column; sentences are not cut
                formatter.write_dl(
                    [(name.ljust(widest), self.commands[name].get_short_help_str(_LONGEST)) for name in names]
                )


_LONGEST = 1000
"""Letters of a first sentence in `--help`."""

app = typer.Typer(
    cls=_Grouped,
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

# each command module offers a function or a typer app; order is the order of --help
_COMMANDS = {
    "Project": ("init", "doctor", "demo", "db", "artifacts"),
    "Data": ("structures", "label", "dataset", "ingest"),
    "Work": ("submit", "launch", "status", "logs", "pause", "resume", "cancel", "recover"),
    "Results": ("query", "show", "evaluate", "report", "export", "import_"),
}


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


for _name in chain.from_iterable(_COMMANDS.values()):
    _module = importlib.import_module(f"gst_jobflow.cli.{_name}")
    # a module cannot be called as a word of Python is
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name.rstrip("_"))
    else:
        app.command(_name.rstrip("_"))(_module.command)


# a full, closed or broken disk is no fault of the program; any other error of the system may be
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main() -> None:
    """Run `gst`; known errors become one line on stderr and exit code 1 (2 for wrong usage)."""
    from gst_jobflow.base.errors import GstError

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
    except OSError as err:
        if debug or err.errno not in _OF_THE_DISK:
            raise
        place = f"{err.filename}: " if err.filename else ""
        complain(f"{place}{err.strerror}", "make room or grant access there, then run this again")
        sys.exit(1)
    except OverflowError as err:
        # an option whose number is stored or asked for; no column of ours comes near
        if debug or "8-byte ints" not in str(err):
            raise
        complain("a whole number is larger than MongoDB holds", f"give one up to {2**63 - 1}")
        sys.exit(1)
    except Exception as err:
        # the driver's own text may hold the URI, and its traceback tells a user nothing
        if debug or not type(err).__module__.startswith("pymongo"):
            raise
        from gst_jobflow.store.connect import denied

        if refused := denied(err):
            complain(refused.message, refused.fix)
            sys.exit(1)
        complain(f"the database went away or refused ({type(err).__name__})", "gst db status; then run this again")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted", "what was done is kept; run the same command again to go on")
        sys.exit(130)
