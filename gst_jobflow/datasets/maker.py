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
    """Make a dataset of the converged labels of structures; see `DatasetSpec` for the fields.

    Reference energies that are None are least squares over the training labels.

    Examples
    --------
    >>> labels = LabelMaker(backend_of("tblite", find_project())).make(structure_ids)
    >>> dataset = DatasetMaker(dataset_name="iter-1").make([structure_ids], labels.output["fingerprint"])
    >>> submit(Flow([labels, dataset]), find_project())
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
    test_dataset_id: str | None = None

    @property
    def spec(self) -> DatasetSpec:
        """Settings of the dataset."""
        fields = {name: getattr(self, name) for name in DatasetSpec.model_fields if name != "reference_energies"}
        energies = LEAST_SQUARES if self.reference_energies_eV is None else self.reference_energies_eV
        return DatasetSpec(**fields, reference_energies=energies)

    @job
    def make(self, structure_ids: list[list[str]], fingerprint: str, where: list[str] | None = None) -> dict[str, Any]:
        """Select labels of a method on lists of structures, split and store them.

        `where` has conditions for more structures, see `select_labels`; a job that names many structures one by one
        would be a large document. Returns `dataset_id`, `counts`, `without_label`.
        """
        ids = [id for part in structure_ids for id in part]
        made = create_dataset(
            job_results(), self.dataset_name, fingerprint, self.spec, where=where, structure_ids=ids
        ).dataset
        lacking = ("structures_without_label", "structures_not_there")
        without = sum(made.selection.get(reason, 0) for reason in lacking)
        return {"dataset_id": made.id, "counts": made.counts, "without_label": without}
