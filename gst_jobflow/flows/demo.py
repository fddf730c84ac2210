"""Flow of the whole paper in miniature: structures → labels → dataset → fit → melt-quench → device cycle → page."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from jobflow import Flow, Job, Maker
from pydantic import Field

from gst_jobflow.base.strict import StrictModel
from gst_jobflow.datasets.maker import DatasetMaker
from gst_jobflow.datasets.split import SplitSpec
from gst_jobflow.devices.cell import CrossPointSpec
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.operations import OperationSpec
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.documents import Study
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.stages import Stage
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.flows.structures import CrystalMaker, HardSphereMaker
from gst_jobflow.flows.study import finish_study
from gst_jobflow.labelling.backend import LabelBackend, free_atom_energies
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.structures.families import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec


class DemoPlan(StrictModel):
    """Settings of a demo; plans `standard` and `tiny` are known to run."""

    name: str = "demo"
    size: str = "standard"
    labels: Literal["tblite", "cp2k"] = "tblite"
    hard_sphere: list[HardSphereSpec]
    n_each: int = Field(1, ge=1)
    crystals: list[CrystalSpec]
    label_jobs: int = Field(4, ge=1, description="Labelling jobs for each kind of structure")
    split: SplitSpec = Field(default_factory=lambda: SplitSpec(test_fraction=0.15))
    config_type_weights: dict[str, float] = Field(default_factory=dict)
    max_force_eV_A: float | None = Field(None, gt=0, description="Leave labels with larger forces out of the dataset")
    fit: FitConfig
    cell: CrossPointSpec
    barrier: list[Stage]
    operations: list[OperationSpec]
    output: Output = Field(default_factory=Output)
    seed: int = 1


@dataclass
class DemoMaker(Maker):
    """Make the flow of a demo and the study of its results.

    Examples
    --------
    >>> maker = DemoMaker(demo_plan("tiny", "tblite"))
    >>> flow = maker.make(tblite_backend())
    """

    plan: DemoPlan
    name: str = "demo"
    study_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def tag(self) -> str:
        """Tag of the structures of this study."""
        return f"study:{self.study_id}"

    def study(self) -> Study:
        """Return the document of the study before anything has run."""
        plan = self.plan.model_dump(mode="json", exclude_none=True)
        return Study(id=self.study_id, name=self.plan.name, kind="demo", plan=plan)

    def make(self, backend: LabelBackend) -> Flow:
        """Return the flow of all steps; `plan.labels` is the name of the backend."""
        plan, tags = self.plan, [self.tag]
        sources = [
            HardSphereMaker(specs=plan.hard_sphere, n_each=plan.n_each, n_chunks=plan.label_jobs, tags=tags).make(),
            CrystalMaker(specs=plan.crystals, n_chunks=plan.label_jobs, tags=tags).make(),
        ]
        labels = [
            LabelMaker(backend, name=f"label {source.name.split()[0]} {chunk + 1}").make(source.output["chunks"][chunk])
            for source in sources
            for chunk in range(plan.label_jobs)
        ]
        dataset = DatasetMaker(
            dataset_name=plan.name,
            split=plan.split,
            config_type_weights=plan.config_type_weights,
            max_force_eV_A=plan.max_force_eV_A,
            reference_energies_eV=free_atom_energies(backend, plan.fit.elements),
            reference_energies_source="free atoms by the method of the labels",
        ).make([label.output["structure_ids"] for label in labels], labels[0].output["fingerprint"])
        fit = FitMaker(potential_name=plan.name, config=plan.fit).make(dataset.output["dataset_id"])
        programme = CyclePlan(cell=plan.cell, barrier=plan.barrier, operations=plan.operations, output=plan.output)
        potential: Any = fit.output["potential_id"]
        cycle = CycleMaker(name="cross-point cycle", plan=programme, seed=plan.seed, tags=tags).make(potential)
        page = finish_study(
            self.study_id,
            {
                "dataset": ("datasets", dataset.output["dataset_id"]),
                "potential": ("potentials", fit.output["potential_id"]),
                "barrier": ("trajectories", cycle.jobs[0].output["trajectory_id"]),
                "cycle": ("cycles", cycle.output["cycle_id"]),
            },
        )
        jobs: list[Job | Flow] = [*sources, *labels, dataset, fit, cycle, page]
        return Flow(jobs, output=page.output, name=self.name)
