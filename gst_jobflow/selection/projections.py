"""Express atoms in a potential's active set, with pyace in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.settings import Settings
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.evaluation.predict import run_pyace, save_structures
from gst_jobflow.fitting.active_set import PYACE_PROGRAM


def coordinates(
    settings: Settings, potential: PotentialFiles, structures: Sequence[Atoms]
) -> list[dict[str, np.ndarray]]:
    """Return the coordinates of the atoms of each structure by element, shape (n_atoms_of_element, n_functions).

    Coordinates are projections on the basis functions times the inverse of the active set: an atom of the active set is
    a unit vector, and the largest absolute coordinate is the extrapolation grade. Cells are taken as periodic. Raises
    InputError if the potential has no active set, MissingProgramError without pacemaker's package, and RunError if it
    fails.
    """
    if not (potential.yaml and potential.asi):
        raise InputError(
            "the potential lacks .yaml or .asi, which the extrapolation grade needs",
            "import it with both, or fit it here",
        )
    python = pacemaker_runner(settings).python
    with tempfile.TemporaryDirectory(prefix="gst_projections_") as name:
        folder = Path(name)
        save_structures(folder / "in.npz", structures)
        files = [str(Path(file).resolve()) for file in (potential.yaml, potential.asi)]
        run_pyace(python, PYACE_PROGRAM, ["project", *files, "in.npz", "out.npz"], folder)
        with np.load(folder / "out.npz") as arrays:
            return [
                {
                    element: arrays[f"rows_{element}"][arrays[f"structure_{element}"] == place]
                    for element in potential.elements
                }
                for place in range(len(structures))
            ]
