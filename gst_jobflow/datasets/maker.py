"""A dataset as a job of a flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobflow import Maker, job

from gst_jobflow.datasets.create import create_dataset
from gst_jobflow.datasets.references import LEAST_SQUARES
from gst_jobflow.datasets.spec import DatasetSpec
from gst_jobflow.datasets.split import SplitSpec
from gst_jobflow.store.context import job_results


@dataclass
class DatasetMaker(Maker):
    """Make a dataset of the converged labels of structures; `DatasetSpec` says what the fields mean.

    Attributes
    ----------
    reference_energies_eV
        Energy of each element that the fit subtracts; None: least squares over the training labels, pinned here.
    """

    name: str = "dataset"
    dataset_name: str = "dataset"
    split: SplitSpec = field(default_factory=SplitSpec)
    config_type_weights: dict[str, float] = field(default_factory=dict)
    reference_energies_eV: dict[str, float] | None = None
    reference_energies_source: str = "given"
    labels_where: list[str] = field(default_factory=list)
    max_force_eV_A: float | None = None
    near_duplicates_A: float | None = None
    random_fraction: float = 1.0
    iteration: int = 0
    parent_id: str | None = None

    @property
    def spec(self) -> DatasetSpec:
        """How the dataset is made."""
        return DatasetSpec(
            split=self.split,
            config_type_weights=self.config_type_weights,
            reference_energies=LEAST_SQUARES if self.reference_energies_eV is None else self.reference_energies_eV,
            reference_energies_source=self.reference_energies_source,
            labels_where=self.labels_where,
            max_force_eV_A=self.max_force_eV_A,
            near_duplicates_A=self.near_duplicates_A,
            random_fraction=self.random_fraction,
            iteration=self.iteration,
            parent_id=self.parent_id,
        )

    @job
    def make(self, structure_ids: list[list[str]], fingerprint: str, where: list[str] | None = None) -> dict[str, Any]:
        """Select, check, split and store.

        Parameters
        ----------
        structure_ids
            Lists of structure ids, as labelling jobs give them.
        fingerprint
            The one method whose labels are taken.
        where
            Conditions on structures as `gst query` takes them, beside the ids: many structures are chosen by a query,
            which stays small in the database, and not by their ids.

        Returns
        -------
        dict
            `dataset_id`, `counts`, `without_label`.
        """

        ids = [id for part in structure_ids for id in part]
        made = create_dataset(
            job_results(), self.dataset_name, fingerprint, self.spec, where=where, structure_ids=ids
        ).dataset
        lacking = ("structures_without_label", "structures_not_there")
        without = sum(made.selection.get(reason, 0) for reason in lacking)
        return {"dataset_id": made.id, "counts": made.counts, "without_label": without}
