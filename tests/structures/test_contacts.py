import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.contacts import (
    PairDistances,
    min_distance,
    pair_table,
    push_apart,
    scaled_min_distance,
    smallest_by_type,
)


@pytest.mark.parametrize("seed", range(15))
def test_min_distance_agrees_with_ase_in_small_skewed_and_partly_periodic_cells(seed):
    random = np.random.default_rng(seed)
    cell = np.diag(2 + 2 * random.random(3)) + 0.5 * random.normal(size=(3, 3))
    atoms = Atoms("Ge2Sb2Te", positions=10 * random.random((5, 3)) - 3, cell=cell, pbc=random.random(3) > 0.3)
    # every pair within the largest extent is in this list, so its minimum is the true one
    assert min_distance(atoms) == pytest.approx(neighbor_list("d", atoms, 6.0).min(), abs=1e-10)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    n_atoms=st.integers(2, 60),
    edge_A=st.floats(1.5, 40),
    skew=st.floats(0, 1),
    closest_A=st.sampled_from([None, 0.0, 1e-4, 1.3]),
)
def test_min_distance_agrees_with_a_plain_neighbour_list(seed, n_atoms, edge_A, skew, closest_A):
    random = np.random.default_rng(seed)
    cell = edge_A * (np.diag(random.uniform(0.5, 1, 3)) + skew * random.uniform(-1, 1, (3, 3)))
    if abs(np.linalg.det(cell)) < 0.02 * edge_A**3:
        return
    # also far outside the cell, as unwrapped trajectories have them
    positions = random.uniform(-2, 3, (n_atoms, 3)) @ cell
    if closest_A is not None:
        positions[-1] = positions[0] + [closest_A, 0, 0] + random.integers(-2, 3, 3) @ cell
    atoms = Atoms(numbers=[52] * n_atoms, positions=positions, cell=cell, pbc=True)
    cutoff_A = 2 * (atoms.get_volume() / n_atoms) ** (1 / 3) + 1e-6
    assert min_distance(atoms) == pytest.approx(neighbour_list("d", atoms, cutoff=cutoff_A).min(), abs=1e-9)


@pytest.mark.parametrize("repeat", [1, 2, 4, 7])
def test_min_distance_of_perfect_crystals_has_no_error_of_single_precision(repeat):
    atoms = bulk("GeTe", "rocksalt", a=6.02, cubic=True).repeat(repeat)
    assert min_distance(atoms) == pytest.approx(3.01, abs=1e-12)


def test_an_atom_sees_its_own_images():
    assert min_distance(Atoms("Te", cell=[3, 4, 5], pbc=True)) == pytest.approx(3)


def test_distances_of_far_atoms_without_a_cell_are_found():
    assert min_distance(Atoms("Ge2", positions=[[0, 0, 0], [50, 0, 0]])) == pytest.approx(50)
    assert min_distance(Atoms("Ge")) == math.inf


def test_a_distance_without_atoms_is_an_error():
    with pytest.raises(DataError):
        min_distance(Atoms())
    with pytest.raises(DataError):
        min_distance(Atoms("Ge2", positions=[[0, 0, 0], [np.nan, 0, 0]]))


@pytest.mark.parametrize(
    "pairs", [{"GeTe": 2.5}, {"Ge-Xx": 2.5}, {"Ge-Sb-Te": 1}, {"Ge-Te": -1}, {"Ge-Te": 2, "Te-Ge": 3}]
)
def test_unreadable_pairs_are_refused(pairs):
    with pytest.raises(InputError):
        pair_table(pairs)


def test_only_movable_atoms_are_pushed():
    atoms = Atoms("Te2Ge", positions=[[5, 5, 5], [5.0, 5.0, 7.2], [5, 5.4, 6]], cell=[12, 12, 12], pbc=True)
    before = atoms.positions.copy()
    allowed = PairDistances(atoms.get_chemical_symbols(), {"Te-Te": 2.0}, 2.6)
    assert scaled_min_distance(atoms, allowed) < 1
    push_apart(atoms, allowed, movable=np.array([False, False, True]))
    assert (atoms.positions[:2] == before[:2]).all()
    assert scaled_min_distance(atoms, allowed) >= 1
    assert atoms.get_distance(0, 2, mic=True) >= 2.6


def test_tiny_limits_of_contacts_are_searched_in_no_time():
    atoms = Atoms("SbTe", positions=[[0, 0, 0], [5e-4, 0, 0]], cell=[30, 30, 30], pbc=True)
    allowed = PairDistances(["Sb", "Te"], {"Sb-Sb": 1e-3, "Sb-Te": 1e-3, "Te-Te": 1e-3}, 1.0)
    found = smallest_by_type(atoms, allowed)
    assert found[0, 1] == pytest.approx(5e-4) and found[0, 0] == found[1, 1] == 1e-3
    atoms.positions[1, 0] = 0.3
    assert smallest_by_type(atoms, allowed)[0, 1] == 1e-3, "a contact beyond the limit counts as the limit"
