"""Molecular dynamics from first principles through the queue: cut by the walltime, and continued in another job."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, Label, Structure, Trajectory, unpack
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.labelling.cp2k import Cp2kSettings
from gst_jobflow.launch.status import status
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms, structure_document
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst
from tests.slurm import test_queue
from tests.slurm.test_queue import launch

# SLURM knows whole minutes only
pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.fresh_database, pytest.mark.cp2k, pytest.mark.slow]

STEPS, EVERY = 12, 3
# a small basis and loose thresholds: a step takes about a second
QUICK = {
    "cutoff_Ry": 80.0, "relative_cutoff_Ry": 20.0, "eps_default": 1e-8, "eps_scf": 1e-5, "gamma_min_A": 5.0,
    "kinds": {
        "Ge": {"basis": "SZV-MOLOPT-SR-GTH", "potential": "GTH-PBE-q4"},
        "Te": {"basis": "SZV-MOLOPT-SR-GTH", "potential": "GTH-PBE-q6"},
    },
}  # fmt: skip
# no machine is so quick that it does more than a few steps before it is asked to stop
_HELD = """\
#!/bin/sh
case "$PWD" in */segment_000) ;; *) exec {cp2k} "$@" ;; esac
{cp2k} "$@" &
while kill -0 $! 2>/dev/null; do
    [ "$(cat aimd-1.ener 2>/dev/null | wc -l)" -le 3 ] || kill -STOP $!
    sleep 0.1
done
wait $!
"""


@pytest.fixture
def held(cluster: Project, tmp_path: Path) -> Project:
    """A project whose CP2K waits after its first steps until it is asked to stop, and goes on without waiting later."""
    try:
        found = Cp2kSettings.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))
    program = tmp_path / "held_cp2k"
    program.write_text(_HELD.format(cp2k=shlex.quote(found.program)))
    program.chmod(0o755)
    with cluster.file.open("a") as settings:
        settings.write(f"cp2k: {{command: '{program}', data_dir: '{found.data_dir}'}}\n")
    return Project(cluster.root)


def options() -> list[str]:
    return [word for key, value in QUICK.items() for word in ("--option", f"{key}={value}")]


def stored_start(results: Results) -> Structure:
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    start = structure_document(atoms, "crystal")
    results.add(start)
    return start


def test_dynamics_that_the_walltime_cuts_goes_on_in_another_job(
    held: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a job for every half minute of CP2K, and on a busy machine those are many
    monkeypatch.setattr(test_queue, "LIMIT_S", 600.0)
    results = Results.open(held)
    start = stored_start(results)
    gst(held, "submit", "--ask", "walltime=00:01:00", "aimd", "--structure", start.id, "--tag", "melt",
        "--stage", f"600:{STEPS * 2e-3:g}", "--every", str(EVERY), *options())  # fmt: skip
    launch(held)

    counts = status(connect(held))["counts"]
    assert set(counts) == {"COMPLETED"} and counts["COMPLETED"] > 1
    attempts = list(results.find(Attempt, {}))
    assert {attempt.state for attempt in attempts} == {"finished"}, "nothing was killed"
    assert len({attempt.slurm_job_id for attempt in attempts}) == counts["COMPLETED"]

    (run,) = results.find(Trajectory, {})
    assert (run.state, run.n_steps, run.n_frames) == ("finished", STEPS, 1 + STEPS // EVERY)
    assert [part.first_step for part in run.segments] == [0, *(part.last_step for part in run.segments[:-1])]
    assert 0 < run.segments[0].last_step < STEPS
    # a step that came twice, or velocities drawn anew, would be a jump; the thermostat's work is counted
    conserved_eV = np.array(run.thermo["conserved_eV"])
    assert len(conserved_eV) == STEPS + 1 and np.abs(np.diff(conserved_eV)).max() < 0.05

    frames = list(results.find(Structure, {"tags": "melt"}))
    assert sorted(frame.source["step"] for frame in frames) == list(range(EVERY, STEPS + 1, EVERY))
    assert {(frame.group, frame.config_type) for frame in frames} == {(start.group, "aimd")}
    labels = {label.structure_id: label for label in results.find(Label, {})}
    assert set(labels) == {start.id, *(frame.id for frame in frames)}
    assert {(label.state, label.fingerprint) for label in labels.values()} == {("converged", run.fingerprint)}

    backend = backend_of("cp2k", held, QUICK)
    assert backend.method().fingerprint() == run.fingerprint, "Born–Oppenheimer frames are labels of single points"
    last = max(frames, key=lambda frame: frame.source["step"])
    single = backend.compute(load_atoms(results, last.id), tmp_path / "single")
    # to what EPS_SCF 1e-5 leaves
    assert labels[last.id].energy_eV == pytest.approx(single.energy_eV, abs=2e-3)
    np.testing.assert_allclose(unpack(labels[last.id].forces, 3), single.forces_eV_A, atol=0.02)
