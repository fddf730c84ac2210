"""Fit potentials with the engine of a plugin; evaluate them by its calculator, and check and time them in LAMMPS."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.plugins import distribution, offered
from gst_jobflow.base.settings import Settings
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.potential_files import GROUP, plugin_kind
from gst_jobflow.evaluation.predict import by_calculator
from gst_jobflow.fitting.engine import (
    FinishedFit,
    FitData,
    PluginConfig,
    PluginEngine,
    PluginFit,
    held_out,
    predictions_of,
)
from gst_jobflow.fitting.lammps_check import check_and_time, check_styles_in_lammps

SETTINGS_FILE = "settings.yaml"


@dataclass(frozen=True)
class PluginFiles:
    """A finished fit in its folder, and how long it took."""

    fit: PluginFit
    directory: Path
    wall_s: float


@dataclass
class PluginFitEngine:
    """Fit potentials of a plugin's kind, in this process."""

    kind: str
    settings: Settings
    config: PluginConfig

    @property
    def plugin(self) -> PluginEngine:
        """The plugin's engine."""
        return cast(PluginEngine, plugin_kind(self.kind))

    def fit(self, data: FitData, directory: Path, parent: Path | None) -> PluginFiles:
        """Fit in `directory`.

        Raises
        ------
        InputError
            A parent was given.
        MissingProgramError
            The plugin is not installed.
        """
        if parent is not None:
            raise InputError(f"a fit of the kind {self.kind} cannot start from a potential", "leave out the parent")
        started = time.monotonic()
        (directory / SETTINGS_FILE).write_text(yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False))
        return PluginFiles(self.plugin.fit(self.config, data, directory), directory, time.monotonic() - started)

    def finish(self, files: PluginFiles, data: FitData, *, measure_speed: bool) -> FinishedFit:
        """Predict with the calculator, and check the potential in LAMMPS.

        Raises
        ------
        RunError
            The predictions of LAMMPS differ from the calculator's (class ``mismatch``).
        """
        found, elements = files.fit, list(files.fit.elements)
        calculator = self.plugin.calculator(found.files, elements)
        predictions = predictions_of(lambda atoms: by_calculator(calculator, atoms), data)
        lines = self.plugin.pair_lines(found.files, elements)
        potential = PotentialFiles(elements=elements, lines=lines, other=[str(path) for path in found.files.values()])
        checks = check_and_time(
            self.settings,
            lambda engine: check_styles_in_lammps(engine, potential, ("recursive",), *held_out(data, predictions)),
            potential if measure_speed else None,
        )
        return FinishedFit(
            kind=self.kind,
            directory=files.directory,
            wall_s=files.wall_s,
            summary=found,
            predictions=predictions,
            converged=found.converged,
            stop_reason=found.stop_reason,
            artifacts={},
            other=found.files,
            input_file=files.directory / SETTINGS_FILE,
            threads=cores(),
            checks=checks,
            packages=[distribution(offered(GROUP)[self.kind])],
        )
