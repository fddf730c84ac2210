"""`gst structures`: make, import, grade, select and sample structures. One module a command."""

from __future__ import annotations

from typing import ClassVar

import typer

from gst_jobflow.cli.lazy import LazyGroup

SECTIONS = {
    "Make": {
        "hard-sphere": "Make random hard-sphere structures for training sets, like AIRSS' buildcell.",
        "crystal": "Make crystals of the material, strained and rattled.",
        "device": "Make device cells with a frozen amorphous barrier; by default the paper's.",
    },
    "Take in": {
        "import": "Import structures, with their energies, forces and stresses as labels.",
        "sample": "Select independent frames of molecular dynamics as structures to label.",
        "failures": "Store the last sound frames before the failures of a robustness study as structures to label.",
    },
    "Choose": {
        "gamma": "Extrapolation grade of structures: the largest of each, and how many of its atoms extrapolate.",
        "select": "Choose structures that a potential extrapolates on, diverse by D-optimality, as candidates for "
        "labels.",
    },
}
"""Commands by section of `--help`, with their descriptions; tests/cli/test_main.py compares these with the modules."""


class _Commands(LazyGroup):
    """The commands of `gst structures`."""

    package = "gst_jobflow.cli.structures"
    sections: ClassVar = SECTIONS


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    help="Make, import and select structures: random hard-sphere structures, crystals, device cells.",
)
