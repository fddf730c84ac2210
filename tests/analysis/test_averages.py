"""Means over frames and their errors by blocks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.analysis.averages import BlockMean, Mean
from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.analysis.motifs import mean_motifs


def mean_of(values: np.ndarray) -> Mean:
    blocks = BlockMean()
    for each in values:
        blocks.add(each)
    return blocks.mean()


@pytest.mark.parametrize("n", [1, 9, 10, 19, 20, 21, 40, 41, 333, 1000])
def test_the_mean_is_that_of_all_frames(n):
    values = np.random.default_rng(n).normal(3.0, 1.0, (n, 2, 3))
    found = mean_of(values)
    assert found.value == pytest.approx(values.mean(axis=0))
    assert np.isfinite(found.error).all() == (n >= 10)


def test_the_error_of_uncorrelated_frames_is_the_usual_one():
    rng = np.random.default_rng(0)
    errors = [mean_of(rng.normal(0.0, 2.0, 160)).error for _ in range(400)]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(2.0 / np.sqrt(160), rel=0.05)


def test_the_error_of_correlated_frames_is_that_of_repeated_runs():
    rng = np.random.default_rng(1)
    n, memory = 1280, np.exp(-1 / 10)
    found = []
    for _ in range(200):
        series = np.empty(n)
        series[0] = rng.normal()
        for i, kick in enumerate(rng.normal(0, np.sqrt(1 - memory**2), n - 1)):
            series[i + 1] = memory * series[i] + kick
        found.append(mean_of(series))
    true = np.std([each.value for each in found])
    # blocks of 64 frames and a memory of 10: errors are low by about a tenth; without blocks by more than four
    assert np.sqrt(np.mean([each.error**2 for each in found])) == pytest.approx(true, rel=0.2)


def test_values_that_are_not_finite_are_left_out():
    values = np.arange(40.0).reshape(20, 2)
    values[::2, 1] = np.nan
    found = mean_of(values)
    assert found.value == pytest.approx([19.0, 21.0])
    assert np.isfinite(found.error).tolist() == [True, True]
    assert np.isnan(mean_of(np.full(20, np.nan)).value)


def test_averages_hold_one_frame_at_a_time():
    alive: list[weakref.ref] = []
    # what other tests left need not be searched each time
    gc.freeze()

    def frames() -> Iterator[Atoms]:
        for seed in range(30):
            # where numba compiles, cycles of references hold the frames of the stack
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 1
            atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
            atoms.rattle(0.1, seed=seed)
            alive.append(weakref.ref(atoms))
            yield atoms
            del atoms

    radial_distribution(frames(), 5.0)
    alive.clear()
    mean_motifs(frames(), {("Ge", "Ge"): np.nan, ("Ge", "Te"): 3.4, ("Te", "Te"): np.nan})
    assert len(alive) == 30
    gc.unfreeze()
