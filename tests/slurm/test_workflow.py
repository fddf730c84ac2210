"""A study in small with real programs through the queue: structures → labels (tblite), and a melt-quench (LAMMPS)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobflow import Flow

from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, Label, Potential, PotentialArtifacts, Trajectory
from gst_jobflow.dynamics.deck import Output, PotentialFiles
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Anneal, Relax
from gst_jobflow.flows.structures import HardSphereMaker
from gst_jobflow.labelling.ase_calculator import tblite_backend
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.launch.configs import environment
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from tests.dynamics.conftest import tiny_potential  # noqa: F401
from tests.slurm.test_queue import LIMIT_S, launch

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.fresh_database, pytest.mark.lammps]


def stored(results: Results, files: PotentialFiles) -> str:
    """A potential that is not fitted here: that takes minutes."""
    put = {kind: results.artifacts.put(Path(getattr(files, kind)), f"tiny.{kind}") for kind in ("yaml", "yace", "asi")}
    potential = Potential(
        _id="tiny", name="tiny", elements=files.elements, n_densities=1, n_functions=4, cutoff_A=5.0,
        artifacts=PotentialArtifacts(**put),
    )  # fmt: skip
    results.add(potential)
    return potential.id


def mixed_flow(potential_id: str) -> Flow:
    spec = HardSphereSpec(formula="Sb2Te3", n_atoms=10, density_g_cm3=4.5, min_distance_A=2.7, seed=1)
    source = HardSphereMaker(specs=[spec], n_each=2, n_chunks=2).make()
    labels = [LabelMaker(tblite_backend()).make(source.output["chunks"][chunk]) for chunk in range(2)]
    start = HardSphereSpec(formula="Sb1Te1", n_atoms=48, density_g_cm3=4.5, min_distance_A=2.5, seed=2)
    quench = MeltQuenchMaker(
        start=start, stages=[Relax(), Anneal(temperature_K=300, duration_ps=0.1)], output=Output(series_every=10)
    ).make(potential_id)
    return Flow([source, *labels, quench], name="mixed")


def check(project: Project) -> None:
    results = Results.open(project)
    assert status(connect(project))["counts"] == {"COMPLETED": 4}
    assert len(list(results.find(Label, {}))) == 2
    (trajectory,) = results.find(Trajectory, {})
    assert trajectory.state == "finished"
    attempts = list(results.find(Attempt, {}))
    assert {attempt.state for attempt in attempts} == {"finished"} and len(attempts) == 4
    assert len({attempt.slurm_job_id for attempt in attempts}) == 4, "each in a SLURM job of its own"


def test_by_the_queue_launcher(cluster: Project, tiny_potential: PotentialFiles) -> None:  # noqa: F811
    submit(mixed_flow(stored(Results.open(cluster), tiny_potential)), cluster)
    launch(cluster)
    check(cluster)
    (trajectory,) = Results.open(cluster).find(Trajectory, {})
    assert trajectory.cost is not None and trajectory.cost.cores == 2, "as queue.md says"


def test_by_qlaunch_rapidfire(cluster: Project, tiny_potential: PotentialFiles) -> None:  # noqa: F811
    submit(mixed_flow(stored(Results.open(cluster), tiny_potential)), cluster)
    program, deadline = Path(sys.executable).with_name("qlaunch"), time.monotonic() + LIMIT_S
    while status(connect(cluster))["counts"] != {"COMPLETED": 4}:
        assert time.monotonic() < deadline
        # it ends when nothing is ready, so that it is started again for what becomes ready
        subprocess.run(
            [program, "-c", cluster.fw_configs_dir, "-r", "-s", "rapidfire", "-m", "3"],
            cwd=cluster.runs_dir, env={**os.environ, **environment(cluster)},
            capture_output=True, text=True, check=True, timeout=LIMIT_S,
        )  # fmt: skip
        time.sleep(0.5)
    check(cluster)
