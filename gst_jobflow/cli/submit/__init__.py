"""`gst submit`: submit work to the launchpad. One module a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import typer

from gst_jobflow.base.resources import parse_asked
from gst_jobflow.cli.common import set_global_options
from gst_jobflow.cli.lazy import LazyGroup
from gst_jobflow.cli.option_group import option

SECTIONS = {
    "Labels": {
        "label": "Label structures: compute energies, forces and stress by one method.",
        "aimd": "Run molecular dynamics with CP2K (NVT); frames become structures and labels of its method.",
    },
    "Potentials": {
        "iterate": "Grow a dataset and a potential in iterations: candidates, choice, labels, dataset, fit, "
        "robustness, gate.",
        "fit": "Fit a potential to a dataset: ACE with pacemaker, GRACE/FS with gracemaker, or the kind of a plugin.",
        "hyperopt": "Search the settings of a fit: evenly spread points first, then proposals of a Gaussian process.",
        "ablation": "Fit every combination of a few values; a table compares their errors, speed and robustness.",
        "robustness": "Count how many hot melts from random starts a potential survives: no lost atoms, no collapsed "
        "pair.",
        "validate": "Compare melt-quenched amorphous cells with frames of first-principles dynamics, number by number.",
        "scaling": "Measure speed, memory and communication of potentials against ranks, nodes and atoms.",
    },
    "Dynamics": {
        "random-search": "Search random structures: relax random cells under pressure, and choose structures for "
        "labels.",
        "melt-quench": "Make amorphous material: melt and quench a random start with a potential.",
        "cycle": "Run operations (RESET, SET, HOLD, READ) on a device cell; each is a job with its trajectory.",
    },
    "Analysis": {
        "analyse": "Analyse frames of runs, cycles or structures: crystallinity, grains, motifs, gamma, maps.",
    },
}
"""Commands by section of `--help`, with their descriptions; tests/cli/test_main.py compares these with the modules."""


class _Commands(LazyGroup):
    """The commands of `gst submit`."""

    package = "gst_jobflow.cli.submit"
    sections: ClassVar = SECTIONS
    moved: ClassVar = {"dataset": "gst dataset create"}


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, help="Submit work to the launchpad; `gst launch` (or rlaunch) runs it."
)


@app.callback()
def _options(
    ask: list[str] | None = option(
        "Resources of its SLURM jobs that replace the settings: nodes=8 for all, md.walltime=24:00:00 for a category.",
    ),
    target: Path | None = option(
        "Write the FireWorks workflow into this file (.yaml, .json) for lpad add instead.", "--to"
    ),
) -> None:
    set_global_options(resources=parse_asked(ask or []), workflow_file=target)
