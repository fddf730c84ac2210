"""New datasets from a dataset: the old one stays, and what is not changed is the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets import (
    DatasetSpec,
    SplitSpec,
    create_dataset,
    diff_datasets,
    fraction_datasets,
    read_members,
    reweight,
    split_by_query,
    split_dataset,
    split_in_folds,
)
from gst_jobflow.datasets.diff import BOTH, MOVED, ONLY_FIRST, ONLY_SECOND
from gst_jobflow.datasets.fractions import thin
from gst_jobflow.documents import Dataset
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located
from tests.datasets.conftest import add_labels, members_of


@pytest.fixture
def dataset(results: Results) -> Dataset:
    """40 random structures, 20 crystals, two runs of ten frames."""
    add_labels(results, 40, config_type="rss")
    add_labels(results, 20, start=40, config_type="crystal", energy_eV=-148.0)
    add_labels(results, 20, start=60, config_type="aimd", groups=["run 1"] * 10 + ["run 2"] * 10)
    return create_dataset(results, "d", "tblite:1", DatasetSpec(config_type_weights={"aimd": 2.0}), where=[]).dataset


def sides(results: Results, dataset: Dataset) -> dict[str, str]:
    return {member["label_id"]: member["split"] for member in read_members(results.artifacts, dataset)}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["rss", "hard_sphere", "aimd"]), st.booleans()), min_size=1, max_size=60),
    st.lists(st.floats(0, 1), min_size=2, max_size=4),
    st.integers(0, 100),
)
def test_shares_are_nested_and_leave_the_rest_alone(rows: list, shares: list[float], seed: int) -> None:
    members = members_of([str(i) for i in range(len(rows))], [kind for kind, _ in rows])
    members = members.with_test(np.array([test for _, test in rows]))
    random = {i for i, (kind, test) in enumerate(rows) if kind != "aimd" and not test}
    kept = []
    for share in sorted(shares):
        found, gone = thin(members, ("rss", "hard_sphere"), share, seed)
        ids = {int(id, 16) for id in found.label_ids.tolist()}
        assert len(ids & random) == round(share * len(random)) == len(random) - gone
        assert ids - random == set(range(len(rows))) - random
        kept.append(ids)
    assert all(smaller <= larger for smaller, larger in pairwise(kept))


@pytest.mark.mongo
def test_fractions_share_test_set_and_references(results: Results, dataset: Dataset) -> None:
    made = [item.dataset for item in fraction_datasets(results, dataset.id, [1, 0.5, 0.25, 0], ["rss"], seed=1)]
    assert [found.counts_by_config_type["train"].get("rss", 0) for found in made] == [36, 18, 9, 0]
    assert [found.name for found in made] == ["d", "d 50 %", "d 25 %", "d 0 %"]
    tests = [{id for id, side in sides(results, found).items() if side == "test"} for found in made]
    assert tests[0] and all(test == tests[0] for test in tests)
    for found in made[1:]:
        assert found.parent_id == dataset.id and found.selection["seed"] == 1
        assert found.reference_energies_eV == dataset.reference_energies_eV
        assert found.config_type_weights == {"aimd": 2.0}
    assert made[0].id == dataset.id
    with pytest.raises(InputError, match="no training structure is of hard_sphere"):
        fraction_datasets(results, dataset.id, [0.5], ["hard_sphere"])
    with pytest.raises(InputError, match="2 is no share"):
        fraction_datasets(results, dataset.id, [2], ["rss"])
    with pytest.raises(InputError, match="the training set would be empty"):
        fraction_datasets(results, dataset.id, [0], ["rss", "crystal", "aimd"])


@pytest.mark.mongo
@pytest.mark.parametrize(("kinds", "keep"), [(["rss"], [0.5, 2.0]), (["rss", "crystal", "aimd"], [0.5, 0.0])])
def test_an_invalid_share_stores_no_dataset(
    results: Results, dataset: Dataset, kinds: list[str], keep: list[float]
) -> None:
    with pytest.raises(InputError):
        fraction_datasets(results, dataset.id, keep, kinds)
    assert results.database["datasets"].count_documents({}) == 1


@pytest.mark.mongo
def test_weights_change_and_nothing_else(results: Results, dataset: Dataset) -> None:
    made = reweight(results, dataset.id, {"rss": 0.5})
    assert made.new and made.dataset.config_type_weights == {"aimd": 2.0, "rss": 0.5}
    found = diff_datasets(results, dataset, made.dataset)
    assert found.weights == {"rss": (1.0, 0.5)} and not found.same
    assert found.members[BOTH] == {"aimd": 20, "crystal": 20, "rss": 40}
    assert found.fields == {"name": ("d", "d weights")}
    assert reweight(results, dataset.id, {"aimd": 2.0}).dataset.id == dataset.id
    with pytest.raises(DataError, match="device"):
        reweight(results, dataset.id, {"device": 2.0})
    with pytest.raises(InputError, match="not a positive number"):
        reweight(results, dataset.id, {"aimd": -1.0})


@pytest.mark.mongo
def test_a_dataset_is_split_anew_by_draw_query_and_folds(results: Results, dataset: Dataset) -> None:
    drawn = split_dataset(results, dataset.id, SplitSpec(test_fraction=0.3, seed=7)).dataset
    assert drawn.parent_id == dataset.id and drawn.counts["test"] == 12 + 6 + 10
    chosen = split_by_query(results, dataset.id, ["config_type=crystal"]).dataset
    assert chosen.counts_by_config_type == {"train": {"aimd": 20, "rss": 40}, "test": {"crystal": 20}}
    made = split_in_folds(results, dataset.id, 5)
    assert made[0].dataset.name == "d fold 1/5"
    tested = [{id for id, side in sides(results, item.dataset).items() if side == "test"} for item in made]
    assert sum(len(test) for test in tested) == len(set.union(*tested)) == 80
    with pytest.raises(InputError, match="no member is chosen"):
        split_by_query(results, dataset.id, ["config_type=device"])
    with pytest.raises(InputError, match="are all of the dataset"):
        split_by_query(results, dataset.id, ["n_atoms=2"])


@pytest.mark.mongo
def test_a_difference_counts_members_and_moves(results: Results, dataset: Dataset) -> None:
    nothing = diff_datasets(results, dataset, dataset)
    assert nothing.same and not (nothing.moved or nothing.weights or nothing.reference_energies_eV or nothing.fields)
    moved = diff_datasets(results, dataset, split_by_query(results, dataset.id, ["config_type=aimd"]).dataset)
    aimd_tested = dataset.counts_by_config_type["test"]["aimd"]
    assert moved.moved == {"test to train": dataset.counts["test"] - aimd_tested, "train to test": 20 - aimd_tested}
    assert "split" in moved.fields and not moved.same
    few = create_dataset(results, "few", "tblite:1", where=["config_type=rss,aimd"]).dataset
    add_labels(results, 5, start=90, config_type="device")
    more = create_dataset(results, "more", "tblite:1", where=["config_type=rss,device"]).dataset
    found = diff_datasets(results, few, more)
    assert (found.members[ONLY_FIRST], found.members[ONLY_SECOND]) == ({"aimd": 20}, {"device": 5})
    assert sum(found.members[BOTH].values()) + sum(found.members[MOVED].values()) == 40
    back = diff_datasets(results, more, few)
    assert (back.members[ONLY_FIRST], back.members[ONLY_SECOND]) == ({"device": 5}, {"aimd": 20})


@pytest.mark.mongo
def test_a_dataset_is_found_by_name_or_id(results: Results, dataset: Dataset) -> None:
    assert get_located(results, Dataset, "d").id == get_located(results, Dataset, dataset.id[:8]).id == dataset.id
    with pytest.raises(InputError, match="no dataset 'ffffffffff'"):
        get_located(results, Dataset, "ffffffffff")
    changed = reweight(results, dataset.id, {"rss": 0.5}).dataset
    split = split_by_query(results, dataset.id, ["config_type=crystal"]).dataset
    assert [get_located(results, Dataset, name).id for name in ("d", "d weights", "d split")] == [
        dataset.id,
        changed.id,
        split.id,
    ]
    split_dataset(results, dataset.id, SplitSpec(test_fraction=0.3, seed=7), name="d")
    with pytest.raises(InputError, match="'d' fits several datasets"):
        get_located(results, Dataset, "d")
