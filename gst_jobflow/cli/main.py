"""Entry point of `gst`: joins the commands and turns known errors into one line and a non-zero exit."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from gst_jobflow import __version__
from gst_jobflow.base.errors import GstError
from gst_jobflow.cli.common import choose, complain, parse_assignments
from gst_jobflow.cli.lazy import LazyGroup

SECTIONS = {
    "Project": {
        "init": "Make a project: a folder with settings, private state, and what FireWorks reads.",
        "doctor": "Check every part by using it; exits 1 when something that the profile needs is missing.",
        "demo": "Run the whole paper in small: structures, labels, fit, melt-quench, a device cycle and its page.",
        "db": "Start, stop and look at the project's database (its own mongod, or an external one).",
        "artifacts": "List, check and clean up the files that documents name.",
    },
    "Data": {
        "structures": "Make, import and choose structures: hard-sphere random ones, crystals, device cells.",
        "label": "Labels: how good they are, and how methods differ.",
        "dataset": "Datasets: which labels a potential is fitted to, how they are split and weighted.",
        "ingest": "Put results that jobs left on disk while the database was away into it.",
    },
    "Work": {
        "submit": "Put work on the launchpad; `gst launch` (or rlaunch) runs it.",
        "launch": "Run everything on the launchpad that is ready, until nothing is left.",
        "status": "Show what runs, waits and failed, and what to do about failures.",
        "logs": "Show how each attempt of a job ended, and the end of what the last one printed.",
        "pause": "Hold back jobs that have not begun, all or those named; they leave SLURM's queue.",
        "resume": "Let paused jobs go on, all or those named; with ids also cancelled ones.",
        "cancel": "Stop jobs that run, and keep those that wait from running; what they wrote stays.",
        "recover": "Put lost runs (their process is gone) back in the queue; what still runs is left alone.",
    },
    "Results": {
        "query": "Find documents: tables for people, JSON, CSV and extended XYZ for programs.",
        "show": "Show where anything came from and what was made from it, with attempts, files and cost.",
        "evaluate": "Measure errors and speed of potentials: a table and a page, by config type, composition and more.",
        "analyse": "Analyse frames: crystallinity, grains, growth, motifs, gamma, maps.",
        "report": "Write one HTML page, with all figures in it, of what the database holds.",
        "export": "Write datasets, potentials, and bundles that people deposit or pass on.",
        "import": "Put bundles and potentials in; for structures: gst structures import.",
    },
}
"""Commands by section of `--help`, with their descriptions; tests/cli/test_main.py compares these with the modules."""


class _Commands(LazyGroup):
    """The commands of `gst`, by what they are for."""

    package = "gst_jobflow.cli"
    sections: ClassVar = SECTIONS


app = typer.Typer(
    cls=_Commands,
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


def _version(value: bool) -> None:
    if value:
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
    choose(project=project, overrides=parse_assignments(assignments or []))


# a full, closed or broken disk is no fault of the program; any other error of the system may be
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main() -> None:
    """Run `gst`; known errors become one line on stderr and exit code 1 (2 for wrong usage)."""
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
        from gst_jobflow.store.driver_errors import denied

        if refused := denied(err):
            complain(refused.message, refused.fix)
            sys.exit(1)
        complain(f"the database went away or refused ({type(err).__name__})", "gst db status; then run this again")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted", "what was done is kept; run the same command again to go on")
        sys.exit(130)
