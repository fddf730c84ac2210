"""Running pacemaker: a real tiny fit, its conversion, kills and continuations, failures that teach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from gst_jobflow.base.errors import DataError, InputError, MissingProgramError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.fitting.active_set import grade_training_set
from gst_jobflow.fitting.config import CoreRepulsion, EmbeddingConfig, FitConfig
from gst_jobflow.fitting.files import REQUEST_FILE
from gst_jobflow.fitting.parse import load_yaml
from gst_jobflow.fitting.programs import diagnose, pacemaker_command
from gst_jobflow.fitting.progress import iterations_before, progress
from gst_jobflow.fitting.run import _check_same_fit, _interrupted, _request, run_fit
from gst_jobflow.fitting.start import check_start, without_fit_cycles
from gst_jobflow.structures.lattice import right_handed

from .conftest import ATOM_ENERGY_EV, labelled_by_teacher, tiny_config


@pytest.mark.pacemaker
def test_a_fit_ends_with_the_files_that_lammps_reads(tiny_fit):
    files = tiny_fit.files
    assert [path.suffix for path in (files.yaml, files.yace, files.asi)] == [".yaml", ".yace", ".asi"]
    assert all(path.stat().st_size > 0 for path in (files.yaml, files.yace, files.asi))
    assert files.wall_s > 0
    done = progress(tiny_fit.directory)
    assert (done["stage"], done["iteration"], done["max_iterations"]) == ("finished", 8, 8)
    assert set(done["rmse"]) == {"train", "test"}


@pytest.mark.pacemaker
def test_the_converted_potential_predicts_what_the_fit_predicted(tiny_fit):
    """TensorFlow fitted it, C++ evaluates it: the two must be the same potential."""
    from pyace import PyACECalculator

    from gst_jobflow.fitting.parse import read_predictions

    predicted = read_predictions(tiny_fit.directory)["test"]
    start = 0
    for i, item in enumerate(tiny_fit.test):
        atoms = right_handed(item.atoms).copy()
        atoms.calc = PyACECalculator(str(tiny_fit.files.yace))
        n = len(atoms)
        # 1e-6: the C++ evaluator interpolates the radial functions on splines
        assert atoms.get_potential_energy() / n == pytest.approx(predicted.energy_pred_eV_per_atom[i], abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), predicted.forces_pred_eV_A[start : start + n], atol=1e-5)
        start += n


@pytest.mark.pacemaker
def test_the_active_set_belongs_to_the_potential(tiny_fit):
    from pyace import PyACECalculator

    calculator = PyACECalculator(str(tiny_fit.files.yaml))
    calculator.set_active_set(str(tiny_fit.files.asi))
    atoms = right_handed(tiny_fit.train[0].atoms).copy()
    atoms.calc = calculator
    atoms.get_potential_energy()
    gamma = np.array(calculator.results["gamma"])
    assert gamma.shape == (len(atoms),)
    assert (gamma > 0).all()


@pytest.mark.pacemaker
def test_a_finished_fit_is_not_fitted_again(tiny_fit, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(tiny_fit.directory, directory)
    before = (directory / "output_potential.yaml").read_bytes()
    files = run_fit(
        PacemakerRunner.discover(),
        tiny_fit.config,
        tiny_fit.train,
        tiny_fit.test,
        ATOM_ENERGY_EV,
        directory,
        continue_from=directory,
    )
    assert files.wall_s > 0, "the cost of the fit that was done"
    assert files.yaml.read_bytes() == before


@pytest.mark.pacemaker
def test_continuing_another_fit_is_refused(tiny_fit, tmp_path):
    with pytest.raises(InputError, match="differs in reference_energies, test"):
        run_fit(
            PacemakerRunner.discover(),
            tiny_fit.config,
            tiny_fit.train,
            tiny_fit.test[1:],
            {**ATOM_ENERGY_EV, "Te": -3.4},
            tmp_path,
            continue_from=tiny_fit.directory,
        )
    with pytest.raises(InputError, match="no interrupted fit"):
        run_fit(
            PacemakerRunner.discover(),
            tiny_fit.config,
            tiny_fit.train,
            None,
            ATOM_ENERGY_EV,
            tmp_path / "new",
            continue_from=tmp_path,
        )


@pytest.mark.pacemaker
def test_a_start_of_another_shape_is_refused(tiny_fit, tmp_path):
    with pytest.raises(InputError, match="n_densities of the start potential 3 differ"):
        run_fit(
            PacemakerRunner.discover(),
            tiny_config(n_densities=2, maxiter=3),
            tiny_fit.train,
            None,
            ATOM_ENERGY_EV,
            tmp_path,
            initial_potential=tiny_fit.files.yaml,
        )


# one element, so that it begins soon; many structures, so that the kill comes before the end
_FIT_IN_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.fitting.run import run_fit
from tests.fitting.conftest import ATOM_ENERGY_EV, labelled_by_teacher, tiny_config
train, test = labelled_by_teacher(200, 1, ["Te"]), labelled_by_teacher(4, 2, ["Te"])
run_fit(PacemakerRunner.discover(), tiny_config(1, 4000, ("Te",)), train, test, ATOM_ENERGY_EV, Path(sys.argv[1]))
"""


def _wait_for(condition, what: str, limit_s: float = 400.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"gave up waiting for {what}"
        time.sleep(0.2)


def _programs_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.pacemaker
@pytest.mark.slow
def test_a_killed_fit_leaves_no_orphan_and_continues_from_its_last_iteration(tmp_path):
    directory = (tmp_path / "fit").resolve()
    directory.mkdir()
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", _FIT_IN_CHILD, str(directory), str(root)], cwd=root)
    try:
        _wait_for(lambda: (progress(directory)["iteration"] or 0) >= 5 or worker.poll() is not None, "iteration 5")
        assert worker.poll() is None
        assert progress(directory)["stage"] == "fitting"
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    _wait_for(lambda: not _programs_in(directory), "pacemaker to die with its parent", 20)
    killed = progress(directory)
    # the same fit with the iterations of the first run and few more, so that the test ends
    request = directory / "fit_request.json"
    content = json.loads(request.read_text())
    content["config"]["optimizer"]["maxiter"] = killed["iteration"] + 3
    request.write_text(json.dumps(content))
    files = run_fit(
        PacemakerRunner.discover(),
        tiny_config(1, killed["iteration"] + 3, ("Te",)),
        labelled_by_teacher(200, 1, ["Te"]),
        labelled_by_teacher(4, 2, ["Te"]),
        ATOM_ENERGY_EV,
        directory,
        continue_from=directory,
    )
    done = progress(directory)
    assert files.iterations_before == killed["iteration"]
    assert done["max_iterations"] == killed["iteration"] + 3
    # BFGS never goes up, and it began where the kill was: one row may have been written after the potential
    assert done["loss"] < killed["loss"] * 1.05


# stands in for pacemaker: it only saves its potential, as at the end of each iteration
_SAVES_FOR_EVER = """#!{python}
import sys
from pyace.basis import BBasisConfiguration
potential = BBasisConfiguration(sys.argv[1])
while True:
    potential.save("interim_potential_0.yaml")
"""


@pytest.mark.pacemaker
def test_a_kill_while_pacemaker_saves_leaves_a_whole_potential(tiny_fit, tmp_path):
    program, interim = tmp_path / "pacemaker", tmp_path / "interim_potential_0.yaml"
    real = PacemakerRunner.discover()
    program.write_text(_SAVES_FOR_EVER.format(python=real.python))
    program.chmod(0o755)
    command = [*pacemaker_command(real.model_copy(update={"pacemaker": program})), tiny_fit.files.yaml]
    whole = load_yaml(tiny_fit.files.yaml)["species"]
    for _ in range(3):
        saving = subprocess.Popen(list(map(str, command)), cwd=tmp_path)
        try:
            _wait_for(interim.exists, "a potential", 60)
            for _ in range(50):
                assert len(load_yaml(interim)["species"]) == len(whole)
        finally:
            saving.kill()
            saving.wait()
        assert load_yaml(interim)["species"] == whole
        interim.unlink()


@pytest.mark.pacemaker
def test_a_fit_leaves_its_last_potential_as_the_interim_one(tiny_fit):
    names = ("interim_potential_0.yaml", "output_potential.yaml")
    # pacemaker changes the order of blocks
    last, made = (sorted(map(str, load_yaml(tiny_fit.directory / name)["species"])) for name in names)
    assert last == made
    assert not list(tiny_fit.directory.glob("*.part"))


@pytest.mark.parametrize(
    ("head", "in_python"),
    [
        ("#!/opt/env/bin/python3.11\nimport sys\n", True),
        ("#!/bin/sh\n'''exec' \"/with space/bin/python\" \"$0\" \"$@\"\n' '''\nimport sys\n", True),
        ("#!/bin/bash\nmodule load cuda\nexec /opt/env/bin/python -m pyace.cli.pacemaker\n", False),
        ("#!/bin/sh\n", False),
        ("", False),
    ],
)
def test_a_wrapper_of_pacemaker_is_run_as_it_is(tmp_path, head, in_python):
    runner = fake_runner(tmp_path, "")
    runner.pacemaker.write_text(head)
    assert (pacemaker_command(runner) != [runner.pacemaker]) == in_python


@pytest.mark.pacemaker
def test_too_few_well_fitted_atoms_give_the_active_set_of_all(tiny_fit, tmp_path):
    """pace_activeset refuses; the finished fit must not be lost for it."""
    from gst_jobflow.fitting.run import convert

    directory = tmp_path / "copy"
    shutil.copytree(tiny_fit.directory, directory)
    real = PacemakerRunner.discover()
    # stands in for the refusal, which needs as many outliers as there are spare atoms
    choosy = fake_program(
        tmp_path / "pace_activeset",
        f'case " $* " in *" -a "*) exec {real.pace_activeset} "$@";; esac\n'
        "echo 'ValueError: Insufficient atomic environments to determine active set'; exit 1",
    )
    files = convert(real.model_copy(update={"pace_activeset": choosy}), directory)
    with np.load(files.asi) as active_set:
        assert sorted(active_set.files) == ["Sb", "Te"]
    graded = grade_training_set(real, directory)
    assert graded.atoms == "all" and "Insufficient atomic environments" in graded.reason
    assert graded.max_gamma < 1.02


def test_an_interrupted_fit_of_an_earlier_version_is_the_same_fit(tmp_path):
    """It stored no exponents, which meant 1, 0.5 and 2, and knew nothing of active_set."""
    items = labelled_by_teacher(2, seed=1)
    config = FitConfig(embedding={"n_densities": 3, "fs_parameters": None}, active_set="all")
    request = _request(config, items, None, ATOM_ENERGY_EV, None)
    earlier = json.loads(json.dumps(request))
    earlier["config"]["embedding"]["fs_parameters"] = None
    (tmp_path / REQUEST_FILE).write_text(json.dumps(earlier))
    _check_same_fit(tmp_path, request)
    with pytest.raises(InputError, match="differs in config"):
        _check_same_fit(tmp_path, _request(FitConfig(), items, None, ATOM_ENERGY_EV, None))


def test_a_start_with_other_exponents_is_refused(tiny_fit):
    check_start(tiny_fit.files.yaml, tiny_fit.config)
    earlier = EmbeddingConfig.model_validate({"n_densities": 3, "fs_parameters": None})
    with pytest.raises(InputError, match="exponents of the start potential"):
        check_start(tiny_fit.files.yaml, tiny_fit.config.model_copy(update={"embedding": earlier}))


def fake_program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake_runner(tmp_path: Path, body: str, timeout_s: float | None = None) -> PacemakerRunner:
    program = fake_program(tmp_path / "pacemaker", body)
    return PacemakerRunner(pacemaker=program, pace_yaml2yace=program, pace_activeset=program, timeout_s=timeout_s)


def fit_with(runner: PacemakerRunner, directory: Path):
    return run_fit(runner, tiny_config(2, 5), labelled_by_teacher(20, 1), None, ATOM_ENERGY_EV, directory)


WHOLE = """
metadata:
  _fit_cycles: 1
species:
  - {speciesblock: Sb, ndensityi: 2, rcutij: 5, nbody: [{c: [1, 2]}, {c: [1, 2]}]}
  - {speciesblock: Te, ndensityi: 2, rcutij: 5, nbody: [{c: [1, 2]}]}
  - {speciesblock: Sb Te, rcutij: 5, nbody: [{c: [1, 2]}]}
  - {speciesblock: Te Sb, rcutij: 5, nbody: [{c: [1, 2]}]}
"""
# as pacemaker writes them: elements first in the one file, by name in the other
IN_ANOTHER_ORDER = "\n".join(WHOLE.split("\n")[i] for i in (0, 1, 2, 3, 5, 6, 4, 7, 8))
CUT_IN_A_LINE = WHOLE[:-12]
CUT_AFTER_A_LINE = WHOLE[: WHOLE.rindex("  - ")]


def interrupted(
    tmp_path: Path, interim: str | None, iterations: int = 3, target: str = IN_ANOTHER_ORDER, **optimizer
) -> tuple[Path, list[str], dict]:
    """Interrupt a fit of five iterations, continue it, and return directory, pacemaker's arguments and its input."""
    directory = tmp_path / "fit"
    runner = fake_runner(tmp_path, 'echo "$@" > arguments; exit 1')
    config = tiny_config(2, 5)
    config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update=optimizer)})
    given = (runner, config, labelled_by_teacher(20, 1), None, ATOM_ENERGY_EV, directory)
    with pytest.raises(RunError):
        run_fit(*given)
    if interim is not None:
        (directory / "interim_potential_0.yaml").write_text(interim)
        (directory / "target_potential.yaml").write_text(target)
        if target is not IN_ANOTHER_ORDER:
            (directory / "current_extended_potential.yaml").write_text(IN_ANOTHER_ORDER)
        rows = "".join(f"{i} 1.0\n" for i in range(iterations + 1))
        (directory / "metrics.txt").write_text("iter_num loss\n" + rows)
    with pytest.raises(RunError):
        run_fit(*given, continue_from=directory)
    arguments = (directory / "arguments").read_text().split()
    return directory, arguments, yaml.safe_load((directory / "input.yaml").read_text())


def test_an_interrupted_fit_runs_the_remaining_iterations(tmp_path):
    directory, arguments, content = interrupted(tmp_path, WHOLE)
    assert arguments == ["input.yaml", "-p", "start_potential.yaml"]
    assert content["fit"]["maxiter"] == 5 - 3
    assert "_fit_cycles" not in (directory / "start_potential.yaml").read_text()
    assert not (directory / "interim_potential_0.yaml").exists()
    assert progress(directory)["max_iterations"] == 5


def test_a_fit_killed_before_its_core_was_set_still_gets_the_core(tmp_path):
    directory, train = tmp_path / "fit", labelled_by_teacher(20, 1)
    # stands in for pacemaker that is killed when it has written its last file, and for the conversions
    body = f"""case "$*" in input.yaml) mkdir -p report; touch report/train_E-dE-nn.png
    printf '{WHOLE}\n    r_in: 1.5\n    delta_in: 0.1\n' > output_potential.yaml; exit 1;; esac
    echo x > output_potential.yace; echo x > output_potential.asi"""
    config = tiny_config(2, 5)
    config = config.model_copy(update={"radial": config.radial.model_copy(update={"repulsion": CoreRepulsion()})})
    given = (fake_runner(tmp_path, body), config, train, None, ATOM_ENERGY_EV, directory)
    with pytest.raises(RunError):
        run_fit(*given)
    files = run_fit(*given, continue_from=directory)
    assert "r_in: 2.4" in files.yaml.read_text() and "delta_in: 0.8" in files.yaml.read_text()


def test_killed_twice_before_the_first_new_iteration_nothing_is_lost(tmp_path):
    directory, _, _ = interrupted(tmp_path, WHOLE)
    runner = fake_runner(tmp_path, 'echo "$@" > arguments; exit 1')
    train = labelled_by_teacher(20, 1)
    with pytest.raises(RunError):
        run_fit(runner, tiny_config(2, 5), train, None, ATOM_ENERGY_EV, directory, continue_from=directory)
    assert (directory / "arguments").read_text().split()[1:] == ["-p", "start_potential.yaml"]
    assert yaml.safe_load((directory / "input.yaml").read_text())["fit"]["maxiter"] == 5 - 3


def test_a_fit_killed_after_its_last_iteration_still_gets_its_predictions(tmp_path):
    _, _, content = interrupted(tmp_path, WHOLE, iterations=5)
    assert content["fit"]["maxiter"] == 1


@pytest.mark.parametrize("interim", [None, CUT_IN_A_LINE, CUT_AFTER_A_LINE, ""])
def test_without_a_complete_interim_potential_the_fit_starts_again(tmp_path, interim):
    directory, arguments, content = interrupted(tmp_path, interim)
    assert arguments == ["input.yaml"]
    assert content["fit"]["maxiter"] == 5
    assert not (directory / "start_potential.yaml").exists()


# the same potential with one function more
LARGER = IN_ANOTHER_ORDER.replace(
    "Sb, ndensityi: 2, rcutij: 5, nbody: [", "Sb, ndensityi: 2, rcutij: 5, nbody: [{c: [0, 0]}, "
)


def test_a_ladder_is_climbed_on_from_its_rung_with_all_iterations_on_those_above(tmp_path):
    directory, arguments, content = interrupted(tmp_path, WHOLE, target=LARGER, ladder_step=4)
    assert arguments == ["input.yaml", "-ip", "start_potential.yaml"]
    assert (content["fit"]["ladder_step"], content["fit"]["maxiter"]) == (4, 5)
    assert iterations_before(directory) == 0


def test_a_ladder_killed_before_the_first_iteration_of_a_rung_goes_on_from_the_one_below(tmp_path):
    directory = tmp_path / "fit"
    directory.mkdir()
    (directory / "interim_potential_0.yaml").write_text(WHOLE)
    (directory / "interim_potential_ladder_step_0.yaml").write_text(IN_ANOTHER_ORDER)
    (directory / "current_extended_potential.yaml").write_text(LARGER)
    found = _interrupted(directory, None).potential
    assert found == directory / "interim_potential_0.yaml"
    found.write_text(CUT_AFTER_A_LINE)
    assert _interrupted(directory, None) == (None, 0, 0.0)


def test_the_last_rung_of_a_ladder_goes_on_without_one(tmp_path):
    """pacemaker would find no function to add, and fit nothing."""
    _, arguments, content = interrupted(tmp_path, WHOLE, ladder_step=4)
    assert arguments == ["input.yaml", "-p", "start_potential.yaml"]
    assert "ladder_step" not in content["fit"]
    assert content["fit"]["maxiter"] == 5 - 3


@pytest.mark.parametrize(("functions", "option"), [(4, "-p"), (10, "-ip")])
def test_a_finished_potential_is_fitted_on_and_a_smaller_one_grown(tmp_path, functions, option):
    parent = tmp_path / "parent.yaml"
    parent.write_text(WHOLE)
    runner = fake_runner(tmp_path, 'echo "$@" > arguments; exit 1')
    config = tiny_config(2, 5)
    config = config.model_copy(
        update={
            "optimizer": config.optimizer.model_copy(update={"ladder_step": 4}),
            "functions": config.functions.model_copy(update={"number_of_functions_per_element": functions // 2}),
        }
    )
    directory, train = tmp_path / "fit", labelled_by_teacher(20, 1)
    with pytest.raises(RunError):
        run_fit(runner, config, train, None, ATOM_ENERGY_EV, directory, initial_potential=parent)
    assert (directory / "arguments").read_text().split()[1] == option


@pytest.mark.parametrize(
    ("body", "failure_class", "says"),
    [
        ("echo 'ValueError: Specified potential shape is too big and goes beyond'; exit 1", "bad_input", "too big"),
        ("echo 'RuntimeError: No further batch size reduction is possible'; exit 1", "out_of_memory", "batch_size"),
        ("echo \"ModuleNotFoundError: No module named 'tensorflow'\"; exit 1", "missing_program", "tensorflow"),
        ("echo something odd; exit 3", "crash", "something odd"),
        ("kill -9 $$", "killed", "signal 9"),
        ("true", "missing_output", "output_potential.yaml"),
    ],
)
def test_a_failed_program_says_why(tmp_path, body, failure_class, says):
    with pytest.raises(RunError, match=says) as caught:
        fit_with(fake_runner(tmp_path, body), tmp_path / "fit")
    assert caught.value.failure_class == failure_class
    assert caught.value.fix


def test_time_limit_ends_the_whole_group(tmp_path):
    directory = tmp_path / "fit"
    with pytest.raises(RunError, match="ended after") as caught:
        fit_with(fake_runner(tmp_path, "sleep 600 & sleep 600", timeout_s=0.5), directory)
    assert caught.value.failure_class == "timeout"
    _wait_for(lambda: not _programs_in(directory.resolve()), "the group to end", 10)


def test_files_of_an_older_run_are_removed(tmp_path):
    directory = tmp_path / "fit"
    directory.mkdir()
    stale = ["train_pred.pckl.gzip", "metrics.txt", "output_potential.yaml", "output_potential.asi"]
    for name in stale:
        (directory / name).write_text("old")
    with pytest.raises(RunError):
        fit_with(fake_runner(tmp_path, "exit 1"), directory)
    assert not any((directory / name).exists() for name in stale)
    assert yaml.safe_load((directory / "input.yaml").read_text())["fit"]["maxiter"] == 5


def test_missing_programs_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="pacemaker is not installed"):
        PacemakerRunner.discover()
    runner = PacemakerRunner(pacemaker="/nowhere/a", pace_yaml2yace="/nowhere/b", pace_activeset="/nowhere/c")
    with pytest.raises(MissingProgramError, match="cannot be started"):
        fit_with(runner, tmp_path / "fit")


def test_more_functions_than_atoms_of_an_element_is_refused_before_the_fit(tmp_path):
    with pytest.raises(DataError, match="functions per element"):
        run_fit(
            fake_runner(tmp_path, "exit 1"),
            FitConfig.gst_ace_24(("Sb", "Te")),
            labelled_by_teacher(3, 1),
            None,
            ATOM_ENERGY_EV,
            tmp_path / "fit",
        )


def test_an_element_that_the_potential_lacks_is_refused_in_train_and_test(tmp_path):
    train, with_ge = labelled_by_teacher(20, 1), labelled_by_teacher(4, 2, elements=("Ge", "Te"))
    for sets in ((train + with_ge, None), (train, with_ge)):
        with pytest.raises(DataError, match="holds Ge"):
            run_fit(fake_runner(tmp_path, "exit 1"), tiny_config(2, 5), *sets, ATOM_ENERGY_EV, tmp_path / "fit")


def test_environment_pins_threads_and_hides_what_would_change_the_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("PACEMAKERDATAPATH", "/somewhere")
    runner = fake_runner(tmp_path, "true").model_copy(update={"threads": 3})
    environment = runner.environment(gpu=None)
    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert "PACEMAKERDATAPATH" not in environment


def test_the_last_error_is_found_among_warnings():
    text = "INFO x\nTraceback:\n  File a\nAssertionError: forces has wrong shape. It should be [nat,3]\nsome epilogue\n"
    line, failure_class, _ = diagnose(text)
    assert line.startswith("AssertionError: forces has wrong shape")
    assert failure_class == "bad_input"
    assert diagnose("")[0] == "no output"


def test_the_mark_of_a_finished_fit_is_removed():
    text = "metadata:\n  _fit_cycles: 1\n  user: x\nspecies: []\n"
    assert without_fit_cycles(text) == "metadata:\n  user: x\nspecies: []\n"


def test_an_empty_directory_has_no_progress(tmp_path):
    assert progress(tmp_path)["stage"] == "waiting"
    assert progress(tmp_path)["iteration"] is None
