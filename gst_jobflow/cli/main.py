"""Run `gst`: join its commands and turn known errors into one line and a non-zero exit code."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import ClassVar

import typer

from gst_jobflow import __version__
from gst_jobflow.base.errors import GstError
from gst_jobflow.cli.common import complain, parse_assignments, set_global_options
from gst_jobflow.cli.lazy import LazyGroup
from gst_jobflow.cli.option_group import option

SECTIONS = {
    "Project": {
        "init": "Create a project: a folder with settings, private state and FireWorks' config files.",
        "doctor": "Check every program and service by using it; exits 1 if one that the profile requires is missing.",
        "demo": "Run the whole paper in miniature: structures, labels, fit, melt-quench, a device cycle and its page.",
        "db": "Start, stop, check, back up and restore the project's database.",
        "artifacts": "List, check and clean up the stored files.",
    },
    "Data": {
        "structures": "Make, import and select structures: random hard-sphere structures, crystals, device cells.",
        "label": "Report the quality of labels and the differences between methods, and leave labels out.",
        "dataset": "Datasets: the labels that a potential is fitted to, how they are split and weighted.",
        "ingest": "Write results to the database that jobs left on disk while it was away.",
    },
    "Work": {
        "submit": "Submit work to the launchpad; `gst launch` (or rlaunch) runs it.",
        "launch": "Run the jobs on the launchpad until none is left.",
        "status": "Show running, waiting and failed jobs, and what to do about failures.",
        "logs": "Show how each attempt of a job ended, and the last lines that it printed.",
        "pause": "Hold back jobs that have not started, all or those named; they leave SLURM's queue.",
        "resume": "Release paused jobs, all or those named; with ids also cancelled ones.",
        "approve": "Let a study go on with the step that gst submit iterate --pause-before made wait.",
        "cancel": "Stop running jobs and keep waiting ones from starting; their files stay.",
        "recover": "Put lost jobs (their process died) back in the queue; running jobs are left alone.",
    },
    "Results": {
        "web": "Show the project in a browser, live and read-only: jobs, data, potentials, cycles, studies.",
        "query": "Find documents: tables for people, JSON, CSV and extended XYZ for programs.",
        "show": "Show what a document was made from and what was made from it, with attempts, files and cost.",
        "evaluate": "Measure errors and speed of potentials: a table and a page, by config type, composition and more.",
        "analyse": "Analyse frames: crystallinity, grains, growth, motifs, gamma, maps.",
        "figure": "Draw a figure or table of the paper from documents of the database, as PNG, SVG and PDF.",
        "report": "Write a report of a study, a cycle or a potential: one HTML file with all figures.",
        "export": "Export datasets and potentials as files, and bundles to deposit or pass on.",
        "import": "Import bundles and potentials; for structures: gst structures import.",
    },
}
"""Commands by section of `--help`, with their descriptions; tests/cli/test_main.py compares these with the modules."""


class _Commands(LazyGroup):
    """The commands of `gst`."""

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
    project: Path | None = option(
        "Project folder; else GST_PROJECT, else the nearest gst.yaml upwards.", "--project", "-p"
    ),
    assignments: list[str] | None = option("Override a setting, e.g. --set lammps.ranks=4 (repeatable).", "--set"),
    version: bool = option("Print the version.", "--version", default=False, callback=_version, is_eager=True),
) -> None:
    set_global_options(project=project, overrides=parse_assignments(assignments or []))


# a full or protected disk is no fault of the program; other errors may be
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main() -> None:
    """Run `gst`; known errors become one line on stderr and exit code 1 (2 for wrong usage)."""
    try:
        app()
    except BrokenPipeError:
        # `gst query … | head` is no error; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        complain("interrupted", "finished work is kept; run the same command again to continue")
        sys.exit(130)
    except Exception as err:
        told = None if os.environ.get("GST_DEBUG_TRACEBACK") else _in_words(err)
        if told is None:
            raise
        complain(*told)
        sys.exit(1)


def _in_words(err: Exception) -> tuple[str, str] | None:
    """Return what is wrong and what to do; None for a fault of the program."""
    if isinstance(err, GstError):
        return err.message, err.fix
    if isinstance(err, OSError) and err.errno in _OF_THE_DISK:
        place = f"{err.filename}: " if err.filename else ""
        return f"{place}{err.strerror}", "free space or grant access there, then run this again"
    if isinstance(err, OverflowError) and "8-byte ints" in str(err):
        # the number of an option went into a query
        return "an integer is larger than MongoDB can store", f"give at most {2**63 - 1}"
    if type(err).__module__.startswith("pymongo"):
        from gst_jobflow.store.driver_errors import denied

        # the driver's message may hold the URI
        if refused := denied(err):
            return refused.message, refused.fix
        return f"the database went away or refused ({type(err).__name__})", "gst db status; then run this again"
    return None
