"""Jobs of molecular dynamics that are longer than their walltime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.devices.cell import CrossPointSpec, device_counts
from gst_jobflow.devices.cell_maker import DeviceCellMaker, melt_quench_stages
from gst_jobflow.documents import Attempt, Potential, PotentialArtifacts, Structure, Trajectory
from gst_jobflow.dynamics.deck import Output, PotentialFiles
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Hold, Relax
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.store.connect import connect
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.lammps_data import read_data
from tests.dynamics.conftest import held_back

if TYPE_CHECKING:
    from gst_jobflow.dynamics.engine import LammpsEngine

pytestmark = [pytest.mark.mongo, pytest.mark.lammps, pytest.mark.slow]


def stored(results: Results, files: PotentialFiles) -> str:
    put = {kind: results.artifacts.put(Path(getattr(files, kind)), f"tiny.{kind}") for kind in ("yaml", "yace", "asi")}
    potential = Potential(
        _id="tiny", name="tiny", elements=files.elements, n_densities=1, n_functions=4, cutoff_A=5.0,
        artifacts=PotentialArtifacts(**put),
    )  # fmt: skip
    results.add(potential)
    return potential.id


def test_a_run_longer_than_its_walltime_continues_with_plain_rlaunch(
    project: Project, tiny_potential: PotentialFiles, engine: LammpsEngine, tmp_path: Path
) -> None:
    held = held_back(tmp_path / "held", engine, "segment_00[01]")
    with project.file.open("a") as settings:
        settings.write(f"launch: {{walltime: '00:00:05'}}\n{held}")
    results = Results.open(project)
    start = HardSphereSpec(formula="Sb1Te1", n_atoms=48, density_g_cm3=4.5, min_distance_A=2.5, seed=2)
    output = Output(series_every=100, profile_every=0, dump_every=1000, restart_every=200)
    job = MeltQuenchMaker(start=start, stages=[Relax(), Hold(temperature_K=300, duration_ps=8.0)], output=output).make(
        stored(results, tiny_potential)
    )
    job.config.manager_config["_queueadapter"] = {"walltime": "00:10:00"}
    submit(job, project)
    subprocess.run(
        [Path(sys.executable).with_name("rlaunch"), "-c", project.fw_configs_dir, "rapidfire"],
        cwd=project.root, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    counts = status(connect(project))["counts"]
    assert set(counts) == {"COMPLETED"} and counts["COMPLETED"] > 2
    (trajectory,) = results.find(Trajectory, {})
    assert trajectory.state == "finished" and trajectory.n_steps == 4000
    assert len(trajectory.segments) == counts["COMPLETED"]
    ends = [segment.last_step for segment in trajectory.segments]
    assert [segment.first_step for segment in trajectory.segments[1:]] == ends[:-1]
    assert trajectory.n_frames == 5
    attempts = list(results.find(Attempt, {}))
    assert {attempt.state for attempt in attempts} == {"finished"} and len({a.job_uuid for a in attempts}) == 1
    for firework in results.database["fireworks"].find():
        assert firework["spec"]["_queueadapter"] == {"walltime": "00:10:00"}, "a continuation asks for the same"
        assert firework["spec"]["_category"] == "md"


def test_a_device_cell_has_the_barrier_that_its_potential_melted_and_quenched(
    project: Project, tiny_potential: PotentialFiles, engine: LammpsEngine, tmp_path: Path
) -> None:
    results = Results.open(project)
    # the potential is soft: its melt has atoms on top of each other
    spec = CrossPointSpec(
        formula="Sb2Te3", repeat=(3, 2, 1), barrier_thickness_A=10.0, barrier_density_g_cm3=4.5, min_contact_A=0.001
    )
    maker = DeviceCellMaker(
        cell=spec, barrier_stages=melt_quench_stages(600.0, 0.1, 0.1), output=str(tmp_path / "cell.data"), tags=["tiny"]
    )
    submit(maker.make(stored(results, tiny_potential)), project)
    subprocess.run(
        [Path(sys.executable).with_name("rlaunch"), "-c", project.fw_configs_dir, "rapidfire"],
        cwd=project.root, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert status(connect(project))["counts"] == {"COMPLETED": 2}
    (run,) = results.find(Trajectory, {})
    (cell,) = results.find(Structure, {"config_type": "device"})
    assert (run.state, cell.parents, cell.tags) == ("finished", [run.final_structure_id], ["tiny"])
    first, last = cell.source["groups"]["barrier"]
    quenched = results.get(Structure, run.final_structure_id)
    assert cell.n_atoms == sum(device_counts(spec).values()) and last - first + 1 == quenched.n_atoms
    assert cell.source["report"]["seam_contact_A"] >= spec.min_contact_A
    written, kept = read_data(tmp_path / "cell.data", tiny_potential.elements), atoms_of(cell, results.artifacts)
    assert written.get_chemical_symbols() == kept.get_chemical_symbols()
    np.testing.assert_allclose(written.positions, kept.positions, atol=1e-6)
