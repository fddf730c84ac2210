"""A search whose fits are a formula of their configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.base.errors import RunError
from gst_jobflow.documents import ArtifactRef, Dataset, Potential, PotentialArtifacts, Rmse, derive_id
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

FIELDS = {"loss.kappa": {"low": 0.1, "high": 0.9}, "radial.rcut_A": {"low": 4.0, "high": 8.0}}
NO_FILE = ArtifactRef(sha256="0" * 64, size_bytes=1, name="potential.yaml")


def plan(**changes: Any) -> SearchPlan:
    return SearchPlan(**{"space": {"fields": FIELDS}, "n_fits": 6, "n_start": 3, **changes})


def errors_of(config: FitConfig) -> tuple[float, float]:
    """Energy (meV/atom) and force (meV/Å) errors with a valley at kappa 0.4 and 6 Å."""
    bowl = 8 * (config.loss.kappa - 0.4) ** 2 + (config.radial.rcut_A - 6.0) ** 2 / 4
    return 5 * math.exp(bowl), 80 * math.exp(bowl)


@pytest.fixture
def dataset(results: Results) -> Dataset:
    """A dataset's document; the formula does not read its members."""
    found = Dataset(
        _id="data", name="data", fingerprint="formula", elements=["Ge", "Sb", "Te"], n_members=10, n_atoms=100,
        counts={"train": 8, "test": 2}, counts_by_config_type={}, reference_energies_eV={"Ge": 0, "Sb": 0, "Te": 0},
        reference_energies_source="made up", split={"seed": 1}, members=NO_FILE,
    )  # fmt: skip
    results.add(found)
    return found


@pytest.fixture
def results(project: Project) -> Results:
    return Results.open(project)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[FitConfig]:
    """Replace pacemaker's fit by the formula; the configurations that were fitted, in their order."""
    from gst_jobflow.fitting.maker import FitMaker
    from gst_jobflow.store.context import job_results, job_uuid

    fitted: list[FitConfig] = []

    def make(self: FitMaker, dataset_id: str, parent_id: str | None = None) -> dict[str, Any]:
        fitted.append(self.config)
        if self.config.radial.rcut_A > 8.2:
            raise RunError("the loss is not finite", "read its output", "crash")
        energy, force = errors_of(self.config)
        config = self.config.model_dump(mode="json")
        potential = Potential(
            _id=derive_id("potential", config), name=self.potential_name, dataset_id=dataset_id,
            elements=list(self.config.elements), n_densities=3, n_functions=100, cutoff_A=self.config.radial.rcut_A,
            rmse={"test": Rmse(energy_meV_per_atom=energy, force_meV_per_A=force)},
            artifacts=PotentialArtifacts(yaml=NO_FILE, yace=NO_FILE), config=config, job_uuid=job_uuid(),
        )  # fmt: skip
        job_results().add(potential)
        return {"potential_id": potential.id, "rmse": {"test": potential.rmse["test"].model_dump()}}

    monkeypatch.setattr(FitMaker.make, "original", make)
    return fitted


@pytest.fixture
def run(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Run a flow to its end in this process; an error in a job is raised."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    monkeypatch.setenv("GST_PROJECT", str(project.root))

    def run_flow(flow: Any) -> None:
        store = JobStore(MemoryStore())
        run_locally(
            flow, store=store, create_folders=True, root_dir=tmp_path / "jobs", raise_immediately=True, log=False
        )

    return run_flow
