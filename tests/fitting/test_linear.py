"""The linear solver: the minimum of pacemaker's own loss, without TensorFlow, and a start for more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.documents import Potential
from gst_jobflow.fitting.active_set import grade_training_set
from gst_jobflow.fitting.config import EmbeddingConfig, FitConfig, LossConfig, WeightsConfig
from gst_jobflow.fitting.frame import weighted
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.fitting.parse import evaluate_directory, read_predictions
from gst_jobflow.fitting.progress import how_it_ended, progress
from gst_jobflow.fitting.run import convert, run_fit
from gst_jobflow.fitting.start import with_densities
from gst_jobflow.store import Results
from gst_jobflow.structures.lattice import right_handed
from tests.flows.conftest import results, run  # noqa: F401

from .conftest import ATOM_ENERGY_EV, labelled_by_teacher, tiny_config
from .stored import teacher_dataset

pytestmark = pytest.mark.pacemaker
LINEAR = tiny_config(n_densities=3, maxiter=8).as_linear()
OF_ONE_ELEMENT = tiny_config(n_densities=3, maxiter=8, elements=("Te",)).as_linear()


def fit(directory, config: FitConfig = LINEAR, **more: Any):
    train, test = (labelled_by_teacher(number, seed, config.elements) for number, seed in ((20, 1), (6, 2)))
    return run_fit(PacemakerRunner.discover(), config, train, test, ATOM_ENERGY_EV, directory, **more)


@pytest.fixture(scope="module")
def linear_fit(tmp_path_factory):
    pytest.importorskip("pyace")
    return fit(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def fit_of_one_element(tmp_path_factory):
    pytest.importorskip("pyace")
    return fit(tmp_path_factory.mktemp("te"), OF_ONE_ELEMENT)


def test_the_linear_solver_writes_the_same_files_as_pacemaker(linear_fit):
    metrics = evaluate_directory(linear_fit.directory)
    assert set(metrics.rmse) == {"train", "test"} and metrics.rmse["train"].force_meV_per_A < 100
    assert metrics.max_error["test"].force_meV_per_A > metrics.rmse["test"].force_meV_per_A
    now = progress(linear_fit.directory)
    assert (now["stage"], now["iteration"], now["max_iterations"]) == ("finished", 20, 20)
    ending = how_it_ended(linear_fit.directory)
    assert ending.converged and "least squares" in ending.reason


def test_the_solution_minimises_the_loss(linear_fit, tmp_path):
    """The loss of our solution, by the prediction files, against that of disturbed solutions."""
    from pyace import ACEBBasisSet, BBasisConfiguration, PyACECalculator

    basis = ACEBBasisSet(BBasisConfiguration(str(linear_fit.yaml)))
    solution = np.array(basis.basis_coeffs)
    train = labelled_by_teacher(20, seed=1)
    weight = np.array([item.weight for item in train])

    def loss(coefficients: np.ndarray) -> float:
        basis.basis_coeffs = coefficients
        calculator = PyACECalculator(basis)
        energy, force = np.zeros(len(train)), np.zeros(len(train))
        for place, item in enumerate(train):
            atoms = right_handed(item.atoms).copy()
            atoms.calc = calculator
            reference = item.energy_eV - sum(ATOM_ENERGY_EV[symbol] for symbol in atoms.symbols)
            energy[place] = (atoms.get_potential_energy() - reference) / len(atoms)
            force[place] = ((atoms.get_forces() - item.forces_eV_A) ** 2).sum()
        n_atoms = np.array([len(item.atoms) for item in train])
        kappa = LINEAR.loss.kappa
        of_energy = (weight * energy**2).sum() / weight.sum()
        of_force = (weight * force).sum() / (weight * n_atoms).sum()
        return (1 - kappa) * of_energy + kappa * of_force + LINEAR.loss.L2_coeffs * (coefficients**2).sum()

    best = loss(solution)
    # relative 1e-6: metrics come from sums in another order
    assert best == pytest.approx(progress(linear_fit.directory)["loss"], rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(4):
        assert loss(solution + rng.normal(scale=0.05, size=len(solution))) > best


def test_blocks_of_rows_do_not_change_the_solution(linear_fit, tmp_path, monkeypatch):
    import gst_jobflow.fitting.run as run_module

    program = tmp_path / "linear_program.py"
    text = (run_module.Path(run_module.__file__).with_name("linear_program.py")).read_text()
    program.write_text(text.replace("BLOCK_BYTES = 256 << 20", "BLOCK_BYTES = 20_000"))
    assert "20_000" in program.read_text()
    directory = tmp_path / "fit"
    monkeypatch.setattr(run_module, "__file__", str(tmp_path / "run.py"))
    found = fit(directory)
    one, other = (read_predictions(folder)["test"] for folder in (linear_fit.directory, found.directory))
    # the penalty of 1e-8 leaves directions that the data do not see loose by rounding
    np.testing.assert_allclose(one.forces_pred_eV_A, other.forces_pred_eV_A, atol=1e-5)


@pytest.mark.slow
def test_a_fit_with_more_densities_starts_from_a_linear_one(fit_of_one_element, tmp_path):
    config = tiny_config(n_densities=2, maxiter=2, elements=("Te",))
    found = fit(tmp_path, config, initial_potential=fit_of_one_element.yaml)
    before, after = progress(fit_of_one_element.directory)["loss"], progress(found.directory)["loss"]
    # from nothing two iterations leave it 20 times as high; penalties on radial functions come on top
    assert after < before * 1.001
    with pytest.raises(InputError, match="cannot start from another"):
        fit(tmp_path / "again", OF_ONE_ELEMENT, initial_potential=fit_of_one_element.yaml)


def test_added_densities_have_zero_coefficients():
    text = "    ndensityi: 1\n    npoti: X\n    parameters: [1, 1]\n    radparameters: [5]\n      - {c: [-0.25]}\n"
    grown = with_densities(text, EmbeddingConfig(n_densities=2))
    assert "ndensityi: 2" in grown and "parameters: [1, 1, 1, 0.5]" in grown and "radparameters: [5]" in grown
    assert "c: [-0.25, 0]" in grown and "npoti: FinnisSinclairShiftedScaled" in grown


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"embedding": {"n_densities": 3}}, "one density"),
        ({"optimizer": {"ladder_step": 5}}, "no ladder"),
        ({"radial": {"repulsion": "auto"}}, "no core repulsion"),
        ({"loss": {"kappa": 1.5}}, "less than or equal to 1"),
        # 3 elements with 2 radial functions, and 21 pairs of these for l = 0 and 1
        (
            {
                "functions": {
                    "number_of_functions_per_element": 49,
                    "nradmax_by_orders": [2, 2],
                    "lmax_by_orders": [0, 1],
                }
            },
            "at most 48",
        ),
        ({"weights": {"config_types": {"crystl": 1}}}, "did you mean 'crystal'"),
        ({"weights": {"config_types": {"crystal": -1}}}, "0 or more"),
    ],
)
def test_contradicting_settings_of_the_linear_solver_are_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        FitConfig.model_validate({"embedding": {"n_densities": 1}, "solver": "linear", **values})


def test_weights_of_the_fit_override_those_of_the_dataset():
    items = labelled_by_teacher(6, seed=3)
    without = weighted(items, WeightsConfig(config_types={"rss": 0}))
    assert {item.config_type for item in without} == {"crystal"} and len(without) == 3
    assert {item.weight for item in weighted(items, WeightsConfig(config_types={"crystal": 7}))} == {7.0, 2.0}
    with pytest.raises(InputError, match="all weights are zero"):
        weighted(items, WeightsConfig(config_types={"rss": 0, "crystal": 0}))
    drawn = [weighted(items, WeightsConfig(bootstrap=True), seed) for seed in (1, 1, 2)]
    weights = [[item.weight for item in each] for each in drawn]
    assert weights[0] == weights[1] != weights[2]


def test_sets_that_cannot_be_fitted_are_refused(tmp_path):
    runner = PacemakerRunner.discover()
    single = labelled_by_teacher(12, seed=1, elements=("Te",))
    both = labelled_by_teacher(4, seed=2)
    with pytest.raises(DataError, match="training set is empty"):
        run_fit(runner, LINEAR, [], both, ATOM_ENERGY_EV, tmp_path)
    with pytest.raises(DataError, match="Sb is in the test set but not in the training set"):
        run_fit(runner, LINEAR, single, both, ATOM_ENERGY_EV, tmp_path)


def test_a_single_element_is_fitted(fit_of_one_element):
    assert evaluate_directory(fit_of_one_element.directory).rmse["train"].force_meV_per_A < 100


@pytest.mark.mongo
@pytest.mark.lammps
def test_the_job_stores_errors_stop_reason_check_and_speed(run: Callable[..., Any], results: Results):  # noqa: F811
    dataset = teacher_dataset(results)
    made = run(FitMaker(potential_name="quick", config=LINEAR, tags=["look"]).make(dataset.id))["fit"]
    stored = results.get(Potential, made["potential_id"])
    assert stored.converged is True and stored.tags == ["look"]
    assert set(stored.mae) == set(stored.max_error) == {"train", "test"}
    assert stored.lammps_check.state == "passed" and stored.lammps_check.n_structures == 5
    assert stored.lammps_check.max_force_difference_meV_per_A < 0.01
    assert (stored.speed.ranks, stored.speed.n_atoms) == (1, 427) and stored.speed.us_per_atom_step > 0
    assert stored.active_set.atoms == "well_fitted" and stored.active_set.reason == ""
    assert stored.active_set.max_gamma >= 1 and 0 <= stored.active_set.share_above_1 < 0.5


def test_an_active_set_of_all_atoms_leaves_no_training_atom_above_1(linear_fit, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(linear_fit.directory, directory)
    runner = PacemakerRunner.discover()
    before = grade_training_set(runner, directory)
    convert(runner, directory, "all")
    after = grade_training_set(runner, directory)
    assert (before.atoms, after.atoms) == ("well_fitted", "all")
    assert after.max_gamma == pytest.approx(1.0, abs=0.01) and after.share_above_1 == 0.0
    assert before.n_atoms == after.n_atoms == sum(len(item.atoms) for item in labelled_by_teacher(20, seed=1))
    # the active set without the outliers cannot reach further than that of all atoms
    assert before.max_gamma >= after.max_gamma - 0.01


def test_other_coefficients_in_lammps_are_a_mismatch(linear_fit, tmp_path):
    from gst_jobflow.base.errors import MissingProgramError, RunError
    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.fitting.lammps_check import check_in_lammps

    try:
        engine = LammpsEngine.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))
    predictions = read_predictions(linear_fit.directory)["test"]
    items = labelled_by_teacher(6, seed=2)
    assert check_in_lammps(engine, linear_fit, items, predictions).state == "passed"
    # a config type of weight 0 has no predictions among those of the training set
    beside = labelled_by_teacher(12, seed=9)
    assert check_in_lammps(engine, linear_fit, [*beside, *items], predictions).n_structures == 5
    other = tmp_path / "other"
    shutil.copytree(linear_fit.directory, other)
    changed = fit(other, LINEAR.model_copy(update={"loss": LossConfig(kappa=0.9)}))
    with pytest.raises(RunError, match="differ by") as caught:
        check_in_lammps(engine, changed, items, predictions)
    assert caught.value.failure_class == "mismatch"
