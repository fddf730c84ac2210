"""Bins along z, by radius and over x and z."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from gst_jobflow.analysis.profiles import along_z, by_radius, kinetic_temperature, over_xz
from gst_jobflow.base.errors import DataError, InputError


def everybody(atoms: Atoms) -> np.ndarray:
    return np.arange(len(atoms))


def test_two_temperatures_are_seen_where_they_are():
    atoms = bulk("Te", "sc", a=3.0, cubic=True) * (12, 12, 12)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    low = atoms.positions[:, 2] < 18 - 1e-6
    momenta = atoms.get_momenta()
    momenta[low] *= 2.0
    atoms.set_momenta(momenta)
    bins = along_z(atoms, 18.0, everybody(atoms))
    values = bins.mean(kinetic_temperature(atoms, everybody(atoms)))
    # 864 atoms a bin: the standard error is 300 K * sqrt(2/3/864) = 8 K
    assert values[0] == pytest.approx(1200, abs=5 * 4 * 8)
    assert values[1] == pytest.approx(300, abs=5 * 8)
    np.testing.assert_array_equal(bins.counts, [864, 864])


def test_density_integrates_to_the_number_of_atoms():
    places = np.random.default_rng(0).random((50, 3)) * [10, 10, 33]
    atoms = Atoms("Te50", positions=places, cell=[10, 10, 33], pbc=True)
    bins = along_z(atoms, 5.0, everybody(atoms))
    assert len(bins.edges_A["z"]) == 8
    assert np.sum(bins.density()) * 10 * 10 * 33 / 7 == pytest.approx(50)
    square = over_xz(atoms, 5.0, everybody(atoms))
    assert square.volume_A3.shape == (2, 7)
    np.testing.assert_array_equal(square.counts.sum(axis=0), bins.counts)


def test_shells_are_as_dense_as_the_cell_and_cross_its_sides():
    rng = np.random.default_rng(1)
    places = rng.random((200_000, 3)) * [40, 10, 30]
    atoms = Atoms(numbers=np.full(len(places), 52), positions=places, cell=[40, 10, 60], pbc=True)
    # a line at the side of the cell, in the lowest plane: its shells are half-discs in two halves
    bins = by_radius(atoms, 3.0, everybody(atoms), (0.0, None, 0.0))
    density = bins.density()
    assert density[:8] == pytest.approx(200_000 / (40 * 10 * 30), rel=0.03)
    assert bins.counts.sum() == len(atoms)
    ball = by_radius(atoms, 3.0, everybody(atoms), (20.0, 5.0, 15.0))
    assert ball.density()[:3] == pytest.approx(200_000 / (40 * 10 * 30), rel=0.06)


def test_a_translated_cell_has_the_same_shells():
    rng = np.random.default_rng(2)
    atoms = Atoms(numbers=np.full(500, 52), positions=rng.random((500, 3)) * [20, 10, 30], cell=[20, 10, 60], pbc=True)
    values = rng.random(500)
    one = by_radius(atoms, 4.0, everybody(atoms), (3.0, None, 1.0)).mean(values)
    atoms.positions[:, 0] += 11.0
    assert by_radius(atoms, 4.0, everybody(atoms), (14.0, None, 1.0)).mean(values) == pytest.approx(one, nan_ok=True)


def test_empty_bins_are_nan_and_groups_are_kept_apart():
    atoms = Atoms("Te2", positions=[[0, 0, 1], [0, 0, 2]], cell=[5, 5, 20], pbc=True)
    means = along_z(atoms, 5.0, np.array([1])).mean(np.array([3.0]))
    assert means[0] == 3.0
    assert np.isnan(means[1:]).all()


def test_impossible_profiles_are_refused():
    atoms = bulk("Te", "sc", a=3.0, cubic=True)
    with pytest.raises(DataError, match="no velocities"):
        kinetic_temperature(atoms, everybody(atoms))
    with pytest.raises(InputError, match="positive"):
        along_z(atoms, 0.0, everybody(atoms))
    leaning = Atoms("Te", cell=[[3, 0, 1], [0, 3, 0], [0, 0, 3]], pbc=True)
    with pytest.raises(InputError, match="xy plane"):
        along_z(leaning, 1.0, everybody(leaning))
    with pytest.raises(InputError, match="orthogonal"):
        over_xz(leaning, 1.0, everybody(leaning))


def test_atoms_that_vibrate_through_the_lower_face_leave_no_trace_at_the_top():
    rng = np.random.default_rng(3)
    places = rng.random((20_000, 3)) * [40, 10, 30]
    atoms = Atoms(numbers=np.full(len(places), 52), positions=places, cell=[40, 10, 60], pbc=True)
    atoms.positions[:200, 2] = 59.7
    assert by_radius(atoms, 3.0, everybody(atoms), (20.0, None, 0.0)).density()[:8] == pytest.approx(1.65, rel=0.15)
    means = along_z(atoms, 3.0, everybody(atoms)).mean(np.ones(len(atoms)), 0.2)
    assert np.isfinite(means[:10]).all() and np.isnan(means[10:]).all()
