"""Radial distribution functions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.base.errors import InputError


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(0)
    cells = [Atoms("Sb200Te300", positions=rng.random((500, 3)) * 20, cell=[20, 20, 20], pbc=True) for _ in range(4)]
    found = radial_distribution(cells, cutoff_A=9.0, bin_A=0.5)
    # 20,000 pairs in the last bins: about 1 % noise
    np.testing.assert_allclose(found.total[8:], 1.0, atol=0.05)
    for pair in (("Sb", "Sb"), ("Sb", "Te"), ("Te", "Te")):
        np.testing.assert_allclose(found.partial[pair][8:], 1.0, atol=0.1)


def test_neighbours_of_rock_salt_are_counted():
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    # smaller than the cutoff: periodic images count
    found = radial_distribution([atoms], cutoff_A=8.0, bin_A=0.1)
    shells = 4 / 3 * np.pi * np.diff((np.arange(81) * 0.1) ** 3)
    density = 4 / 6.0**3
    coordination = np.sum((found.partial[("Ge", "Te")] * shells * density)[found.r_A < 3.5])
    assert coordination == pytest.approx(6.0)
    assert np.sum((found.partial[("Te", "Te")] * shells * density)[found.r_A < 4.5]) == pytest.approx(12.0)


def test_nothing_to_average_is_refused():
    with pytest.raises(InputError, match="no frame"):
        radial_distribution([])
    with pytest.raises(InputError, match="do not fit"):
        radial_distribution([bulk("Te", "sc", a=3.0)], cutoff_A=1.0, bin_A=2.0)
