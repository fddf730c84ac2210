"""Lasting numbers of grains, and splits of growth and nucleation that are known."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.analysis.grains import grains
from gst_jobflow.analysis.growth import follow, growth, growth_rows
from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.crystals import rocksalt


def test_grains_keep_their_numbers_when_they_grow_and_change_places():
    one, two, three = follow([np.array([1, 1, 0, 0, 0, 0]), np.array([2, 2, 2, 0, 1, 0]), np.array([1, 1, 1, 2, 2, 2])])
    assert one.label.tolist() == [1, 1, 0, 0, 0, 0]
    assert one.born == (1,)
    assert two.label.tolist() == [1, 1, 1, 0, 2, 0]
    assert two.born == (2,)
    assert three.label.tolist() == [1, 1, 1, 2, 2, 2]
    assert three.born == three.merged == three.ended == ()


def test_mergers_fragments_and_ends_are_told():
    merged = list(follow([np.array([1, 1, 1, 2, 2, 3]), np.array([1, 1, 1, 1, 1, 0])]))[1]
    assert merged.label.tolist() == [1, 1, 1, 1, 1, 0]
    assert merged.merged == ((2, 1),)
    assert merged.ended == (3,)
    broken = list(follow([np.array([1] * 5 + [0]), np.array([2, 2, 0, 1, 1, 1])]))[1]
    assert sorted(set(broken.label.tolist())) == [0, 1, 2]
    assert broken.born == ()


def test_a_split_of_known_atoms():
    first = np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    now = np.array([1, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    found = growth(first, now, np.array([1, 1, 1, 1, 2, 2, 0, 0]))
    assert (found.new, found.grown, found.nucleated, found.loose) == (4, 2, 2, 1)
    assert found.growth_share == 0.5
    assert np.isnan(growth(now, now, np.ones(8, dtype=int)).growth_share)


def test_a_chance_atom_does_not_join_a_nucleus_to_the_old_crystal():
    first, now = np.zeros(300, dtype=bool), np.ones(300, dtype=bool)
    first[0] = True
    label = np.ones(300, dtype=int)
    assert growth(first, now, label).nucleated == 299
    assert growth(first, now, label, least_shared=0.0).grown == 299


def test_a_dome_that_grows_from_its_rim_around_a_nucleus():
    pytest.importorskip("ovito")
    crystal = rocksalt("GeSb2Te4", (10, 4, 10))
    middle = 30.15
    away = np.hypot(crystal.positions[:, 0] - middle, crystal.positions[:, 2] - middle)
    noise = np.random.default_rng(0).normal(0, 1.2, (len(crystal), 3))

    def state(shaken):
        atoms = crystal.copy()
        atoms.positions[shaken] += noise[shaken]
        return crystallinity(atoms).mask, grains(atoms, min_anions=20).label

    # the melt reaches 25 Å; then the rim is back beyond 18 Å, and a nucleus within 9 Å
    first, _ = state(away < 25)
    now, label = state((away < 18) & (away > 9))
    found = growth(first, now, label)
    new = now & ~first
    assert found.nucleated == pytest.approx((new & (away < 13)).sum(), abs=3)
    assert found.grown == pytest.approx((new & (away > 13)).sum(), rel=0.05)
    assert found.nucleated > 50


def test_frames_of_other_atoms_are_refused():
    with pytest.raises(DataError, match="the one before"):
        list(follow([np.zeros(3), np.zeros(4)]))
    with pytest.raises(DataError, match="same atoms"):
        growth(np.zeros(3), np.zeros(3), np.zeros(4))


def test_rows_follow_grains_and_colour_atoms_by_where_they_came_from():
    masks = [np.array(m, dtype=bool) for m in ([1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1])]
    labels = [np.array(each) for each in ([1, 1, 0, 0, 0, 0], [2, 2, 2, 0, 1, 0], [1, 1, 1, 2, 2, 0])]
    rows = list(growth_rows(masks, labels))
    assert [numbers["new_atoms"] for numbers, _ in rows] == [0, 2, 3]
    assert [numbers["growth_share"] for numbers, _ in rows] == [None, 0.5, pytest.approx(1 / 3)]
    assert [numbers["grains_born"] for numbers, _ in rows] == [0, 1, 0]
    assert rows[2][0]["loose_atoms"] == 1
    assert rows[2][1]["origin"].tolist() == [1, 1, 2, 3, 3, 4]
    assert rows[2][1]["grain_followed"].tolist() == [1, 1, 1, 2, 2, 0]
    # since another state: there all atoms but the last were crystal
    since = next(growth_rows(masks[:1], labels[:1], np.array([1, 0, 1, 1, 1, 0], dtype=bool)))
    assert since[0]["grown_atoms"] == 1
