"""A device cycle whose pulse is cut twice, on a real SLURM; scripts/show_device_cycle is its large form."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.devices.submit import prepare_cycle
from gst_jobflow.documents import Attempt, Cycle, Trajectory
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import DECK_FILE, LammpsEngine
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from tests.dynamics.conftest import engine, held_back, tiny_potential  # noqa: F401
from tests.slurm.test_queue import launch
from tests.slurm.test_workflow import stored

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.lammps, pytest.mark.slow]

PLAN: dict[str, Any] = {
    "name": "cut mushroom",
    # the potential is soft: its material has atoms on top of each other
    "cell": {"kind": "mushroom", "formula": "Sb2Te3", "repeat": [8, 2, 7], "barrier_thickness_A": 10.0,
             "min_contact_A": 0.001},
    "barrier": [{"kind": "relax"}, {"kind": "anneal", "temperature_K": 300, "duration_ps": 0.2}],
    "operations": [
        {"kind": "RESET", "energy_eV_per_atom": 0.05, "pulse_ps": 0.4, "every_ps": 0.1, "cool_ps": 0.2,
         "cool_every_ps": 0.1, "profile": "dome", "diameter_A": 36},
    ],
    "output": {"series_every": 5, "profile_every": 25, "dump_every": 25, "restart_every": 50},
}  # fmt: skip
CUT = ("segment_000", "segment_001")


def stop_again_and_again(project: Project, over: threading.Event) -> None:
    """Ask each run of molecular dynamics to stop in its first two segments, as the end of a walltime does."""
    results, asked = Results.open(project), set[Path]()
    while not over.wait(0.2):
        for attempt in results.find(Attempt, {"state": "running"}):
            begun = {deck.parent.resolve() for deck in Path(attempt.directory).glob(f"md-*/*/{DECK_FILE}")} - asked
            if attempt.slurm_job_id and any(folder.name in CUT for folder in begun):
                ask = ["scancel", "--full", "--signal=USR1", attempt.slurm_job_id]
                subprocess.run(ask, check=False, timeout=60)
            asked |= begun


def test_pulse_cut_twice_adds_the_requested_energy(
    cluster: Project,
    tiny_potential: PotentialFiles,  # noqa: F811
    engine: LammpsEngine,  # noqa: F811
    tmp_path: Path,
) -> None:
    with cluster.file.open("a") as settings:
        settings.write(held_back(tmp_path / "held", engine, "segment_00[01]"))
    results = Results.open(cluster)
    maker = CycleMaker(name="cut mushroom", plan=checked(CyclePlan, PLAN))
    flow = prepare_cycle(cluster, results, maker, "mushroom", stored(results, tiny_potential)).flow
    submit(flow, cluster)
    over = threading.Event()
    stopper = threading.Thread(target=stop_again_and_again, args=(cluster, over))
    stopper.start()
    try:
        launch(cluster)
    finally:
        over.set()
        stopper.join()
    assert set(status(connect(cluster))["counts"]) == {"COMPLETED"}
    (cycle,) = results.find(Cycle, {})
    assert cycle.state == "finished"
    check_pulse(results, results.get(Trajectory, str(cycle.operations[0].trajectory_id)))


def check_pulse(results: Results, run: Trajectory) -> None:
    """Three segments, two of them ended in the pulse; each kick once; energies as asked, and as LAMMPS has them."""
    assert [segment.first_step for segment in run.segments] == [0, 50, 100], "the pulse lasts for 200 steps"
    attempts = list(results.find(Attempt, {"job_uuid": run.job_uuid}))
    assert [attempt.state for attempt in attempts] == ["finished"] * 3
    assert len({attempt.slurm_job_id for attempt in attempts}) == 3
    assert run.max_drift_A_ps is not None and run.max_drift_A_ps < 1e-6
    times = [kick.time_ps for kick in run.kicks]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.5, 0.6])
    assert run.added_energy_eV == pytest.approx(run.asked_energy_eV, rel=1e-6)
    assert sum(run.analysis["layers"]["added_eV"]) == pytest.approx(run.added_energy_eV, rel=1e-6)
    # in NVE only the kicks change the total energy; 2 fs steps lose a thousandth of the pulse at most
    rise = run.thermo["total_eV"][-1] - run.thermo["total_eV"][0]
    kicks = float(run.added_energy_eV or 0.0) - float(run.removed_energy_eV or 0.0)
    assert rise == pytest.approx(kicks, abs=2e-3 * float(run.added_energy_eV or 0.0))
    dome = run.analysis["dome"]
    assert dome["asked_diameter_A"] == 36.0 and len(dome["n_atoms"]) == len(dome["time_ps"]) == run.n_frames
