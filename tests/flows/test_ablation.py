"""A fit for each combination of values, and one table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets.change import fraction_datasets, reweight
from gst_jobflow.documents import ArtifactRef, Potential, PotentialArtifacts, Study
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.flows.ablation import AblationMaker, check_inputs, values_of_fits
from gst_jobflow.store import Results
from tests.dynamics.conftest import engine
from tests.fitting.conftest import tiny_config
from tests.fitting.stored import teacher_dataset

__all__ = ["engine"]


def test_every_combination_is_a_fit() -> None:
    made = values_of_fits({"embedding.n_densities": [1, 2], "loss.kappa": [0.1, 0.5, 0.9]})
    found = [(values["embedding.n_densities"], values["loss.kappa"]) for values in made]
    assert sorted(found) == sorted((p, kappa) for p in (1, 2) for kappa in (0.1, 0.5, 0.9))


def test_one_value_at_a_time_differs_from_the_first_fit() -> None:
    axes = {"random_share": [1.0, 0.5, 0.0], "embedding.n_densities": [3, 2, 1], "loss.kappa": [0.3]}
    made = [tuple(values.values()) for values in values_of_fits(axes, one_at_a_time=True)]
    assert made == [(1.0, 3, 0.3), (0.5, 3, 0.3), (0.0, 3, 0.3), (1.0, 2, 0.3), (1.0, 1, 0.3)]


def test_fits_of_one_value_at_a_time_have_their_settings_and_datasets() -> None:
    maker = AblationMaker(vary={"embedding.n_densities": [2, 1]}, one_at_a_time=True)
    flow = maker.make("whole", [(1.0, "all of it"), (0.0, "none random")])
    fits = [each for each in flow.jobs if each.name.startswith("fit ")]
    names = ["ablation-reference", "ablation-random_share0", "ablation-n_densities1"]
    assert [each.name.removeprefix("fit ") for each in fits] == names
    assert [each.function_args[0] for each in fits] == ["all of it", "none random", "all of it"]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({}, "nothing to vary"),
        ({"loss.kapa": [1]}, "did you mean 'kappa'"),
        ({"los.kappa": [0.1]}, "did you mean 'loss'"),
        ({"embedding.n_densities": [7]}, "less than or equal to 4"),
        ({"seed": list(range(101))}, "more than 100"),
        ({"loss.kappa": [0.1]}, "one fit compares nothing"),
    ],
)
def test_impossible_variations_are_refused(vary: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        AblationMaker(vary=vary).make("d")


@pytest.mark.mongo
@pytest.mark.pacemaker
def test_the_table_has_a_row_for_each_fit(run: Callable[..., Any], results: Results) -> None:
    dataset = teacher_dataset(results)
    config = tiny_config(n_densities=1, maxiter=1).as_linear()
    maker = AblationMaker(study_name="a", config=config, vary={"functions.number_of_functions_per_element": [5, 10]})
    # five an element are shared out among its groups, which leaves one over
    study = results.get(Study, run(maker.make(dataset.id))["collect"]["study_id"])
    assert (study.kind, study.state, len(study.members)) == ("ablation", "finished", 3)
    assert [row["functions"] for row in study.table] == [8, 20]
    few, many = (row["train_force_meV_per_A"] for row in study.table)
    # more functions of one family cannot fit the training set worse, but for the weight of energies
    assert many < few


@pytest.mark.mongo
@pytest.mark.pacemaker
@pytest.mark.lammps
def test_shares_of_random_structures_are_fitted_tested_and_compared(
    run: Callable[..., Any], results: Results, engine: LammpsEngine
) -> None:
    dataset = teacher_dataset(results)
    kinds = sorted(dataset.counts_by_config_type["train"])
    assert "rss" in kinds and len(kinds) > 1
    made = fraction_datasets(results, dataset.id, [1.0, 0.5, 0.0], ["rss"])
    plan = RobustnessPlan(
        compositions=["Sb2Te3"], runs=1, n_atoms=12, density_g_cm3=3.0, min_distance_A=2.6, duration_ps=0.05,
        look_every_ps=0.05,
    )  # fmt: skip
    maker = AblationMaker(config=tiny_config(n_densities=1, maxiter=1).as_linear(), robustness=plan)
    shares = [(share, each.dataset.id) for share, each in zip((1.0, 0.5, 0.0), made, strict=True)]
    outputs = run(maker.make(dataset.id, shares))
    study = results.get(Study, outputs["collect"]["study_id"])
    assert [row["random_share"] for row in study.table] == [1.0, 0.5, 0.0]
    assert study.table[0]["relative_speed"] == 1.0
    assert all(0 <= row["success_low"] <= row["success"] <= row["success_high"] <= 1 for row in study.table)
    members = {(member.collection, member.role) for member in study.members}
    assert ("studies", "robustness") in members and study.state == "finished" and study.report is not None
    assert "Table 1 of the reference paper" in results.artifacts.path(study.report).read_text()


@pytest.mark.mongo
@pytest.mark.pacemaker
def test_fits_that_differ_in_more_than_what_was_varied_are_no_ablation(results: Results) -> None:
    dataset = teacher_dataset(results)
    other = reweight(results, dataset.id, {"rss": 3.0}).dataset
    config = tiny_config(n_densities=1, maxiter=1)
    ref = ArtifactRef(sha256="0" * 64, size_bytes=1, name="a.yace")

    def potential(name: str, dataset_id: str, **changes: Any) -> Potential:
        return Potential(
            _id=name, name=name, dataset_id=dataset_id, elements=["Sb", "Te"], n_densities=1, n_functions=4,
            cutoff_A=5.0, artifacts=PotentialArtifacts(yace=ref), config={**config.model_dump(mode="json"), **changes},
        )  # fmt: skip

    alike = [potential("a", dataset.id), potential("b", dataset.id, seed=5)]
    check_inputs(results, alike, ["seed"])
    with pytest.raises(DataError, match="a and b differ in seed, too"):
        check_inputs(results, alike, ["loss.kappa"])
    # default exponents follow the number of densities that was varied; others do not
    two = tiny_config(n_densities=2, maxiter=1).model_dump(mode="json")
    check_inputs(results, [alike[0], potential("p2", dataset.id, **two)], ["embedding.n_densities"])
    own = {**two, "embedding": {**two["embedding"], "fs_parameters": [1, 1, 1, 0.25]}}
    with pytest.raises(DataError, match=r"differ in embedding\.fs_parameters, too"):
        check_inputs(results, [alike[0], potential("own", dataset.id, **own)], ["embedding.n_densities"])
    with pytest.raises(DataError, match="differ in weights"):
        check_inputs(results, [potential("a", dataset.id), potential("b", other.id)], ["seed"])
    half = fraction_datasets(results, dataset.id, [0.5], ["rss"])[0].dataset
    fewer = [potential("a", dataset.id), potential("b", half.id)]
    check_inputs(results, fewer, ["random_share"])
    with pytest.raises(DataError, match="differ in training set"):
        check_inputs(results, fewer, ["seed"])
