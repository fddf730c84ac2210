"""What a fit will cost: from finished fits by the same engine, and unknown where none compares."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.base.pacemaker import CPU
from gst_jobflow.documents import Attempt, Cost, Potential, PotentialArtifacts, now
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.fitting.work import DEVICE_KEY
from gst_jobflow.flows.estimate import estimate
from gst_jobflow.store import Results
from gst_jobflow.store.work import AssumedCosts, ExpectedCost
from tests.fitting.stored import teacher_dataset

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
ELEMENTS = ("Sb", "Te")
ON_CPUS = {DEVICE_KEY: CPU}


def fit(functions: int = 100, maxiter: int = 100, **optimizer: Any) -> FitConfig:
    small = FitConfig.small(ELEMENTS)
    return small.model_copy(
        update={
            "functions": small.functions.model_copy(update={"number_of_functions_per_element": functions}),
            "optimizer": small.optimizer.model_copy(update={"maxiter": maxiter, **optimizer}),
        }
    )


def add_fit(
    results: Results,
    id: str,
    config: FitConfig | GraceConfig,
    core_hours: float,
    dataset_id: str | None,
    versions: dict[str, str] = ON_CPUS,
) -> None:
    results.add(
        Potential(
            id=id, name=id, kind="ace" if isinstance(config, FitConfig) else "grace/fs", elements=list(ELEMENTS),
            n_functions=9, cutoff_A=5.0, artifacts=PotentialArtifacts(), config=config.model_dump(mode="json"),
            dataset_id=dataset_id, cost=Cost.of(core_hours * 3600 / 2, 2), job_uuid=f"job-{id}",
            versions=versions,
        )
    )  # fmt: skip


def cost_of(project: Project, config: FitConfig | GraceConfig, dataset_id: Any, **assumed: Any) -> ExpectedCost:
    (cost,) = estimate(FitMaker(config=config).make(dataset_id), project, AssumedCosts(**assumed))
    return cost


def test_a_fit_costs_its_iterations_functions_and_atoms_as_finished_fits_did(project: Project, monkeypatch: Any):
    monkeypatch.setenv("GST_CORES", "4")
    results = Results.open(project)
    here = teacher_dataset(results)
    nothing = cost_of(project, fit(), here.id)
    assert nothing.core_hours is None and nothing.basis == "no CPU fit by pacemaker has been measured here"
    for id, core_hours in (("a", 1.0), ("b", 2.0), ("c", 1.5)):
        add_fit(results, id, fit(functions=100, maxiter=100), core_hours, here.id)
    cost = cost_of(project, fit(functions=300, maxiter=200), here.id)
    # fits alike do not tell what each start costs
    assert cost.core_hours == pytest.approx(1.5 * 3 * 2) and cost.wall_h == pytest.approx(1.5 * 3 * 2 / 4)
    assert cost.basis == "3 CPU fits by pacemaker on profile laptop: 1 to 12 core hours"
    assert cost.work == f"1 fit to {here.n_atoms:,} atoms"
    other = teacher_dataset(results, number=80, seed=2)
    assert cost_of(project, fit(), other.id).core_hours == pytest.approx(1.5 * other.n_atoms / here.n_atoms)


def test_the_start_of_a_fit_is_told_from_its_iterations(project: Project) -> None:
    """Four iterations took 208 s and sixty 263 s where the start took 200 s."""
    results = Results.open(project)
    here = teacher_dataset(results)
    for maxiter in (10, 20, 100):
        add_fit(results, f"{maxiter}", fit(maxiter=maxiter), 2.0 + 0.01 * maxiter, here.id)
    assert cost_of(project, fit(maxiter=50), here.id).core_hours == pytest.approx(2.5)
    assert cost_of(project, fit(maxiter=200), here.id).core_hours == pytest.approx(4.0)
    add_fit(results, "slow", fit(maxiter=60), 2 * 2.6, here.id)
    cost = cost_of(project, fit(maxiter=60), here.id)
    low, high = (float(word) for word in re.findall(r"[\d.]+", cost.basis.partition(": ")[2]))
    assert cost.core_hours is not None and low < 2.6 < cost.core_hours < high


def test_a_fit_smaller_than_all_finished_ones_costs_no_more(project: Project) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "a", fit(maxiter=100), 3.0, here.id)
    cost = cost_of(project, fit(maxiter=10), here.id)
    assert cost.core_hours == pytest.approx(3.0) and cost.basis.endswith(": 0.3 to 3 core hours")


def test_a_fit_that_nothing_compares_with_is_unknown_and_says_why(project: Project) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "a", fit(), 1.0, here.id)
    add_fit(results, "imported", fit(), 1.0, None)
    for config, reason in (
        (fit(functions=3100), "no CPU fit between 1/30 and 30 times its size by pacemaker"),
        (fit(maxiter=3), "no CPU fit between 1/30 and 30 times its size by pacemaker"),
        (fit(ladder_step=10), "a ladder has all iterations on each rung"),
        (fit().as_linear(), "no CPU fit by the linear solver has been measured here"),
        (GraceConfig(elements=ELEMENTS), "no CPU fit by gracemaker has been measured here"),
    ):
        cost = cost_of(project, config, here.id)
        assert cost.core_hours is None and reason in cost.basis, cost.basis
    made_later = FitMaker(config=fit()).make(here.id).output["potential_id"]
    assert cost_of(project, fit(), made_later).basis == "its dataset is not made yet"
    assumed = cost_of(project, fit(), made_later, core_hours_per_fit=7.0)
    assert (assumed.core_hours, assumed.basis) == (7.0, "assumed")
    assert cost_of(project, fit(), here.id, core_hours_per_fit=7.0).core_hours == pytest.approx(1.0), "measured wins"


def test_grace_fits_compare_only_with_the_same_settings(project: Project) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "g", GraceConfig(elements=ELEMENTS, maxiter=100), 2.0, here.id)
    longer = GraceConfig(elements=ELEMENTS, maxiter=200, seed=3)
    assert cost_of(project, longer, here.id).core_hours == pytest.approx(4.0)
    deeper = GraceConfig(elements=ELEMENTS, n_rad_base=20)
    assert cost_of(project, deeper, here.id).core_hours is None


@pytest.mark.parametrize("config", [fit(), GraceConfig(elements=ELEMENTS)])
def test_fits_on_a_gpu_and_on_cpus_do_not_price_each_other(
    project: Project, monkeypatch: Any, config: FitConfig | GraceConfig
) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "g", config, 0.1, here.id, {DEVICE_KEY: "NVIDIA H200"})
    unknown = cost_of(project, config, here.id)
    assert unknown.core_hours is None and unknown.basis.startswith("no CPU fit by")
    add_fit(results, "c", config, 2.0, here.id)
    assert cost_of(project, config, here.id).core_hours == pytest.approx(2.0)
    # jobs of a queue have the GPUs that they ask for
    monkeypatch.setenv("GST_PROFILE", "slurm")
    with project.file.open("a") as file:
        file.write("queue: {fits: {gpus_per_node: 1}}\n")
    for wanted, hours, kind in (("auto", 0.1, "1 GPU fit"), (None, 2.0, "1 CPU fit")):
        field: Any = {"gpu": wanted}
        chosen = {"backend": config.backend.model_copy(update=field)} if isinstance(config, FitConfig) else field
        cost = cost_of(type(project)(project.root), config.model_copy(update=chosen), here.id)
        assert cost.core_hours == pytest.approx(hours) and cost.basis.startswith(f"{kind} by"), cost.basis


def test_the_device_of_an_older_fit_is_that_of_its_tensorflow(project: Project) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "either", fit(), 1.0, here.id, {"tensorflow": "2.20.0"})
    cost = cost_of(project, fit(), here.id)
    assert cost.core_hours is None and "(older fits that do not name their device: 1)" in cost.basis
    add_fit(results, "cpu", fit(), 3.0, here.id, {"tensorflow-cpu": "2.20.0"})
    assert cost_of(project, fit(), here.id).core_hours == pytest.approx(3.0)
    # the linear solver has no GPU
    add_fit(results, "linear", fit().as_linear(), 0.5, here.id, {"tensorflow": "2.20.0"})
    assert cost_of(project, fit().as_linear(), here.id).core_hours == pytest.approx(0.5)


def test_fits_of_the_queue_count_for_the_queue_where_there_are_some(project: Project, monkeypatch: Any) -> None:
    results = Results.open(project)
    here = teacher_dataset(results)
    add_fit(results, "a", fit(), 1.0, here.id)
    add_fit(results, "q", fit(), 5.0, here.id)
    results.add(
        Attempt(
            _id="at", job_uuid="job-q", job_name="fit", number=1, state="finished", host="n1", pid=1,
            process_started=1.0, slurm_job_id="7", directory="/scratch", started_at=now(),
        )
    )  # fmt: skip
    assert cost_of(project, fit(), here.id).core_hours == pytest.approx(1.0)
    monkeypatch.setenv("GST_PROFILE", "slurm")
    assert cost_of(type(project)(project.root), fit(), here.id).core_hours == pytest.approx(5.0)
