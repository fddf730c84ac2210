import io

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.crystals import trigonal
from gst_jobflow.structures.document_fields import canonical, content_hash, describe, identified


def random_atoms(seed, on_faces=True):
    """Skewed cell, some atoms exactly on faces, all coordinates at quarter steps of the grid at least from ties."""
    random = np.random.default_rng(seed)
    cell = 6 * np.eye(3) + random.normal(size=(3, 3))
    scaled = random.random((8, 3))
    if on_faces:
        scaled[:4] *= random.integers(0, 2, (4, 3))
    return Atoms("Ge2Sb2Te4", scaled_positions=scaled, cell=cell, pbc=True)


def far_from_ties(atoms):
    """Whether noise of 1e-12 Å cannot change any rounding."""
    in_steps = np.concatenate([atoms.positions.ravel(), atoms.cell.array.ravel()]) * 1e8
    return np.abs(in_steps % 1 - 0.5).min() > 1e-3


seeds = st.integers(0, 10**6)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_id_and_numbers_together_are_those_of_each_alone(seed):
    atoms = random_atoms(seed)
    atoms.positions += np.random.default_rng(seed).integers(-1, 2, (8, 3)) @ atoms.cell.array
    assert identified(atoms) == (content_hash(atoms), describe(atoms))


@settings(deadline=None)
@given(seeds, st.integers(-3, 3), st.integers(-3, 3), st.integers(-3, 3))
def test_the_id_is_the_same_for_any_periodic_image(seed, i, j, k):
    atoms = random_atoms(seed)
    if not far_from_ties(atoms):
        return
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).integers(-2, 3, (8, 3)) @ atoms.cell.array
    moved.positions += np.array([i, j, k]) @ atoms.cell.array
    assert content_hash(moved) == content_hash(atoms)


@settings(deadline=None)
@given(seeds)
def test_the_id_is_stable_under_noise_far_below_the_rounding(seed):
    atoms = random_atoms(seed)
    if not far_from_ties(atoms):
        return
    noisy = atoms.copy()
    noisy.positions += np.random.default_rng(seed).uniform(-1e-13, 1e-13, (8, 3))
    assert content_hash(noisy) == content_hash(atoms)


@settings(deadline=None)
@given(seeds)
def test_the_canonical_form_keeps_the_id_through_an_extxyz_file(seed):
    atoms = random_atoms(seed)
    once = canonical(atoms)
    assert content_hash(once) == content_hash(atoms)
    text = io.StringIO()
    write(text, once, format="extxyz")
    text.seek(0)
    assert content_hash(read(text, format="extxyz")) == content_hash(atoms)
    # at most half a step of rounding per axis, apart from whole lattice vectors
    shift = np.linalg.solve(atoms.cell.array.T, (once.positions - atoms.positions).T)
    assert np.abs(shift - np.rint(shift)).max() < 1e-8


def test_minus_zero_and_the_far_face_are_zero():
    cell = [5.0, 6.0, 7.0]
    plain = Atoms("GeTe", positions=[[0, 0, 0], [2, 2, 2]], cell=cell, pbc=True)
    for odd in ([-0.0, 0, 0], [5.0, 0, -0.0], [5 - 1e-13, 6 + 1e-13, 0], [-1e-14, -6, 7 - 1e-12]):
        same = plain.copy()
        same.positions[0] = odd
        assert content_hash(same) == content_hash(plain)


@pytest.mark.parametrize("compound", ["Ge1Sb2Te4", "GeTe"])
def test_crystals_in_hexagonal_cells_keep_their_id(compound):
    atoms = trigonal(compound, (2, 2, 1), orthogonal=False)
    moved = atoms.copy()
    moved.positions += atoms.cell.array[0] * 5 - atoms.cell.array[2]
    assert content_hash(moved) == content_hash(atoms) == content_hash(canonical(atoms))


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 3e-8),
        lambda atoms: atoms.numbers.__setitem__(0, 51),
        lambda atoms: atoms.set_cell(atoms.cell.array + 3e-8),
        lambda atoms: atoms.set_pbc([True, True, False]),
    ],
)
def test_any_real_change_changes_the_id(change):
    atoms = random_atoms(1, on_faces=False)
    changed = atoms.copy()
    change(changed)
    assert content_hash(changed) != content_hash(atoms)


def test_the_id_ignores_everything_but_the_structure():
    atoms = random_atoms(2)
    other = atoms.copy()
    other.set_tags(1)
    other.set_velocities(np.ones((8, 3)))
    other.info["energy"] = 1.0
    assert content_hash(other) == content_hash(atoms)
    assert len(content_hash(atoms)) == 32


def test_the_id_of_a_fixed_structure_never_changes():
    atoms = Atoms(
        "GeTe", positions=[[0.1, 0.2, 0.3], [2.5, 2.25, 11.5]], cell=[[5, 0, 0], [1, 6, 0], [0, 0.5, 7]], pbc=True
    )
    assert content_hash(atoms) == "4b7f50622f07dcc3bfbdebc112ed43c4"


def test_open_directions_are_not_wrapped():
    slab = Atoms("Te", positions=[[0, 0, 9]], cell=[4, 4, 8], pbc=[True, True, False])
    lower = Atoms("Te", positions=[[0, 0, 1]], cell=[4, 4, 8], pbc=[True, True, False])
    assert content_hash(slab) != content_hash(lower)
    assert len(content_hash(Atoms("Te2", positions=[[0, 0, 0], [0, 0, 2.7]]))) == 32


def test_a_crystal_has_the_known_numbers():
    fields = describe(trigonal("Ge2Sb2Te5", (2, 1, 1)))
    assert fields["formula"] == "Ge2Sb2Te5"
    assert fields["composition"] == {"Ge": pytest.approx(2 / 9), "Sb": pytest.approx(2 / 9), "Te": pytest.approx(5 / 9)}
    assert fields["n_atoms"] == 36
    assert fields["elements"] == ["Ge", "Sb", "Te"]
    assert fields["min_distance_A"] == pytest.approx(2.898, abs=1e-3)
    assert fields["density_g_cm3"] == pytest.approx(6.399, abs=1e-3)
    assert fields["volume_per_atom_A3"] == pytest.approx(266.46 / 9, rel=1e-4)


def test_undefined_numbers_are_none():
    fields = describe(Atoms("Te"))
    assert (fields["min_distance_A"], fields["density_g_cm3"], fields["volume_per_atom_A3"]) == (None, None, None)


@pytest.mark.parametrize("function", [describe, content_hash, canonical, identified])
def test_broken_structures_are_refused(function):
    with pytest.raises(DataError, match="without atoms"):
        function(Atoms(cell=[1, 1, 1]))
    with pytest.raises(DataError, match="not finite"):
        function(Atoms("Te", positions=[[np.nan, 0, 0]]))
    if function is not describe:
        with pytest.raises(DataError, match="no cell vector"):
            function(Atoms("Te", pbc=True))
        with pytest.raises(DataError, match="not independent"):
            function(Atoms("Te", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True))


def test_cached_compositions_cannot_be_changed(monkeypatch):
    first, again = (describe(Atoms("Ge2Te2", positions=3.0 * np.eye(4, 3), cell=[6] * 3, pbc=True)) for _ in range(2))
    first["composition"]["Ge"] = 1.0
    first["elements"].append("Sb")
    assert again["composition"] == {"Ge": 0.5, "Te": 0.5} and again["elements"] == ["Ge", "Te"]
    monkeypatch.setattr("gst_jobflow.structures.document_fields._REMEMBERED_ATOMS", 1)
    assert describe(Atoms("Ge2Te2", positions=3.0 * np.eye(4, 3), cell=[6] * 3, pbc=True)) == again
