"""A fit for each combination of values, and one table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Study
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.flows.ablation import AblationMaker, combinations
from gst_jobflow.store import Results
from tests.fitting.conftest import tiny_config
from tests.fitting.stored import teacher_dataset


def test_every_combination_is_a_fit() -> None:
    vary = {"embedding.n_densities": [1, 2], "loss.kappa": [0.1, 0.5, 0.9]}
    made = combinations(FitConfig.small(), vary)
    found = {(config.embedding.n_densities, config.loss.kappa) for _, config in made}
    assert found == {(p, kappa) for p in (1, 2) for kappa in (0.1, 0.5, 0.9)}


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({}, "nothing to vary"),
        ({"loss.kapa": [1]}, "did you mean 'kappa'"),
        ({"los.kappa": [0.1]}, "did you mean 'loss'"),
        ({"embedding.n_densities": [7]}, "less than or equal to 4"),
        ({"seed": list(range(101))}, "more than 100"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary: dict[str, Any], said: str) -> None:
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
