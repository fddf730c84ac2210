"""Fit ACE potentials with pacemaker or the linear solver; check and time them in LAMMPS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gst_jobflow.base.pacemaker import CPU, PacemakerRunner
from gst_jobflow.base.settings import Settings
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.fitting import parse
from gst_jobflow.fitting.active_set import grade_training_set
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.engine import FinishedFit, FitData, held_out
from gst_jobflow.fitting.files import REQUEST_FILE
from gst_jobflow.fitting.lammps_check import check_and_time, check_in_lammps
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
        summary = parse.count_functions(files.yaml)
        checks = check_and_time(
            self.settings,
            lambda engine: check_in_lammps(engine, files, *held_out(data, predictions)),
            PotentialFiles(yace=str(files.yace), elements=list(summary.elements)) if measure_speed else None,
        )
        return FinishedFit(
            kind="ace",
            directory=files.directory,
            wall_s=files.wall_s,
            summary=summary,
            predictions=predictions,
            converged=ending.converged,
            stop_reason=ending.reason,
            artifacts={"yace": files.yace, "yaml": files.yaml, "asi": files.asi},
            input_file=files.input_yaml,
            threads=self.runner.threads,
            device=CPU if self.config.solver == "linear" else self.runner.device(self.config.backend.gpu),
            checks={**checks, "active_set": grade_training_set(self.runner, files.directory)},
        )
