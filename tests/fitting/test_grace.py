"""GRACE/FS by gracemaker: settings, what it wrote, a real fit that is continued, and both kinds in one table."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.base.processes import end_programs_in
from gst_jobflow.base.strict import checked
from gst_jobflow.documents import Errors
from gst_jobflow.fitting import grace
from gst_jobflow.fitting.files import GRACE_REQUEST_FILE
from gst_jobflow.fitting.frame import to_dataframe
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.grace_run import check_export, gracemaker, run_grace
from gst_jobflow.fitting.progress import progress
from tests.cli.test_main import gst
from tests.flows.conftest import results, run  # noqa: F401

from .conftest import ATOM_ENERGY_EV, labelled_by_teacher, tiny_config
from .stored import teacher_dataset

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.fitting.grace_run import GraceFiles
    from gst_jobflow.store import Results

TINY = GraceConfig(
    elements=("Sb", "Te"), rcut_A=5.0, n_densities=1, lmax=(1, 1), n_rad_max=(4, 2), n_rad_base=6, embedding_size=2,
    maxiter=14, jit=False, gpu=None,
)  # fmt: skip
TRAIN, TEST = labelled_by_teacher(20, seed=1), labelled_by_teacher(6, seed=2)


def test_the_input_holds_every_field_and_no_test_set() -> None:
    config = GraceConfig(n_densities=2, kappa=0.3, rcut_A=7.0, seed=5, optimizer="L-BFGS-B")
    content = grace.render_grace_input(config, 120)
    assert content["data"] == {"filename": "train.pckl.gzip"}
    assert content["cutoff"] == 7.0 and content["seed"] == 5 and content["potential"]["elements"] == ["Ge", "Sb", "Te"]
    assert content["potential"]["kwargs"]["fs_parameters"] == [[1.0, 1.0], [1.0, 0.5]]
    assert content["potential"]["kwargs"]["max_order"] == 3
    loss = content["fit"]["loss"]
    assert loss["energy"]["weight"] == pytest.approx(0.7) and loss["forces"]["weight"] == 0.3
    assert content["fit"]["maxiter"] == 120 and content["fit"]["optimizer"] == "L-BFGS-B"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lmax": (3, 2)}, "lmax has 2 orders and n_rad_max 3"),
        ({"n_rad_max": (4, 8, 2)}, "must not grow"),
        ({"kappa": 1.2}, "kappa"),
        ({"elements": ("Ge", "Xx")}, "unknown element 'Xx'"),
        ({"rcut": 6.0}, "did you mean 'rcut_A'"),
    ],
)
def test_contradicting_settings_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as raised:
        checked(GraceConfig, {**GraceConfig().model_dump(), **fields}, "")
    assert said in f"{raised.value.message} {raised.value.fix}"


def test_weights_are_of_structures_whatever_their_size() -> None:
    frame = grace.with_weights(to_dataframe(TRAIN[:4], ATOM_ENERGY_EV))
    assert frame["energy_weight"].tolist() == [item.weight for item in TRAIN[:4]]
    for item, weights in zip(TRAIN[:4], frame["force_weight"], strict=True):
        assert weights.shape == (len(item.atoms), 1)
        assert 3 * weights.sum() == pytest.approx(item.weight)


def test_progress_and_the_iteration_to_continue_from(tmp_path: Path) -> None:
    from gst_jobflow.fitting.grace_run import _END_OF_INDEX, _interrupted

    request = {"config": TINY.model_dump(mode="json"), "names": ["a"], "iterations_before": 0, "wall_s_before": 5.0}
    (tmp_path / GRACE_REQUEST_FILE).write_text(json.dumps(request))
    assert progress(tmp_path)["stage"] == "preparing"
    made = grace.folder(tmp_path, TINY.seed)
    (made / "checkpoints").mkdir(parents=True)
    row = {"total_loss/train": 0.5, "rmse/depa": 0.02, "rmse/f_comp": 0.3}
    lines = [f"- {json.dumps({**row, 'epoch': epoch})}" for epoch in range(1, 13)]
    # the last line is still being written
    (made / "train_metrics.yaml").write_text("\n".join([*lines, '- {"total_lo']))
    now = progress(tmp_path)
    assert (now["stage"], now["iteration"], now["max_iterations"]) == ("fitting", 12, 14)
    assert now["rmse"]["train"] == {"energy_meV_per_atom": 20.0, "force_meV_per_A": 300.0}
    assert _interrupted(tmp_path, TINY, ["a"]) == (0, 5.0, [])
    whole = b"..." + _END_OF_INDEX
    # an earlier version overwrote its only checkpoint
    (made / "checkpoints" / "checkpoint.index").write_bytes(whole)
    assert _interrupted(tmp_path, TINY, ["a"])[::2] == (10, ["-rl"])
    (made / "checkpoints" / "checkpoint.index").write_bytes(whole[:-1])
    assert _interrupted(tmp_path, TINY, ["a"])[::2] == (0, [])
    for number in (100, 90, 20):
        (made / "checkpoints" / f"checkpoint.epoch_{number}.index").write_bytes(whole)
    assert _interrupted(tmp_path, TINY, ["a"])[::2] == (100, ["-rs", ".epoch_100"])
    (made / "checkpoints" / "checkpoint.epoch_100.index").write_bytes(whole[:-1])
    assert _interrupted(tmp_path, TINY, ["a"])[::2] == (90, ["-rs", ".epoch_90"])
    with pytest.raises(InputError, match="another fit"):
        _interrupted(tmp_path, TINY, ["b"])


def test_an_export_with_other_errors_than_gracemaker_is_refused() -> None:
    rows = [{"epoch": 14, "rmse/depa": 0.02, "rmse/f_comp": 0.3}]
    check_export(rows, Errors(energy_meV_per_atom=20.1, force_meV_per_A=299.0), 14)
    with pytest.raises(DataError, match="predictions give 25"):
        check_export(rows, Errors(energy_meV_per_atom=25.0, force_meV_per_A=300.0), 14)
    # it ended early: the row may be of a step that was not taken
    check_export(rows, Errors(energy_meV_per_atom=25.0, force_meV_per_A=300.0), 300)


def test_the_reason_of_the_end_is_read_from_the_output() -> None:
    said = "I - BFGS optimization results: success={}, message={}\n"
    assert grace.optimiser_ending(said.format("True", "Optimization terminated successfully."), 9)[0] is True
    assert grace.optimiser_ending(said.format("False", "Maximum number of iterations has been exceeded."), 9) == (
        False,
        "all 9 iterations were used",
    )
    assert grace.optimiser_ending("", 9) == (None, "not known")


def test_a_file_that_is_no_potential_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("elements: [Sb]\n")
    with pytest.raises(DataError, match=r"not a GRACE/FS potential"):
        grace.summarise_grace(tmp_path / "x.yaml")


def test_options_for_ace_only_are_refused_before_the_fit() -> None:
    from gst_jobflow.cli.fit_options import fit_config
    from gst_jobflow.cli.submit.fit import AceOptions
    from gst_jobflow.documents import Potential, PotentialArtifacts
    from gst_jobflow.dynamics.potential_files import check_kind

    stored = Potential(
        id="g", name="g", kind="grace/fs", elements=["Sb", "Te"], n_densities=1, n_functions=9, cutoff_A=5.0,
        artifacts=PotentialArtifacts(), config=TINY.model_dump(mode="json"),
    )  # fmt: skip
    with pytest.raises(InputError, match="LAMMPS here has no pair style"):
        check_kind(stored)
    with pytest.raises(InputError, match="is grace/fs, not ACE"):
        fit_config(("Sb", "Te"), parent=stored)
    options = AceOptions(preset="small", solver=None, parent=None, first_guess=False, upfit=0.1, ensemble=1)
    with pytest.raises(InputError, match="--preset, --upfit: for ACE fits only"):
        options.check("grace")
    with pytest.raises(InputError, match="no model 'grce'"):
        options.check("grce")


@pytest.fixture(scope="module")
def grace_fit(tmp_path_factory: pytest.TempPathFactory) -> GraceFiles:
    """Kill a fit after a checkpoint, and run four more iterations from the newest whole one."""
    runner = PacemakerRunner.discover()
    gracemaker(runner)
    directory = tmp_path_factory.mktemp("grace")
    folder = grace.folder(directory, TINY.seed) / "checkpoints"

    def kill_after_a_checkpoint() -> None:
        end = time.monotonic() + 300
        while not (folder / "checkpoint.epoch_10.index").exists() and time.monotonic() < end:
            time.sleep(0.02)
        end_programs_in([directory])

    threading.Thread(target=kill_after_a_checkpoint, daemon=True).start()
    given = (TRAIN, TEST, ATOM_ENERGY_EV, directory)
    with pytest.raises(RunError, match="killed"):
        run_grace(runner, TINY.model_copy(update={"maxiter": 20_000}), *given)
    newest = max(int(path.stem.rpartition("_")[2]) for path in folder.glob("*.epoch_*.index"))
    # a kill in the middle of the next one
    whole = (folder / f"checkpoint.epoch_{newest}.index").read_bytes()
    (folder / f"checkpoint.epoch_{newest + 10}.index").write_bytes(whole[: len(whole) // 2])
    config = TINY.model_copy(update={"maxiter": newest + 4})
    request = json.loads((directory / GRACE_REQUEST_FILE).read_text())
    request["config"] = config.model_dump(mode="json")
    (directory / GRACE_REQUEST_FILE).write_text(json.dumps(request))
    files = run_grace(runner, config, *given)
    assert json.loads((directory / GRACE_REQUEST_FILE).read_text())["iterations_before"] == newest
    assert not list(folder.glob("*.epoch_*")), "kept after the fit"
    return files


@pytest.mark.slow
@pytest.mark.pacemaker
def test_a_continued_fit_is_exported_with_its_own_errors(grace_fit: GraceFiles) -> None:
    from gst_jobflow.evaluation.predict import by_pyace
    from gst_jobflow.fitting.engine import FitData, predictions_of
    from gst_jobflow.fitting.parse import fit_metrics

    python = PacemakerRunner.discover().python

    rows = grace.read_grace_rows(grace_fit.directory, TINY.seed)
    asked = progress(grace_fit.directory)["max_iterations"]
    assert [row["epoch"] for row in rows[-4:]] == [asked - 3, asked - 2, asked - 1, asked]
    losses = {row["epoch"]: row["total_loss/train"] for row in rows}
    assert losses[asked] < losses[asked - 4] < losses[1]
    assert progress(grace_fit.directory)["stage"] == "finished"
    summary = grace.summarise_grace(grace_fit.model, grace_fit.output)
    assert summary.elements == ("Sb", "Te") and summary.cutoff_A == 5.0 and summary.n_densities == 1
    assert summary.n_parameters > summary.n_functions > 0
    predictions = predictions_of(
        lambda atoms: by_pyace(python, str(grace_fit.model), atoms, 1, "grace/fs"), FitData(TRAIN, TEST, ATOM_ENERGY_EV)
    )
    errors = fit_metrics(predictions).rmse
    check_export(rows, errors["train"], asked)
    assert len(predictions["test"].names) == len(TEST)


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.pacemaker
def test_ace_and_grace_potentials_share_a_table(
    run,  # noqa: F811
    results: Results,  # noqa: F811
    project: Project,
    grace_fit: GraceFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gst_jobflow.documents import Potential
    from gst_jobflow.dynamics.potential_files import link_potential
    from gst_jobflow.fitting import grace_engine
    from gst_jobflow.fitting.maker import FitMaker

    dataset = teacher_dataset(results)
    monkeypatch.setattr(grace_engine, "run_grace", lambda *given, **more: grace_fit)
    many = TINY.model_copy(update={"maxiter": 300})
    made = run(FitMaker(potential_name="grace", config=many).make(dataset.id))["fit"]
    stored = results.get(Potential, made["potential_id"])
    assert stored.kind == "grace/fs" and stored.artifacts.yace is None and stored.dataset_id == dataset.id
    assert stored.speed is not None and stored.speed.pair_style == "grace/fs, pyace in ASE"
    assert stored.lammps_check is not None and "grace/fs" in stored.lammps_check.reason
    linear = tiny_config(n_densities=1, maxiter=1).as_linear()
    run(FitMaker(potential_name="ace", config=linear, measure_speed=False).make(dataset.id))
    done = gst("-p", str(project.root), "evaluate", "ace", "grace", "--json")
    assert done.returncode == 0, done.stderr
    ace, other = json.loads(done.stdout)["rows"][:2]
    assert ace["timed_by"] == other["timed_by"] == "pyace in ASE"
    assert ace["us_per_atom_step"] > 0 and ace["speed_atoms"] == other["speed_atoms"]
    assert other["energy_rmse_meV_per_atom"] == pytest.approx(stored.rmse["test"].energy_meV_per_atom, rel=1e-9)
    assert other["force_rmse_meV_per_A"] == pytest.approx(stored.rmse["test"].force_meV_per_A, rel=1e-9)
    # what needs LAMMPS or an ACE says so
    with pytest.raises(InputError, match="LAMMPS here has no pair style"):
        link_potential(results, stored, Path())
    done = gst("-p", str(project.root), "report", "potential", "grace")
    assert done.returncode == 0, done.stderr


@pytest.mark.pacemaker
def test_a_failing_program_is_reported(tmp_path: Path) -> None:
    runner = PacemakerRunner.discover()
    broken = tmp_path / "bin"
    broken.mkdir()
    for name in ("pacemaker", "gracemaker"):
        (broken / name).write_text("#!/bin/sh\necho out of luck\nexit 3\n")
        (broken / name).chmod(0o755)
    runner = runner.model_copy(update={"pacemaker": broken / "pacemaker"})
    with pytest.raises(RunError, match="gracemaker failed: out of luck"):
        run_grace(runner, TINY, TRAIN, TEST, ATOM_ENERGY_EV, tmp_path / "fit")
    only_test = labelled_by_teacher(3, seed=3, elements=("Ge",))
    with pytest.raises(DataError, match="holds Ge"):
        run_grace(runner, TINY, TRAIN, only_test, ATOM_ENERGY_EV, tmp_path / "other")
