"""Dynamics with CP2K: parts, continuation, what is stored of frames. CP2K itself runs where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from gst_jobflow.analysis.reference_frames import ReferenceSource, find_reference_frames
from gst_jobflow.base.deadline import STOP_SIGNAL, Deadline
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.processes import Finished
from gst_jobflow.documents import Label, Structure, Trajectory
from gst_jobflow.dynamics.stages import Anneal, Quench
from gst_jobflow.flows import aimd_run
from gst_jobflow.flows.aimd import AimdMaker, random_start
from gst_jobflow.flows.aimd_run import AimdRun, AimdSpec, run_aimd
from gst_jobflow.labelling import cp2k, cp2k_md
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.cp2k_md import CarParrinello, md_method
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.hard_sphere import generate

SPEC = AimdSpec(
    stages=[Anneal(temperature_K=900, duration_ps=0.012), Quench(start_K=900, end_K=800, duration_ps=0.008)],
    every=2,
)
HEAD = """ CP2K| version string:                                          CP2K version 2023.1
 CP2K| Input file name                                                     aimd.inp
 GLOBAL| Project name                                                          aimd
 GLOBAL| Run type                                                                MD
"""
ENERGY = " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              {:.15f}\n"

needs_cp2k = pytest.mark.skipif(not any(shutil.which(name) for name in cp2k.PROGRAMS), reason="CP2K is not installed")


class WritesWhatCp2kWrites:
    """In place of running CP2K: the files of a segment, for as many steps as it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
        self.inputs: list[str] = []
        self.steps_let: list[int] = []
        self.unconverged: set[int] = set()
        self.returncode = 0
        self.changed: tuple[str, str] = ("", "")
        (data_dir / "GTH_POTENTIALS").touch()
        monkeypatch.setattr(aimd_run, "run_cp2k", self)
        for module in (cp2k, cp2k_md, aimd_run):
            monkeypatch.setattr(module, "cp2k_version", lambda program: "2023.1")

    def __call__(self, settings, directory: Path, input_name: str, output: str, wall_limit_s, started) -> Finished:
        text = (directory / input_name).read_text()
        self.inputs.append(text)
        (directory / input_name).write_text(text.replace(*self.changed))
        steps, every = int(re.search(r"STEPS (\d+)", text)[1]), int(re.search(r"MD (\d+)", text)[1])
        restart = re.search(r"RESTART_FILE_NAME (\S+)", text)
        begin = int(re.search(r"\d+", (directory / restart[1]).read_text())[0]) if restart else 0
        let = self.steps_let.pop(0) if self.steps_let else steps
        lines = [HEAD + (" RESTART INFORMATION\n" if restart else "")]
        lines.append(ENERGY.format(self._energy(begin)) + " MD_INI| MD initialization\n")
        for step in range(begin + bool(restart), begin + min(steps, let) + 1):
            self._step(directory, step, step % every == 0)
            if step in self.unconverged:
                lines.append(" *** SCF run NOT converged ***\n")
            if step:
                lines.append(ENERGY.format(self._energy(step)) + f" MD| Step number {step}\n")
        (directory / output).write_text("".join(lines))
        return Finished(self.returncode, let < steps and not self.returncode, 1.0)

    def _energy(self, step: int) -> float:
        return -11.75 + 1e-4 * step

    def _step(self, directory: Path, step: int, is_frame: bool) -> None:
        energy = self._energy(step)
        if is_frame:
            for name, rows in (("pos", "Ge 0.{0} 0 0\nTe 3 0 0\n"), ("frc", "Ge 0.01 0 0\nTe -0.01 0 0\n")):
                with (directory / f"aimd-{name}-1.xyz").open("a") as stream:
                    stream.write(f"2\n i = {step}, time = {2.0 * step}, E = {energy:.6f}\n" + rows.format(step + 1))
        with (directory / "aimd-1.ener").open("a") as stream:
            stream.write(f"{step} {2.0 * step} 0.004 {900.0 + step} {energy} -11.7 1.5\n")
        (directory / "aimd-1.restart").write_text(f" STEP_START_VAL {step}\n &END FORCE_EVAL\n")


@pytest.fixture
def program(monkeypatch, tmp_path) -> WritesWhatCp2kWrites:
    return WritesWhatCp2kWrites(monkeypatch, tmp_path)


@pytest.fixture
def backend(tmp_path) -> Cp2kBackend:
    return Cp2kBackend(settings=Cp2kSettings(data_dir=str(tmp_path), program="cp2k", gamma_min_A=3))


def gete():
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    atoms.positions[0, 0] = 0.1
    return atoms


def test_a_ramp_is_made_of_parts_and_no_step_is_lost():
    assert SPEC.parts() == [(900.0, 6), (875.0, 2), (825.0, 2)] and SPEC.total_steps == 10
    uneven = AimdSpec(stages=[Quench(start_K=1000, end_K=300, duration_ps=0.1)], ramp_step_K=100)
    assert sum(steps for _, steps in uneven.parts()) == 50 and len(uneven.parts()) == 7
    with pytest.raises(InputError, match="whole number of steps"):
        AimdSpec(stages=[Anneal(temperature_K=900, duration_ps=0.003)])


def test_each_part_continues_from_the_last_state_at_its_own_temperature(program, backend, tmp_path):
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert run.status == "finished" and run.reached_step == 10
    assert [re.search(r" TEMPERATURE \[K\] (\S+)", text)[1] for text in program.inputs] == ["900.0", "875.0", "825.0"]
    assert [record.step for record in run.records()] == [0, 2, 4, 6, 8, 10]
    assert run.series()["step"].tolist() == list(range(11))
    # it is there: nothing runs again
    assert run_aimd(backend, SPEC, gete(), tmp_path / "run").status == "finished" and len(program.inputs) == 3


def test_a_run_that_was_cut_continues_without_repeating_a_step(program, backend, tmp_path):
    program.steps_let = [3]
    first = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert (first.status, first.failure_class, first.reached_step) == ("stopped", "walltime", 3)
    # a kill while the restart file was written: the one before it is taken, and steps after it are not valid
    newest = first.segments[0].directory / "aimd-1.restart"
    newest.with_suffix(".restart.bak-1").write_text(" STEP_START_VAL 2\n &END FORCE_EVAL\n")
    newest.write_text(" STEP_START_VAL 3\n &FORCE_EV")
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert run.status == "finished"
    assert "STEPS 4" in program.inputs[1] and "../segment_000/aimd-1.restart.bak-1" in program.inputs[1]
    assert [record.step for record in run.records()] == [0, 2, 4, 6, 8, 10]
    assert run.series()["step"].tolist() == list(range(11))


def test_a_step_missing_from_the_output_runs_again_and_keeps_its_frame(program, backend, tmp_path):
    program.steps_let = [4]
    first = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    # a kill between restart file and output: frame 4 is there, whether its electrons converged is not
    folder = first.segments[0].directory
    (folder / "aimd-1.restart.bak-1").write_text(" STEP_START_VAL 3\n &END FORCE_EVAL\n")
    output = folder / "aimd.out"
    output.write_text(output.read_text().replace(" MD| Step number 4\n", ""))
    assert AimdRun.read(tmp_path / "run", SPEC).reached_step == 3
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert run.status == "finished" and "../segment_000/aimd-1.restart.bak-1" in program.inputs[1]
    assert [(record.step, record.problem) for record in run.records()] == [(step, "") for step in (0, 2, 4, 6, 8, 10)]
    assert run.series()["step"].tolist() == list(range(11))


def test_nothing_begins_when_the_time_is_over(program, backend, tmp_path):
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run", Deadline(time.time() + 1, 100))
    assert run.status == "stopped" and run.reached_step == 0 and not program.inputs


def test_a_crash_is_reported_and_retried(program, backend, tmp_path):
    program.returncode, program.steps_let = 1, [3]
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert (run.status, run.failure_class) == ("failed", "crash")
    program.returncode = 0
    assert run_aimd(backend, SPEC, gete(), tmp_path / "run").status == "finished"


def test_too_many_unconverged_steps_end_a_run(program, backend, tmp_path):
    program.unconverged = {2, 3, 4}
    run = run_aimd(backend, SPEC, gete(), tmp_path / "run")
    assert (run.status, run.failure_class) == ("failed", "not_converged") and "3 of 7" in run.reason
    assert run_aimd(backend, SPEC, gete(), tmp_path / "run").status == "failed" and len(program.inputs) == 1


def test_a_cell_too_small_for_the_gamma_point_does_not_begin(program, backend, tmp_path):
    careful = backend.model_copy(update={"settings": backend.settings.model_copy(update={"gamma_min_A": 10.0})})
    with pytest.raises(InputError, match=r"3\.46 Å, below the 10 Å"):
        run_aimd(careful, SPEC, gete(), tmp_path / "run")
    assert not program.inputs


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_start_of_the_default_size_is_large_enough_for_it(seed):
    backend, start = Cp2kBackend(), generate(random_start("Ge1Sb2Te4", 63, 5.9, seed))
    backend.check(start)
    assert len(start) == 63 and min(start.cell.lengths()) >= backend.settings.gamma_min_A


def test_a_folder_belongs_to_one_run(program, backend, tmp_path):
    run_aimd(backend, SPEC, gete(), tmp_path / "run")
    with pytest.raises(InputError, match="spec"):
        run_aimd(backend, SPEC.model_copy(update={"seed": 2}), gete(), tmp_path / "run")


@pytest.fixture
def job_of(project, monkeypatch, tmp_path):
    """`job_of(maker, structure_id)` runs the maker's job by hand, in a launch directory."""
    launch = tmp_path / "launch"
    launch.mkdir()
    monkeypatch.chdir(launch)
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    return lambda maker, *arguments: maker.make.original(maker, *arguments)


def stored_start(project) -> Structure:
    start = structure_document(gete(), "crystal")
    Results.open(project).add(start)
    return start


@pytest.mark.mongo
def test_frames_are_structures_with_labels_in_the_group_of_their_start(program, backend, project, job_of):
    start = stored_start(project)
    program.unconverged = {4}
    output = job_of(AimdMaker(backend, SPEC, tags=["melt"]), start.id)
    results = Results.open(project)
    assert output["labels"] == 5 and output["unconverged"] == 1
    frames = list(results.find(Structure, {"tags": "melt"}))
    assert len(frames) == 4 and {frame.group for frame in frames} == {start.group}
    assert {frame.config_type for frame in frames} == {"aimd"} and all(f.parents == [start.id] for f in frames)
    labels = list(results.find(Label, {}))
    assert {label.structure_id for label in labels} == {start.id, *(frame.id for frame in frames)}
    assert {label.fingerprint for label in labels} == {backend.method_of("2023.1").fingerprint()}
    trajectory = results.get(Trajectory, output["trajectory_id"])
    assert trajectory.potential_id is None and trajectory.fingerprint == output["fingerprint"]
    assert trajectory.n_steps == 10 and trajectory.reason == "1 frame did not converge"
    assert trajectory.analysis["mean_temperature_K"][0] == {"asked_K": 900.0, "mean_K": pytest.approx(905.0)}


@pytest.mark.mongo
def test_a_first_principles_run_is_a_reference_for_validation(program, backend, project, job_of):
    program.unconverged = {4}
    output = job_of(AimdMaker(backend, SPEC, tags=["melt"]), stored_start(project).id)
    results = Results.open(project)
    frames = {frame.id: frame.source["step"] for frame in results.find(Structure, {"tags": "melt"})}
    found = find_reference_frames(results, ReferenceSource(trajectories=[output["trajectory_id"]]), ["GeTe"])["GeTe"]
    assert found.fingerprint == output["fingerprint"] and found.temperature_K == pytest.approx(905, abs=20)
    (run,) = found.runs
    assert [frames[id] for id in run if id in frames] == sorted(frames.values())
    late = ReferenceSource(trajectories=[output["trajectory_id"]], after_ps=0.013)
    assert find_reference_frames(results, late, [])["GeTe"].n_frames < found.n_frames
    with pytest.raises(InputError, match="is of GeTe, not of Sb2Te3"):
        find_reference_frames(results, late, ["Sb2Te3"])


@pytest.mark.mongo
def test_frames_of_car_parrinello_are_no_labels_of_the_converged_method(program, backend, project, job_of):
    start = stored_start(project)
    program.unconverged = set(range(3, 11))
    dynamics = CarParrinello()
    output = job_of(AimdMaker(backend, SPEC.model_copy(update={"dynamics": dynamics})), start.id)
    assert output["labels"] == 6 and output["unconverged"] == 0
    assert output["fingerprint"] == md_method(backend, dynamics, "2023.1").fingerprint()
    assert output["fingerprint"] != backend.method_of("2023.1").fingerprint()


@pytest.mark.mongo
@pytest.mark.parametrize(
    "untold",
    [
        {"kinds": {"Ge": {"potential": "GTH-PBE-q4"}, "Te": {"potential": "GTH-PBE-q6"}}},
        {"added_orbitals": 0.5},
        {"k_spacing_per_A": 50.0},
        {"k_spacing_per_A": 0.9},
    ],
)
def test_settings_that_an_input_does_not_hold_make_no_label_doubtful(program, backend, project, job_of, untold):
    start = stored_start(project)
    values = {**backend.settings.model_dump(), **untold}
    backend = Cp2kBackend(settings=Cp2kSettings(**values))
    assert job_of(AimdMaker(backend, SPEC), start.id)["labels"] == 6
    labels = list(Results.open(project).find(Label, {}))
    assert {label.fingerprint for label in labels} == {backend.method_of("2023.1").fingerprint()}


@pytest.mark.mongo
def test_frames_of_another_method_than_was_asked_are_quarantined(program, backend, project, job_of):
    start = stored_start(project)
    program.changed = ("CUTOFF 200.0", "CUTOFF 150.0")
    assert job_of(AimdMaker(backend, SPEC), start.id)["labels"] == 0
    labels = list(Results.open(project).find(Label, {}))
    assert {(label.state, label.failure_class) for label in labels} == {("quarantined", "wrong_method")}
    assert all(label.energy_eV is None for label in labels)


@pytest.mark.mongo
def test_a_job_without_a_step_fails_and_one_with_some_is_continued(program, backend, project, job_of):
    from jobflow import Response

    start = stored_start(project)
    program.steps_let = [4, 0]
    maker = AimdMaker(backend, SPEC)
    assert isinstance(job_of(maker, start.id), Response)
    with pytest.raises(RunError, match="finished not one step"):
        job_of(maker, start.id)
    assert job_of(maker, start.id)["labels"] == 6


@pytest.mark.cp2k
@needs_cp2k
@pytest.mark.parametrize("dynamics", ["born_oppenheimer", "car_parrinello"])
def test_cp2k_itself(dynamics, tmp_path):
    loose = {"cutoff_Ry": 80, "relative_cutoff_Ry": 20, "eps_default": 1e-8, "eps_scf": 1e-4, "gamma_min_A": 3}
    backend = Cp2kBackend(settings=Cp2kSettings.discover(**loose))
    atoms = gete()
    spec = AimdSpec(
        stages=[Anneal(temperature_K=600, duration_ps=0.004), Anneal(temperature_K=300, duration_ps=0.002)],
        dynamics={"kind": dynamics},
        every=1,
    )
    run = run_aimd(backend, spec, atoms, tmp_path / "run")
    assert (run.status, run.reached_step) == ("finished", 3), run.reason
    records = list(run.records())
    assert [record.step for record in records] == [0, 1, 2, 3] and not any(record.problem for record in records)
    # the method is read back from the files of the run
    assert {record.method.fingerprint() for record in records} == {md_method(backend, spec.dynamics).fingerprint()}
    np.testing.assert_allclose(records[0].atoms.positions, atoms.positions, atol=1e-9)
    assert np.abs(records[3].atoms.positions - atoms.positions).max() > 1e-4
    assert AimdRun.read(tmp_path / "run", spec).status == "finished"


@pytest.mark.cp2k
@needs_cp2k
def test_cp2k_stops_at_once_when_asked_and_continues_from_its_last_step(tmp_path):
    loose = {"cutoff_Ry": 80, "relative_cutoff_Ry": 20, "eps_default": 1e-8, "eps_scf": 1e-4, "gamma_min_A": 3}
    backend = Cp2kBackend(settings=Cp2kSettings.discover(**loose))
    spec = AimdSpec(stages=[Anneal(temperature_K=600, duration_ps=0.04)], every=1)

    def ask() -> None:
        # the state of step 1 is whole once step 2 has energies
        while aimd_run.last_energies(tmp_path / "run").get("time_ps", 0) < 0.0039:
            time.sleep(0.05)
        os.kill(os.getpid(), STOP_SIGNAL)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        first = run_aimd(backend, spec, gete(), tmp_path / "run")
        asking.result()
    assert first.status == "stopped" and 0 < first.reached_step < spec.total_steps

    run = run_aimd(backend, spec, gete(), tmp_path / "run")
    assert run.status == "finished"
    assert run.series()["step"].tolist() == list(range(spec.total_steps + 1))
