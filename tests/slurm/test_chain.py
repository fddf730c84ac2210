"""Runs longer than their walltime, on a real SLURM."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from gst_jobflow.base.resources import Resources, request_resources
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, Trajectory
from gst_jobflow.dynamics.deck import Output, PotentialFiles
from gst_jobflow.dynamics.engine import DECK_FILE, LammpsEngine
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Hold, Relax
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from tests.dynamics.conftest import engine, held_back, tiny_potential  # noqa: F401
from tests.slurm.test_queue import launch, until
from tests.slurm.test_workflow import stored

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.lammps]


def submit_run(project: Project, potential: PotentialFiles, lammps: str, walltime: str) -> Results:
    with project.file.open("a") as settings:
        settings.write(lammps)
    results = Results.open(project)
    start = HardSphereSpec(formula="Sb1Te1", n_atoms=96, density_g_cm3=4.5, min_distance_A=2.5, seed=2)
    output = Output(series_every=100, profile_every=0, dump_every=1000, restart_every=200)
    stages = [Relax(), Hold(temperature_K=300, duration_ps=3.0)]
    job = MeltQuenchMaker(start=start, stages=stages, output=output).make(stored(results, potential))
    request_resources(job, Resources(ranks=2, walltime=walltime))
    submit(job, project)
    return results


def check_chain(project: Project, results: Results) -> Trajectory:
    counts = status(connect(project))["counts"]
    assert set(counts) == {"COMPLETED"} and counts["COMPLETED"] > 1
    (trajectory,) = results.find(Trajectory, {})
    assert trajectory.state == "finished" and len(trajectory.segments) == counts["COMPLETED"]
    attempts = list(results.find(Attempt, {}))
    assert {attempt.state for attempt in attempts} == {"finished"}, "nothing was cut off"
    assert len({attempt.slurm_job_id for attempt in attempts}) == len(attempts), "each segment is a job of its own"
    return trajectory


def test_usr1_continues_a_run_in_another_job(
    cluster: Project,
    tiny_potential: PotentialFiles,  # noqa: F811
    engine: LammpsEngine,  # noqa: F811
    tmp_path: Path,
) -> None:
    results = submit_run(cluster, tiny_potential, held_back(tmp_path / "held", engine), "00:10:00")
    launcher = threading.Thread(target=launch, args=(cluster,))
    launcher.start()

    def at_work() -> Attempt | None:
        attempt = next(results.find(Attempt, {"state": "running"}), None)
        return attempt if attempt and list(Path(attempt.directory).glob(f"md-*/segment_000/{DECK_FILE}")) else None

    until(at_work)
    attempt = at_work()
    assert attempt is not None and attempt.slurm_job_id
    subprocess.run(["scancel", "--full", "--signal=USR1", attempt.slurm_job_id], check=True, timeout=60)
    launcher.join()
    trajectory = check_chain(cluster, results)
    # the start, step 1000 and the end of the stage
    assert len(trajectory.segments) == 2 and trajectory.n_frames == 3
    assert trajectory.segments[1].first_step == 200, "it waited for its first restart file"


@pytest.mark.slow
def test_a_run_stops_before_slurm_ends_it(
    cluster: Project,
    tiny_potential: PotentialFiles,  # noqa: F811
    engine: LammpsEngine,  # noqa: F811
    tmp_path: Path,
) -> None:
    # SLURM knows whole minutes only
    results = submit_run(cluster, tiny_potential, held_back(tmp_path / "held", engine), "00:01:00")
    launch(cluster)
    check_chain(cluster, results)
