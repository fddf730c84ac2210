"""Greedy D-optimality: every choice adds most to the determinant, given those before."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.selection.pick import Rows, most_informative


def structures(number: int = 12) -> list[Rows]:
    random = np.random.default_rng(4)
    return [
        {"Sb": random.normal(size=(int(random.integers(0, 4)), 5)), "Te": 2 * random.normal(size=(3, 7))}
        for _ in range(number)
    ]


def log_det(chosen: list[Rows]) -> float:
    total = 0.0
    for element, size in (("Sb", 5), ("Te", 7)):
        rows = np.concatenate([np.empty((0, size)), *(each[element] for each in chosen)])
        total += float(np.linalg.slogdet(np.eye(size) + rows.T @ rows)[1])
    return total


def test_choices_are_those_of_plain_greedy_search() -> None:
    given = structures()
    expected: list[int] = []
    for _ in range(6):
        left = [place for place in range(len(given)) if place not in expected]
        expected.append(max(left, key=lambda place: log_det([given[k] for k in [*expected, place]])))
    found = most_informative(given, 6)
    assert [place for place, _ in found] == expected
    assert sum(gain for _, gain in found) == pytest.approx(log_det([given[place] for place in expected]))
    gains = [gain for _, gain in found]
    assert gains == sorted(gains, reverse=True)


def test_similar_structures_are_chosen_last() -> None:
    one = {"Te": np.array([[5.0, 0.0]])}
    other = {"Te": np.array([[0.0, 2.0]])}
    assert [place for place, _ in most_informative([one, one, other], 3)] == [0, 2, 1]


def test_no_more_structures_are_chosen_than_exist() -> None:
    assert len(most_informative(structures(3), 10)) == 3
