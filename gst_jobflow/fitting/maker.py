"""Job that fits a potential to a dataset and stores it, with any fitting program."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.settings import Settings, find_project
from gst_jobflow.datasets.read import load_split
from gst_jobflow.documents import Cost, Dataset, Potential
from gst_jobflow.fitting import parse
from gst_jobflow.fitting.ace_engine import AceEngine
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.engine import FinishedFit, FitData, FitEngine, PluginConfig
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.grace_engine import GraceEngine
from gst_jobflow.fitting.in_time import fit_in_time
from gst_jobflow.fitting.plugin_engine import PluginFitEngine
from gst_jobflow.fitting.work import DEVICE_KEY, FitWork
from gst_jobflow.store import Results
from gst_jobflow.store.context import continuation, job_deadline, job_results, job_uuid, work_directory

Config = FitConfig | GraceConfig | PluginConfig
_PACKAGES = ("python-ace", "tensorpotential", "tensorflow-cpu", "tensorflow", "numpy")


@in_category("fits")
@dataclass
class FitMaker(Maker):
    """Fit a potential; stop before the walltime, and continue from the last iteration in another job.

    Attributes
    ----------
    potential_name
        Name of the potential.
    config
        Everything that shapes the fit: `FitConfig` for ACE by pacemaker or the linear solver, `GraceConfig` for
        GRACE/FS, or the settings of a plugin.
    plugin
        Name of the plugin's fit engine; empty: the fit is one of ours.
    tags
        Tags of the potential.
    measure_speed
        Whether to time molecular dynamics afterwards, on one rank; takes seconds.

    Examples
    --------
    >>> fit = FitMaker(potential_name="first", config=FitConfig.small()).make("4f0c1d")
    >>> upfit = FitMaker(potential_name="second").make("4f0c1d", fit.output["potential_id"])
    >>> flow = Flow([fit, upfit])
    """

    name: str = "fit"
    potential_name: str = "potential"
    config: Config = field(default_factory=FitConfig.small)
    tags: list[str] = field(default_factory=list)
    measure_speed: bool = True
    plugin: str = ""

    def work(self, dataset_id: str, parent_id: str | None = None) -> FitWork:
        """Return the fit of :meth:`make`."""
        return FitWork(self.config, dataset_id, self.plugin)

    @job
    def make(self, dataset_id: str, parent_id: str | None = None) -> dict[str, Any]:
        """Fit a potential to a dataset and store it.

        Parameters
        ----------
        dataset_id
            Dataset, whose reference energies are subtracted.
        parent_id
            ACE potential to start from.

        Returns
        -------
        dict
            `potential_id`, `rmse`.
        """
        potential = fit_potential(self, dataset_id, parent_id)
        if potential is None:
            return continuation(self.make(dataset_id, parent_id))
        rmse = {split: errors.model_dump() for split, errors in potential.rmse.items()}
        return {"potential_id": potential.id, "rmse": rmse}


PacemakerFitMaker = GraceFitMaker = FitMaker
"""Names of the maker in waiting jobs of version 0.1.0."""


def fit_potential(maker: FitMaker, dataset_id: str, parent_id: str | None = None) -> Potential | None:
    """Fit and store in the running job; return None if the fit was stopped before the walltime.

    Raises
    ------
    InputError
        The dataset lacks an element of the fit, or the fit cannot start from the parent.
    RunError
        A program fails.
    """
    results, settings = job_results(), find_project().settings
    deadline = job_deadline(settings)
    dataset = results.get(Dataset, dataset_id)
    check_elements_of(dataset, maker.config.elements)
    engine = engine_of(maker, settings)
    directory = work_directory(results, "fit")
    parent = None if parent_id is None else _yaml_of(results, parent_id)
    train, test = ([*load_split(results, dataset, split)] for split in ("train", "test"))
    data = FitData(train, test, dataset.reference_energies_eV)
    files = fit_in_time(partial(engine.fit, data, directory, parent), directory, deadline)
    if files is None:
        return None
    finished = engine.finish(files, data, measure_speed=maker.measure_speed)
    potential = _document(results, maker, dataset, parent_id, finished)
    results.add(potential)
    return potential


def engine_of(maker: FitMaker, settings: Settings) -> FitEngine[Any]:
    """Return the engine of a fit.

    Raises
    ------
    MissingProgramError
        pacemaker or the plugin is not installed.
    """
    config = maker.config
    if isinstance(config, PluginConfig):
        return PluginFitEngine(maker.plugin, settings, config)
    runner = pacemaker_runner(settings)
    if isinstance(config, GraceConfig):
        return GraceEngine(runner, config)
    return AceEngine(settings, runner, config)


def check_elements_of(dataset: Dataset, elements: Sequence[str]) -> None:
    """Refuse a dataset that lacks an element of the fit."""
    if missing := sorted(set(elements) - set(dataset.elements)):
        raise InputError(
            f"the fit is for {', '.join(elements)}, dataset {dataset.id} has no {', '.join(missing)}",
            "label structures with it, or leave the element out of the fit",
        )


def _yaml_of(results: Results, potential_id: str) -> Path:
    """Return the `.yaml` of a potential to start from.

    Raises
    ------
    InputError
        The potential is not ACE, or has no such file.
    """
    potential = results.get(Potential, potential_id)
    if potential.kind != "ace":
        raise InputError(f"potential {potential_id} is {potential.kind}, not ACE", "start from an ACE potential")
    ref = potential.artifacts.yaml
    if ref is None:
        raise InputError(
            f"potential {potential_id} was imported without a .yaml, which a fit starts from",
            "gst import potential FILE.yace --yaml FILE.yaml, if you have it",
        )
    return results.artifacts.path(ref)


def _document(
    results: Results,
    maker: FitMaker,
    dataset: Dataset,
    parent_id: str | None,
    finished: FinishedFit,
) -> Potential:
    """Store the files of a finished fit and return its document."""
    metrics, summary = parse.fit_metrics(finished.predictions), finished.summary
    parity = parse.write_parity(finished.predictions, finished.directory / parse.PARITY_FILE)
    stored = {ending: results.artifacts.put(path, f"potential.{ending}") for ending, path in finished.artifacts.items()}
    other = [results.artifacts.put(path, name) for name, path in finished.other.items()]
    identity = [ref.sha256 for ref in other] or [next(iter(stored.values())).sha256]
    config = maker.config.model_dump(mode="json")
    first = (
        ("potential", dataset.id, parent_id) if finished.kind == "ace" else (f"{finished.kind} potential", dataset.id)
    )
    return Potential.of(
        (*first, config, *identity),
        summary,
        {**stored, "other": other},
        name=maker.potential_name,
        kind=finished.kind,
        dataset_id=dataset.id,
        parent_id=parent_id,
        rmse=metrics.rmse,
        rmse_by_config_type=metrics.rmse_by_config_type,
        mae=metrics.mae,
        max_error=metrics.max_error,
        **finished.checks,
        converged=finished.converged,
        stop_reason=finished.stop_reason,
        files=[results.artifacts.put(path) for path in (finished.input_file, parity)],
        config=config,
        cost=Cost.of(finished.wall_s, finished.threads),
        seed=maker.config.seed,
        versions=versions(finished.packages) | ({DEVICE_KEY: finished.device} if finished.device else {}),
        tags=maker.tags,
        job_uuid=job_uuid(),
    )


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of the packages that fit."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
