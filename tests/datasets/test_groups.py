"""Families of structures: what a split must not part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.groups import group_names, group_of
from gst_jobflow.datasets.table import ids_of
from gst_jobflow.store import Results
from tests.datasets.conftest import add_labels, number_id


def names(pairs: dict[str, str]) -> dict[str, str]:
    found = group_names(None, ids_of(pairs), ids_of(pairs.values()))
    return dict(zip(pairs, [name.decode() for name in found.tolist()], strict=True))


def test_frames_and_chains_of_parents_are_one_family() -> None:
    pairs = {"a": "a", "b": "a", "c": "b", "d": "run 1", "e": "run 1", "f": "f"}
    found = names(pairs)
    assert found["a"] == found["b"] == found["c"]
    assert found["d"] == found["e"] != found["a"]
    assert found["f"] == "f"


@settings(deadline=None)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=30), st.randoms())
def test_families_are_the_same_in_whatever_order_and_end_at_their_borders(parents: list[int], random: object) -> None:
    """Against a plain union of neighbours, for structures that are made from earlier ones or from ones not there."""
    pairs = {f"s{index}": f"s{parent}" for index, parent in enumerate(parents)}
    found = names(pairs)
    family = {name: {name} for name in {*pairs, *pairs.values()}}
    for first, second in pairs.items():
        both = family[first] | family[second]
        for name in both:
            family[name] = both
    for one in pairs:
        for other in pairs:
            assert (found[one] == found[other]) == (other in family[one])
    order = list(pairs)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert names({name: pairs[name] for name in order}) == found


@pytest.mark.mongo
def test_relatives_by_a_structure_that_is_no_member_are_found(results: Results) -> None:
    # 0 ← 1 ← 2, and 1 is not among those that are asked about; 3 is a frame of a run that 0 is of too
    add_labels(results, 4, groups=["run", number_id(0), number_id(1), "run"])
    ids = ids_of([number_id(0), number_id(2), number_id(3)])
    groups = ids_of(["run", number_id(1), "run"])
    assert len(np.unique(group_names(results.database, ids, groups))) == 1
    assert len(np.unique(group_names(None, ids, groups))) == 2


def test_a_structure_of_an_older_schema_is_refused() -> None:
    with pytest.raises(DataError, match="has no group"):
        group_of({"_id": "x"})
