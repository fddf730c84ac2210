"""Profiles along z."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from gst_jobflow.analysis.profiles import density_profile, mean_profile, temperature_profile
from gst_jobflow.base.errors import DataError, InputError


def test_two_temperatures_are_seen_where_they_are():
    atoms = bulk("Te", "sc", a=3.0, cubic=True) * (12, 12, 12)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    low = atoms.positions[:, 2] < 18 - 1e-6
    momenta = atoms.get_momenta()
    momenta[low] *= 2.0
    atoms.set_momenta(momenta)
    profile = temperature_profile(atoms, bin_A=18.0)
    # 864 atoms a bin: the standard error is 300 K * sqrt(2/3/864) = 8 K
    assert profile.values[0] == pytest.approx(1200, abs=5 * 4 * 8)
    assert profile.values[1] == pytest.approx(300, abs=5 * 8)
    np.testing.assert_array_equal(profile.counts, [864, 864])


def test_density_integrates_to_the_number_of_atoms():
    atoms = Atoms(
        "Te50", positions=np.random.default_rng(0).random((50, 3)) * [10, 10, 33], cell=[10, 10, 33], pbc=True
    )
    profile = density_profile(atoms, bin_A=5.0)
    assert len(profile.z_A) == 7
    assert np.sum(profile.values) * 10 * 10 * 33 / 7 == pytest.approx(50)


def test_empty_bins_are_nan_and_groups_are_kept_apart():
    atoms = Atoms("Te2", positions=[[0, 0, 1], [0, 0, 2]], cell=[5, 5, 20], pbc=True)
    profile = mean_profile(atoms, np.array([1.0, 3.0]), bin_A=5.0, group=np.array([1]))
    assert profile.values[0] == 3.0
    assert np.isnan(profile.values[1:]).all()


def test_impossible_profiles_are_refused():
    atoms = bulk("Te", "sc", a=3.0, cubic=True)
    with pytest.raises(DataError, match="no velocities"):
        temperature_profile(atoms, 1.0)
    with pytest.raises(InputError, match="positive"):
        density_profile(atoms, 0.0)
    leaning = Atoms("Te", cell=[[3, 0, 1], [0, 3, 0], [0, 0, 3]], pbc=True)
    with pytest.raises(InputError, match="xy plane"):
        density_profile(leaning, 1.0)
