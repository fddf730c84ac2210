"""Train and test: families never straddle, draws depend on the seed only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets.split import SplitSpec, draw_split, folds, given_split
from gst_jobflow.datasets.table import Members
from tests.datasets.conftest import members_of

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from(["aimd", "crystal", "rss"])), min_size=2, max_size=60)
SPECS = st.builds(SplitSpec, test_fraction=st.floats(0.01, 0.9), seed=st.integers(0, 1000))


def table(rows: list[tuple[int, str]]) -> Members:
    return members_of([f"g{group}" for group, _ in rows], [kind for _, kind in rows])


def straddling(members: Members, test: np.ndarray) -> set[bytes]:
    return set(members.groups[test].tolist()) & set(members.groups[~test].tolist())


@settings(deadline=None)
@given(ROWS, SPECS)
def test_no_group_straddles_and_both_sides_have_members(rows: list[tuple[int, str]], spec: SplitSpec) -> None:
    members = table(rows)
    first = {}
    for group, kind in rows:
        first.setdefault(group, kind)
    kinds = list(first.values())
    assume(any(kinds.count(kind) >= 2 for kind in kinds))
    try:
        test = draw_split(members, spec)
    except DataError:
        # every group was drawn: a large share of two or three groups
        assert spec.test_fraction > 0.5
        return
    assert not straddling(members, test)
    assert 0 < test.sum() < len(rows)
    tested = set(members.groups[test].tolist())
    for kind in set(kinds):
        mine = [f"g{group}".encode() for group in first if first[group] == kind]
        # small shares still test one group, where there are two
        assert len(tested & set(mine)) == (max(1, round(spec.test_fraction * len(mine))) if len(mine) > 1 else 0)


@settings(deadline=None)
@given(ROWS, SPECS, st.randoms())
def test_a_draw_does_not_depend_on_the_order_of_labels(
    rows: list[tuple[int, str]], spec: SplitSpec, random: object
) -> None:
    # of one type: the type of a mixed group is that of its first member
    members = table([(group, "aimd") for group, _ in rows])
    assume(len({group for group, _ in rows}) > 1 and spec.test_fraction < 0.5)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first, second = draw_split(members, spec), draw_split(members.take(np.array(order)), spec)
    assert np.array_equal(first[order], second)
    assert np.array_equal(first, draw_split(members, spec))


def test_seeds_draw_differently() -> None:
    members = table([(group, "aimd") for group in range(100)])
    drawn = {draw_split(members, SplitSpec(seed=seed)).tobytes() for seed in range(5)}
    assert len(drawn) == 5
    assert all(np.frombuffer(test, bool).sum() == 10 for test in drawn)


def test_a_child_dataset_keeps_the_sides_of_its_parent() -> None:
    before = table([(group, "aimd") for group in range(20)])
    before = before.with_test(draw_split(before, SplitSpec(test_fraction=0.2, seed=1)))
    members = table([(group, "aimd") for group in range(40)])
    test = draw_split(members, SplitSpec(test_fraction=0.25, seed=2), before)
    assert np.array_equal(test[:20], before.test)
    # a quarter of forty, of which four were tested before
    assert test.sum() == 10


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match="no test set"):
        draw_split(table([(1, "aimd")] * 5), SplitSpec())


@settings(deadline=None)
@given(ROWS, st.data())
def test_a_given_test_set_takes_its_groups_along(rows: list[tuple[int, str]], data: st.DataObject) -> None:
    members = table(rows)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    try:
        test, followed = given_split(members, chosen)
    except InputError:
        assert not chosen.any() or set(members.groups[chosen].tolist()) == set(members.groups.tolist())
        return
    assert not straddling(members, test)
    assert (test | ~chosen).all() and followed == test.sum() - chosen.sum()


@settings(deadline=None)
@given(ROWS, st.integers(2, 5), st.integers(0, 5))
def test_each_group_is_tested_in_one_fold(rows: list[tuple[int, str]], n_folds: int, seed: int) -> None:
    members = table(rows)
    assume(len({group for group, _ in rows}) >= n_folds)
    tests = folds(members, n_folds, seed)
    assert np.array_equal(np.sum(tests, axis=0), np.ones(len(rows)))
    assert all(test.any() and not test.all() and not straddling(members, test) for test in tests)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(InputError, match="2 groups do not make 3 folds"):
        folds(table([(0, "aimd"), (1, "aimd"), (1, "rss")]), 3, 0)
