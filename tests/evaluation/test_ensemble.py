"""Members of an ensemble: apart by seed, held together by a study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Potential, Study
from gst_jobflow.evaluation.ensemble import spread
from gst_jobflow.evaluation.parity import Parity
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.flows.fit import FitFlowMaker
from gst_jobflow.store import Results
from tests.fitting.conftest import tiny_config
from tests.fitting.stored import teacher_dataset
from tests.flows.conftest import results, run  # noqa: F401


def member(shift: float, number: int = 4) -> Parity:
    reference, types = np.zeros(number), np.full(number, "other")
    return Parity(reference, reference + shift, types, np.zeros(6), shift * np.arange(6.0), np.full(6, "other"))


def test_the_spread_is_the_standard_deviation_over_members():
    found = spread([member(-0.001), member(0.001), member(0.003)])
    assert found["energy_spread_meV_per_atom"] == pytest.approx(2.0)
    assert found["energy_meV_per_atom"] == pytest.approx(1.0)
    # spread and error of the mean both grow along the components
    assert found["force_correlation"] == pytest.approx(1.0)


def test_members_of_other_test_sets_are_refused():
    with pytest.raises(DataError, match="different test sets"):
        spread([member(0.0), member(0.0, number=5)])
    with pytest.raises(DataError, match="two members"):
        spread([member(0.0)])


def test_stages_follow_each_other():
    maker = FitFlowMaker(potential_name="x", config=FitConfig.small(), first_guess=True, upfit_kappa=0.1)
    flow = maker.make("d")
    assert [job.name for job in flow.jobs] == ["linear x", "fit x", "upfit x"]
    kappas = [job.maker.config.loss.kappa for job in flow.jobs]
    assert kappas == [0.4, 0.4, 0.1]
    parents = [job.function_args[1] for job in flow.jobs]
    assert parents[0] is None and [parent.uuid for parent in parents[1:]] == [job.uuid for job in flow.jobs[:2]]


@pytest.mark.parametrize(
    ("maker", "said"),
    [
        (FitFlowMaker(config=FitConfig.linear(), first_guess=True), "by pacemaker"),
        (FitFlowMaker(config=FitConfig.linear(), upfit_kappa=0.1), "cannot start from another"),
        (FitFlowMaker(config=FitConfig.small(), upfit_kappa=0.5), "smaller kappa"),
    ],
)
def test_what_contradicts_itself_is_refused(maker, said):
    with pytest.raises(InputError, match=said):
        maker.make("d")


def test_a_linear_fit_with_a_parent_is_refused_before_it_is_submitted():
    with pytest.raises(InputError, match="cannot start from another"):
        FitFlowMaker(config=FitConfig.linear()).make("dataset", "potential")


@pytest.mark.mongo
@pytest.mark.pacemaker
def test_an_ensemble_of_linear_fits(run: Callable[..., Any], results: Results):  # noqa: F811
    dataset = teacher_dataset(results)
    config = tiny_config(n_densities=1, maxiter=1).as_linear()
    outputs = run(FitFlowMaker(potential_name="set", config=config, ensemble=3).make(dataset.id))
    study = results.get(Study, outputs["ensemble"]["study_id"])
    assert (study.kind, study.state, len(study.members)) == ("ensemble", "finished", 4)
    potentials = list(results.find(Potential, {}, [("name", 1)]))
    assert [(each.name, each.seed) for each in potentials] == [("set-1", 42), ("set-2", 43), ("set-3", 44)]
    assert len({each.artifacts.yace.sha256 for each in potentials}) == 3
    assert len({tag for each in potentials for tag in each.tags}) == 1
    together = study.table[-1]
    assert 0 < together["force_spread_meV_per_A"] < 100
    # the mean over members is not worse than the worst of them
    assert together["force_meV_per_A"] <= max(row["force_meV_per_A"] for row in study.table[:-1])
