"""Fit ACE potentials with pacemaker or the linear solver; check and time them in LAMMPS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.base.settings import Settings
from gst_jobflow.documents import LammpsCheck
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.evaluation.speed import measure
from gst_jobflow.fitting import parse
from gst_jobflow.fitting.active_set import grade_training_set
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.engine import FinishedFit, FitData
from gst_jobflow.fitting.files import REQUEST_FILE
from gst_jobflow.fitting.lammps_check import check_in_lammps
from gst_jobflow.fitting.progress import how_it_ended
from gst_jobflow.fitting.run import FitFiles, run_fit


@dataclass
class AceEngine:
    """Fit ACE potentials with pacemaker or the linear solver, whichever the configuration names."""

    settings: Settings
    runner: PacemakerRunner
    config: FitConfig

    def fit(self, data: FitData, directory: Path, parent: Path | None) -> FitFiles:
        """Fit in `directory`, or continue the interrupted fit there."""
        return run_fit(
            self.runner,
            self.config,
            data.train,
            data.test,
            data.reference_energies,
            directory,
            initial_potential=parent,
            continue_from=directory if (directory / REQUEST_FILE).is_file() else None,
        )

    def finish(self, files: FitFiles, data: FitData, *, measure_speed: bool) -> FinishedFit:
        """Read the errors, grade the training set, and check the potential in LAMMPS.

        Raises
        ------
        RunError
            The predictions of LAMMPS differ from the fit's (class ``mismatch``).
        """
        parse.evaluate_directory(files.directory)
        predictions = parse.read_predictions(files.directory)
        ending = how_it_ended(files.directory)
        checks = self._try_in_lammps(files, data, predictions, measure_speed)
        return FinishedFit(
            kind="ace",
            directory=files.directory,
            wall_s=files.wall_s,
            summary=parse.count_functions(files.yaml),
            predictions=predictions,
            converged=ending.converged,
            stop_reason=ending.reason,
            artifacts={"yace": files.yace, "yaml": files.yaml, "asi": files.asi},
            input_file=files.input_yaml,
            checks={**checks, "active_set": grade_training_set(self.runner, files.directory)},
        )

    def _try_in_lammps(
        self, files: FitFiles, data: FitData, predictions: dict[str, parse.Predictions], measure_speed: bool
    ) -> dict[str, Any]:
        """Compare LAMMPS with the fit's predictions and time it; without LAMMPS only say so."""
        try:
            engine = lammps_engine(self.settings, n_ranks=1)
        except MissingProgramError as err:
            return {"lammps_check": LammpsCheck(state="not_checked", reason=err.message)}
        split = "test" if "test" in predictions else "train"
        found: dict[str, Any] = {
            "lammps_check": check_in_lammps(engine, files, getattr(data, split), predictions[split])
        }
        if measure_speed:
            elements = list(parse.count_functions(files.yaml).elements)
            found["speed"] = measure(engine, PotentialFiles(yace=str(files.yace), elements=elements))
        return found
