"""Errors of a fit and what a potential consists of."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gst_jobflow.base.errors import DataError
from gst_jobflow.fitting.parse import (
    Predictions,
    check_against_pacemaker,
    count_functions,
    evaluate_directory,
    fit_metrics,
    read_metric_rows,
    read_metrics,
    read_predictions,
    write_parity,
)

POTENTIAL = """
metadata:
  pacemaker_version: 0.4.0rc1
species:
  - {speciesblock: Sb, ndensityi: 2, rcutij: 5, nbody: [{c: [1, 2]}, {c: [1, 2]}]}
  - {speciesblock: Te, ndensityi: 2, rcutij: 5, radcoefficients: [[[1, 2]]], nbody: [{c: [1, 2]}]}
  - {speciesblock: Sb Te, rcutij: 6.5, radcoefficients: [[[1, 2, 3]]], nbody: [{c: [1, 2]}]}
  - {speciesblock: Te Sb, rcutij: 6.5, radcoefficients: [[[1, 2, 3]]], nbody: [{c: [1, 2]}]}
"""


def predictions() -> Predictions:
    """Two crystals off by 3 and -4 meV/atom, and one rss by 12; forces of the first atom off by 1, 2, 2 meV/Å."""
    ref = np.zeros((6, 3))
    pred = ref.copy()
    pred[0] = [1e-3, 2e-3, 2e-3]
    return Predictions(
        names=np.array(["a", "b", "c"]),
        config_types=np.array(["crystal", "crystal", "rss"]),
        n_atoms=np.array([1, 2, 3]),
        energy_ref_eV_per_atom=np.zeros(3),
        energy_pred_eV_per_atom=np.array([3e-3, -4e-3, 12e-3]),
        forces_ref_eV_A=ref,
        forces_pred_eV_A=pred,
    )


def test_errors_agree_with_a_hand_calculation():
    metrics = fit_metrics({"train": predictions()})
    assert metrics.rmse["train"].energy_meV_per_atom == pytest.approx(np.sqrt((9 + 16 + 144) / 3))
    assert metrics.mae["train"].energy_meV_per_atom == pytest.approx(19 / 3)
    assert metrics.rmse["train"].force_meV_per_A == pytest.approx(np.sqrt(9 / 18))
    crystal = metrics.rmse_by_config_type["train"]["crystal"]
    assert crystal.energy_meV_per_atom == pytest.approx(np.sqrt(25 / 2))
    assert crystal.force_meV_per_A == pytest.approx(np.sqrt(9 / 9))
    assert crystal.n_structures == 2
    rss = metrics.rmse_by_config_type["train"]["rss"]
    assert (rss.energy_meV_per_atom, rss.force_meV_per_A, rss.n_structures) == (pytest.approx(12), 0.0, 1)


def test_the_mean_square_of_the_types_is_that_of_the_whole():
    metrics = fit_metrics({"train": predictions()})
    parts = metrics.rmse_by_config_type["train"].values()
    mean_square = sum(p.n_structures * p.energy_meV_per_atom**2 for p in parts) / sum(p.n_structures for p in parts)
    assert np.sqrt(mean_square) == pytest.approx(metrics.rmse["train"].energy_meV_per_atom)


def test_a_disagreement_with_pacemaker_is_an_error_but_not_for_a_test_row_of_an_early_stop():
    metrics = fit_metrics({"train": predictions(), "test": predictions()})
    right = {
        "rmse_epa": metrics.rmse["train"].energy_meV_per_atom / 1e3,
        "rmse_f_comp": metrics.rmse["train"].force_meV_per_A / 1e3,
    }
    wrong = {**right, "rmse_f_comp": right["rmse_f_comp"] * 1.001}
    check_against_pacemaker(metrics, {"train": right, "test": right}, used_all_iterations=True)
    check_against_pacemaker(metrics, {"train": right, "test": wrong}, used_all_iterations=False)
    with pytest.raises(DataError, match="test force RMSE"):
        check_against_pacemaker(metrics, {"train": right, "test": wrong}, used_all_iterations=True)
    with pytest.raises(DataError, match="train force RMSE"):
        check_against_pacemaker(metrics, {"train": wrong, "test": right}, used_all_iterations=False)


def test_a_row_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.txt"
    assert read_metric_rows(path) == []
    path.write_text("iter_num loss\n0 2.5\n1 1.5\n2 0")
    assert [row["loss"] for row in read_metric_rows(path)] == [2.5, 1.5]
    path.write_text("iter_num loss\n")
    with pytest.raises(DataError, match="no iteration"):
        read_metrics(tmp_path)


def test_parity_holds_every_structure_and_every_component(tmp_path):
    path = write_parity({"train": predictions(), "test": predictions()}, tmp_path / "parity.npz")
    with np.load(path) as parity:
        assert parity["energy_ref"].shape == parity["split"].shape == parity["config_type"].shape == (6,)
        assert parity["force_pred"].shape == parity["force_split"].shape == parity["force_config_type"].shape == (36,)
        assert list(parity["split"]) == ["train"] * 3 + ["test"] * 3
        assert (parity["force_config_type"][:18] == "rss").sum() == 9
    assert [entry.name for entry in tmp_path.iterdir()] == ["parity.npz"]


def test_missing_and_broken_predictions_are_named(tmp_path):
    with pytest.raises(DataError, match="no predictions"):
        read_predictions(tmp_path)
    (tmp_path / "train_pred.pckl.gzip").write_bytes(b"\x1f\x8b\x08\x00cut")
    with pytest.raises(DataError, match="cut off or unreadable"):
        read_predictions(tmp_path)


def test_functions_parameters_densities_and_cutoff_are_counted(tmp_path):
    path = tmp_path / "potential.yaml"
    path.write_text(POTENTIAL)
    found = count_functions(path)
    assert found.elements == ("Sb", "Te")
    assert found.n_functions_per_element == {"Sb": 3, "Te": 2}
    assert (found.n_functions, found.n_densities, found.cutoff_A) == (5, 2, 6.5)
    # five functions with two coefficients each; radial: two of Te, three of Sb with Te, which Te with Sb shares
    assert found.n_parameters == 5 * 2 + 2 + 3
    assert found.versions == {"pacemaker_version": "0.4.0rc1"}


@pytest.mark.parametrize("text", ["", "species: 3", "species: [{a: 1}]", "species: [{speciesblock: Sb, nbody: [{", "{"])
def test_an_incomplete_potential_is_refused(tmp_path, text):
    path = tmp_path / "potential.yaml"
    path.write_text(text)
    with pytest.raises(DataError):
        count_functions(path)


@pytest.mark.pacemaker
def test_a_real_fit_is_evaluated_by_config_type(tiny_fit):
    metrics = evaluate_directory(tiny_fit.directory)
    assert set(metrics.rmse) == set(metrics.rmse_by_config_type) == {"train", "test"}
    train, test = (metrics.rmse_by_config_type[split] for split in ("train", "test"))
    assert {name: of_type.n_structures for name, of_type in train.items()} == {"crystal": 10, "rss": 10}
    assert {name: of_type.n_structures for name, of_type in test.items()} == {"crystal": 3, "rss": 3}
    # weights of 1 and 2 are in this fit: pacemaker's table and ours agree all the same (checked inside)
    rows = read_metrics(tiny_fit.directory)
    assert metrics.rmse["test"].energy_meV_per_atom == pytest.approx(1e3 * rows["test"]["rmse_epa"], rel=1e-6)


@pytest.mark.pacemaker
def test_a_real_fit_learns(tiny_fit):
    rows = read_metric_rows(tiny_fit.directory / "metrics.txt")
    assert len(rows) == 1 + 8
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.pacemaker
def test_predictions_are_matched_to_labels(tiny_fit):
    predicted = read_predictions(tiny_fit.directory)["train"]
    assert predicted.names.tolist() == [item.label_id for item in tiny_fit.train]
    np.testing.assert_allclose(predicted.forces_ref_eV_A, np.concatenate([item.forces_eV_A for item in tiny_fit.train]))


@pytest.mark.pacemaker
def test_counted_parameters_are_pacemakers(tiny_fit):
    found = count_functions(tiny_fit.files.yaml)
    row = read_metrics(tiny_fit.directory)["train"]
    assert (found.n_functions, found.n_parameters) == (row["nfuncs"], row["ncoefs"])
    assert (found.n_densities, found.cutoff_A, found.elements) == (3, 5.0, ("Sb", "Te"))


@pytest.mark.pacemaker
def test_files_of_two_runs_are_told_apart(tiny_fit, tmp_path):
    directory = tmp_path / "mixed"
    shutil.copytree(tiny_fit.directory, directory)
    table = (directory / "metrics.txt").read_text().splitlines(keepends=True)
    (directory / "metrics.txt").write_text("".join(table[:-1]))
    with pytest.raises(DataError, match="different runs"):
        evaluate_directory(directory)
