"""Make the active set of a finished fit, and grade the fit's own training set with it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gst_jobflow.base.errors import DataError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.documents import ActiveSet
from gst_jobflow.fitting.config import ActiveSetAtoms, FitConfig
from gst_jobflow.fitting.files import POTENTIAL_FILE, TRAIN_FILE
from gst_jobflow.fitting.programs import run_pacemaker

logger = logging.getLogger(__name__)

_CHOICE_FILE, _GRADES_FILE = "active_set.json", "training_grades.json"
PYACE_PROGRAM = Path(__file__).with_name("pyace_program.py")


def make_active_set(runner: PacemakerRunner, directory: Path, atoms: ActiveSetAtoms) -> None:
    """Choose the active set among all training atoms or the well-fitted ones, and record which.

    All atoms are taken if `well_fitted` fails: too few atoms may be left for the functions, or the data may exceed the
    memory, where pace_activeset works in batches and cannot leave out atoms.
    """
    command: list[str | Path] = [runner.pace_activeset, "-d", "fitting_data_info.pckl.gzip", POTENTIAL_FILE]
    reason = ""
    try:
        run_pacemaker(runner, [*command, *(["-a"] if atoms == "all" else [])], directory, "pace_activeset.out", None)
    except RunError as error:
        if atoms == "all" or error.failure_class in ("timeout", "killed"):
            raise
        atoms, reason = "all", f"without the badly fitted atoms it failed: {error.message}"
        logger.warning("active set of all atoms: %s", error.message)
        run_pacemaker(runner, [*command, "-a"], directory, "pace_activeset.out", None)
    (directory / _CHOICE_FILE).write_text(json.dumps({"atoms": atoms, "reason": reason[:500]}))


def grade_training_set(runner: PacemakerRunner, directory: Path) -> ActiveSet:
    """Return the atoms that the active set was chosen among, and the extrapolation grades of the training set.

    Raises
    ------
    RunError
        pyace fails.
    """
    potential = directory / POTENTIAL_FILE
    files = [potential.name, potential.with_suffix(".asi").name, TRAIN_FILE, _GRADES_FILE]
    run_pacemaker(
        runner, [runner.python, PYACE_PROGRAM, "grade", *files, str(runner.threads)], directory, "gamma.out", None
    )
    choice, grades = (json.loads((directory / name).read_text()) for name in (_CHOICE_FILE, _GRADES_FILE))
    return ActiveSet(**choice, **{**grades, "n_atoms": int(grades["n_atoms"])})


def check_active_set_possible(config: FitConfig, train: Sequence[LabelledStructure]) -> None:
    """Refuse a fit with fewer training atoms than functions of an element: it could have no active set.

    Raises
    ------
    DataError
        An element of the potential has fewer atoms in the training set than functions.
    """
    counts = Counter(symbol for item in train for symbol in item.atoms.get_chemical_symbols())
    for symbol in config.elements:
        wanted = config.functions.number_of_functions_per_element
        if counts[symbol] < wanted:
            raise DataError(
                f"{counts[symbol]} atoms of {symbol} in the training set, but {wanted} functions per element",
                f"add structures with {symbol}, or set number_of_functions_per_element to less",
            )
