"""What a flow will cost: from measured runs and labels, and unknown where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import Resources, request_resources
from gst_jobflow.devices.cell import CrossPointSpec
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.operations import Reset, Set
from gst_jobflow.devices.programme import CyclePlan, load_programme
from gst_jobflow.devices.work import runs_of_plan
from gst_jobflow.documents import ArtifactRef, Cost, Trajectory
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Anneal, Relax
from gst_jobflow.flows.estimate import check_budget, estimate
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.store import Results
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from tests.datasets.conftest import add_labels
from tests.flows.test_data_jobs import PAIR_POTENTIAL

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


def add_run(results: Results, id: str, potential_id: str = "p", us: float = 50.0, **changes: Any) -> None:
    values: dict[str, Any] = {
        "name": "run", "protocol": "anneal", "stages": [], "formula": "GeTe", "n_atoms": 100, "state": "finished",
        "timestep_fs": 2.0, "n_steps": 1000, "duration_ps": 2.0, "n_frames": 10, "seed": 1,
        "us_per_atom_step": us, "cost": Cost.of(1.0, 4),
        "files": [ArtifactRef(sha256="0" * 64, size_bytes=20_000, name="dump_001.lammpstrj.gz")],
    }  # fmt: skip
    results.add(Trajectory(_id=id, potential_id=potential_id, **{**values, **changes}))


def melt(n_atoms: int = 1000, ps: float = 100.0, dump_every: int = 500) -> Any:
    start = HardSphereSpec(formula="GeTe", n_atoms=n_atoms, density_g_cm3=5.5)
    stages = [Relax(), Anneal(temperature_K=300, duration_ps=ps)]
    return MeltQuenchMaker(start=start, stages=stages, output=Output(dump_every=dump_every)).make("p")


@pytest.mark.filterwarnings("error:Some jobs are not connected")
def test_jobs_that_do_not_depend_on_each_other_are_no_reason_to_warn(project: Project) -> None:
    from jobflow import Flow

    assert len(estimate(Flow([melt(), melt()]), project)) == 2


def test_a_run_costs_atoms_times_steps_times_what_was_measured(project: Project, monkeypatch: Any) -> None:
    results = Results.open(project)
    monkeypatch.setenv("GST_CORES", "2")
    (nobody,) = estimate(melt(), project)
    assert nobody.core_hours is None and "run a short one first" in nobody.basis
    add_run(results, "a", "other", us=1000.0)
    assert "other potentials" in estimate(melt(), project)[0].basis
    for number, us in enumerate((40.0, 50.0, 300.0)):
        add_run(results, f"{number}", us=us)
    (cost,) = estimate(melt(), project)
    # 1,000 atoms, 50,000 steps, 50 µs on each of four cores
    assert cost.core_hours == pytest.approx(1000 * 50_000 * 50e-6 * 4 / 3600)
    assert cost.wall_h == pytest.approx(cost.core_hours / 2)
    assert cost.segments == 1 and "3 runs of this potential" in cost.basis
    # 20 bytes an atom and frame, 101 frames
    # frames twice: as written, and as stored; and some kB an atom of states
    assert cost.disk_GB == pytest.approx(1000 * (2 * 101 * 20 + 1224) / 1e9, rel=0.05)


def test_segments_follow_from_the_walltime(project: Project, monkeypatch: Any) -> None:
    add_run(Results.open(project), "a", us=90.0)
    monkeypatch.setenv("GST_PROFILE", "slurm")
    on_slurm = type(project)(project.root)
    job = melt()
    request_resources(job, Resources(nodes=1, ranks=4, walltime="00:10:00"))
    (cost,) = estimate(job, on_slurm)
    # 1,000 × 50,000 × 90 µs = 4,500 s on four cores as measured; 540 s of each ten minutes
    assert cost.cores == 4 and cost.segments == 9
    assert cost.basis.endswith("another profile"), "measured on a workstation"


def test_a_cycle_is_estimated_by_its_operations(project: Project) -> None:
    add_run(Results.open(project), "a")
    plan = CyclePlan(
        cell=CrossPointSpec(repeat=(2, 2, 1), barrier_thickness_A=10.0),
        barrier=[Anneal(temperature_K=300, duration_ps=1.0)],
        operations=[Reset(energy_eV_per_atom=0.7, pulse_ps=10, cool_ps=40), Set(temperature_K=600, duration_ps=100)],
    )
    barrier, reset, crystallise = estimate(CycleMaker(plan=plan).make("p"), project)
    assert [cost.name for cost in (reset, crystallise)] == ["1 RESET", "2 SET"]
    assert crystallise.core_hours == pytest.approx(2 * reset.core_hours)
    assert crystallise.work == "168 atoms × 50,000 steps"
    assert barrier.core_hours < reset.core_hours
    several = estimate(CycleMaker(plan=plan, replicas=3).make("p"), project)
    # in whatever order the jobs of replicas come
    assert {cost.name: cost.work for cost in several} == {
        barrier.name: barrier.work,
        **{f"1 RESET of replica {number}": reset.work for number in (1, 2, 3)},
        **{f"2 SET of replica {number}": crystallise.work for number in (1, 2, 3)},
    }


def test_the_cycle_of_the_paper_has_its_core_hours() -> None:
    barrier, *operations = runs_of_plan(load_programme("cross-point"))
    assert [work.protocol.name for work in operations] == ["HOLD", "RESET", "SET", "RESET"]
    assert {work.n_atoms for work in operations} == {532_980} and barrier.n_atoms <= 4500
    # 10 + 40 ps, 20 ns, 40 + 30 ps of 2 fs
    assert [work.n_steps for work in operations[1:]] == [25_000, 10_000_000, 35_000]
    # the paper's 770,000 core hours are 1,930 atom-steps a second and core, and ours hold 20 ps more
    hours = sum(work.core_hours(1e6 / 1930) for work in operations)
    assert hours == pytest.approx(770_000, rel=0.01)
    with pytest.raises(InputError, match="has no cell"):
        runs_of_plan(CyclePlan(operations=[Set(temperature_K=600, duration_ps=100)]))


def test_labels_cost_as_much_as_measured_ones(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setenv("GST_CORES", "4")
    isolated = PAIR_POTENTIAL.model_copy(update={"isolate": True})
    job = LabelMaker(isolated).make([f"{number}" for number in range(100)])
    assert estimate(job, project)[0].core_hours is None
    add_labels(Results.open(project), 3, fingerprint=isolated.method().fingerprint(), wall_s=36.0)
    (cost,) = estimate(job, project)
    assert cost.core_hours == pytest.approx(1.0), "one core each"
    assert cost.wall_h == pytest.approx(0.25), "four at a time"


def test_cost_beyond_the_budget_is_refused(project: Project) -> None:
    costs = estimate(melt(), project)
    check_budget(costs, None)
    with pytest.raises(InputError, match="is unknown"):
        check_budget(costs, 100.0)
    add_run(Results.open(project), "a")
    costs = estimate(melt(), project)
    check_budget(costs, 100.0)
    with pytest.raises(InputError, match=r"about 2\.78 core hours; the budget is 1"):
        check_budget(costs, 1.0)


def test_a_failed_run_without_a_speed_is_not_measured(project: Project) -> None:
    results = Results.open(project)
    add_run(results, "a", us_per_atom_step=None, state="failed")
    assert estimate(melt(), project)[0].core_hours is None
