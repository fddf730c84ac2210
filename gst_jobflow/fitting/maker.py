"""The job that fits a potential to a dataset."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.documents import (
    Cost,
    Dataset,
    Errors,
    LammpsCheck,
    Potential,
    PotentialFiles,
    Rmse,
    RmseOfType,
    derive_id,
)
from gst_jobflow.fitting.config import FitConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gst_jobflow.base.pacemaker import PacemakerRunner
    from gst_jobflow.base.settings import Settings
    from gst_jobflow.datasets.read import LabelledStructure
    from gst_jobflow.fitting.parse import FitMetrics
    from gst_jobflow.fitting.run import FitFiles
    from gst_jobflow.store import Results

_PACKAGES = ("python-ace", "tensorpotential", "tensorflow-cpu", "tensorflow", "numpy")


@in_category("fits")
@dataclass
class PacemakerFitMaker(Maker):
    """Fit an ACE potential with pacemaker; a rerun after a kill goes on from the last iteration.

    Before the walltime it is ended, and a continuation goes on.

    Attributes
    ----------
    potential_name
        Name that people find the potential by.
    config
        Everything that shapes the fit.
    tags
        Words that people find the potential by, too.
    measure_speed
        Whether to time molecular dynamics with it afterwards, on one rank; takes seconds.
    """

    name: str = "fit"
    potential_name: str = "potential"
    config: FitConfig = field(default_factory=FitConfig.small)
    tags: list[str] = field(default_factory=list)
    measure_speed: bool = True

    @job
    def make(self, dataset_id: str, parent_id: str | None = None) -> dict[str, Any]:
        """Fit and store.

        Parameters
        ----------
        dataset_id
            The dataset; its reference energies are subtracted.
        parent_id
            A potential to go on from (upfit).

        Returns
        -------
        dict
            `potential_id`, `rmse`.
        """
        from gst_jobflow.base.pacemaker import pacemaker_runner
        from gst_jobflow.base.settings import find_project
        from gst_jobflow.datasets.read import load_split
        from gst_jobflow.fitting.in_time import fit_in_time
        from gst_jobflow.fitting.run import run_fit
        from gst_jobflow.store.context import continuation, job_deadline, job_results, work_directory

        results, settings = job_results(), find_project().settings
        deadline = job_deadline(settings)
        dataset = dataset_with(results, dataset_id, self.config.elements)
        runner = pacemaker_runner(settings)
        directory = work_directory(results, "fit")
        parent = None if parent_id is None else _yaml_of(results, parent_id)
        train, test = (load_split(results, dataset, split) for split in ("train", "test"))
        fit = partial(
            run_fit,
            runner,
            self.config,
            train,
            test,
            dataset.reference_energies_eV,
            directory,
            initial_potential=parent,
            continue_from=directory if (directory / "fit_request.json").is_file() else None,
        )
        files = fit_in_time(fit, directory, deadline)
        if files is None:
            return continuation(self.make(dataset_id, parent_id))
        tried = try_in_lammps(settings, files, test or train, speed=self.measure_speed)
        potential = potential_document(results, self, dataset, parent_id, files, runner, tried)
        results.add(potential)
        return {
            "potential_id": potential.id,
            "rmse": {split: rmse.model_dump() for split, rmse in potential.rmse.items()},
        }


def dataset_with(results: Results, dataset_id: str, elements: Sequence[str]) -> Dataset:
    """The dataset of a fit.

    Raises
    ------
    InputError
        It lacks an element of the fit.
    """
    dataset = results.get(Dataset, dataset_id)
    if missing := sorted(set(elements) - set(dataset.elements)):
        raise InputError(
            f"the fit is for {', '.join(elements)}, dataset {dataset_id} has no {', '.join(missing)}",
            "label structures with it, or leave the element out of the fit",
        )
    return dataset


def _yaml_of(results: Results, potential_id: str) -> Path:
    """The file that a fit goes on from.

    Raises
    ------
    InputError
        The potential was imported without it.
    """
    potential = results.get(Potential, potential_id)
    if potential.kind != "ace":
        raise InputError(f"potential {potential_id} is {potential.kind}, not ACE", "go on from an ACE potential")
    ref = potential.artifacts.yaml
    if ref is None:
        raise InputError(
            f"potential {potential_id} has no .yaml to go on from: it was imported without",
            "gst import potential FILE.yace --yaml FILE.yaml, where there is one",
        )
    return results.artifacts.path(ref)


def try_in_lammps(
    settings: Settings, files: FitFiles, items: Sequence[LabelledStructure], *, speed: bool
) -> dict[str, Any]:
    """Compare the files with the fit's own predictions in LAMMPS and time it: `lammps_check`, `speed`.

    A node without LAMMPS says so in the document; it is no error of the fit.

    Raises
    ------
    RunError
        LAMMPS predicts something else (class ``mismatch``).
    """
    from gst_jobflow.dynamics.deck import PotentialFiles as Files
    from gst_jobflow.dynamics.find_lammps import lammps_engine
    from gst_jobflow.evaluation.speed import measure
    from gst_jobflow.fitting.lammps_check import check_in_lammps
    from gst_jobflow.fitting.parse import count_functions, read_predictions

    try:
        engine = lammps_engine(settings, n_ranks=1)
    except MissingProgramError as err:
        return {"lammps_check": LammpsCheck(state="not_checked", reason=err.message)}
    predictions = read_predictions(files.directory)
    found: dict[str, Any] = {
        "lammps_check": check_in_lammps(engine, files, items, predictions.get("test", predictions["train"]))
    }
    if speed:
        potential = Files(yace=str(files.yace), elements=list(count_functions(files.yaml).elements))
        found["speed"] = measure(engine, potential)
    return found


def potential_document(
    results: Results,
    maker: PacemakerFitMaker,
    dataset: Dataset,
    parent_id: str | None,
    files: FitFiles,
    runner: PacemakerRunner,
    tried: dict[str, Any],
) -> Potential:
    """Make the document of a finished fit: errors from the predictions, files to the artifacts.

    `tried` is what :func:`try_in_lammps` found.
    """
    from gst_jobflow.fitting import parse
    from gst_jobflow.fitting.progress import how_it_ended
    from gst_jobflow.store.context import job_uuid

    metrics = parse.evaluate_directory(files.directory)
    parity = parse.write_parity(parse.read_predictions(files.directory), files.directory / parse.PARITY_FILE)
    summary = parse.count_functions(files.yaml)
    endings = ("yaml", "yace", "asi")
    stored = {ending: results.artifacts.put(getattr(files, ending), f"potential.{ending}") for ending in endings}
    config = maker.config.model_dump(mode="json")
    ending = how_it_ended(files.directory)
    return Potential(
        id=derive_id("potential", dataset.id, parent_id, config, stored["yace"].sha256),
        name=maker.potential_name,
        dataset_id=dataset.id,
        parent_id=parent_id,
        elements=list(summary.elements),
        n_densities=summary.n_densities,
        n_functions=summary.n_functions,
        n_parameters=summary.n_parameters,
        cutoff_A=summary.cutoff_A,
        **errors_of(metrics),
        **tried,
        converged=ending.converged,
        stop_reason=ending.reason,
        artifacts=PotentialFiles(**stored),
        files=[results.artifacts.put(path) for path in (files.input_yaml, parity)],
        config=config,
        cost=Cost.of(files.wall_s, runner.threads),
        seed=maker.config.seed,
        versions=versions(),
        tags=maker.tags,
        job_uuid=job_uuid(),
    )


def errors_of(metrics: FitMetrics) -> dict[str, Any]:
    """Fields of a potential that say how far it is off."""
    return {
        "rmse": {split: Rmse(**errors.model_dump()) for split, errors in metrics.rmse.items()},
        "rmse_by_config_type": {
            split: {name: RmseOfType(**errors.model_dump()) for name, errors in types.items()}
            for split, types in metrics.rmse_by_config_type.items()
        },
        "mae": {split: Errors(**errors.model_dump()) for split, errors in metrics.mae.items()},
        "max_error": {split: Errors(**errors.model_dump()) for split, errors in metrics.max_error.items()},
    }


def versions() -> dict[str, str]:
    """Versions of Python and of what fits."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
