"""Near-duplicates: found whatever the order, place and orientation of the atoms, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.duplicates import NEIGHBOURS, REACH_A, _match, _summary, environments, near_duplicates
from gst_jobflow.datasets.select import select_labels
from gst_jobflow.documents import Label
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from tests.datasets.conftest import add_labels
from tests.documents.test_documents import label


def random_atoms(seed: int, symbols: str = "Ge3Sb2Te5", size_A: float = 7.0) -> Atoms:
    rng = np.random.default_rng(seed)
    number = len(Atoms(symbols))
    cell = np.eye(3) * size_A + rng.normal(0, 0.4, (3, 3))
    return Atoms(symbols, scaled_positions=rng.random((number, 3)), cell=cell, pbc=True)


def disguised(atoms: Atoms, seed: int) -> Atoms:
    """The same arrangement in another order, moved, turned and in another choice of cell."""
    rng = np.random.default_rng(seed)
    other = atoms[rng.permutation(len(atoms))]
    turn = Rotation.random(rng=rng).as_matrix()
    other.set_cell(other.cell.array @ turn, scale_atoms=True)
    other.translate(rng.normal(0, 5, 3))
    other.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ other.cell.array)
    other.wrap()
    return other


def alike(first: Atoms, second: Atoms, tolerance_A: float) -> bool:
    one, other = environments(first), environments(second)
    same = _match(one, other, tolerance_A)
    # what the tree compares never hides what the atoms show
    assert not same or np.abs(_summary(one) - _summary(other)).max() <= tolerance_A + 1e-9
    return same


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.001, 0.2))
def test_a_reordered_rotated_structure_with_small_moves_is_found(seed: int, tolerance_A: float) -> None:
    atoms = random_atoms(seed)
    moved = atoms.copy()
    moves = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    moves *= 0.499 * tolerance_A / np.linalg.norm(moves, axis=1, keepdims=True)
    moved.positions += moves
    assert alike(atoms, disguised(moved, seed), tolerance_A)


def test_other_structures_are_not_found() -> None:
    atoms = random_atoms(1)
    assert not alike(atoms, random_atoms(2), 0.2)
    swapped = atoms.copy()
    swapped.numbers[[0, 3]] = swapped.numbers[[3, 0]]
    assert not alike(atoms, swapped, 0.05)
    moved = atoms.copy()
    moved.positions[4, 0] += 0.3
    assert not alike(atoms, moved, 0.05)
    strained = atoms.copy()
    strained.set_cell(1.02 * atoms.cell.array, scale_atoms=True)
    # distances of up to 6 Å change by up to 0.12 Å
    assert not alike(atoms, strained, 0.05) and alike(atoms, strained, 0.13)


def test_other_occupations_of_a_lattice_are_other_structures() -> None:
    from ase.build import bulk

    lattice = bulk("GeTe", "rocksalt", a=6.0, cubic=True).repeat((2, 1, 1))
    mixed, layered = lattice.copy(), lattice.copy()
    cations = [atom.index for atom in lattice if atom.symbol == "Ge"]
    by_x = sorted(cations, key=lambda index: lattice.positions[index, 0])
    for index in by_x[:4]:
        layered.symbols[index] = "Sb"
    for index in by_x[::2]:
        mixed.symbols[index] = "Sb"
    assert not alike(mixed, layered, 0.1)
    assert alike(mixed, disguised(mixed, 1), 1e-6)


def test_distances_are_those_of_a_plain_search() -> None:
    atoms = random_atoms(5)
    found = environments(atoms)
    for number, rows in found.items():
        for row, index in zip(rows, np.flatnonzero(atoms.numbers == number), strict=True):
            for column, other in zip(row, sorted(set(atoms.numbers)), strict=True):
                images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3) @ atoms.cell.array
                points = (atoms.positions[atoms.numbers == other][:, None] + images).reshape(-1, 3)
                distances = np.linalg.norm(points - atoms.positions[index], axis=1)
                expected = np.minimum(np.sort(distances[distances > 1e-9])[:NEIGHBOURS], REACH_A)
                assert column == pytest.approx(expected, abs=1e-9)


def store(results: Results, atoms: Atoms, energy_eV: float = -1.0) -> str:
    document = structure_document(atoms, "rss")
    results.add(document)
    id = Label.id_for(document.id, "tblite:1")
    energies = {"energy_eV": energy_eV * len(atoms), "energy_per_atom_eV": energy_eV}
    forces = {"forces": bytes(24 * len(atoms)), "n_atoms": len(atoms)}
    fields = {"formula": document.formula, "config_type": "rss", **energies, **forces}
    results.add(label(_id=id, structure_id=document.id, **fields))
    return id


@pytest.mark.mongo
def test_the_lowest_id_of_near_duplicates_stays(results: Results) -> None:
    originals = [random_atoms(seed) for seed in range(6)]
    families = [[store(results, atoms)] for atoms in originals]
    for seed in (0, 1, 2):
        families[seed].append(store(results, disguised(originals[seed], seed), -1.25))
    families[0].append(store(results, disguised(originals[0], 99)))
    # another composition is never compared
    store(results, random_atoms(1, "Ge2Sb3Te5"))
    members = select_labels(results.database, "tblite:1", []).members
    pairs = near_duplicates(results, members, 1e-4)
    found = {members.label_ids[pair.row].decode(): members.label_ids[pair.of].decode() for pair in pairs}
    assert found == {id: min(family) for family in families for id in family if id != min(family)}
    assert {round(pair.energy_difference_eV, 6) for pair in pairs} <= {0.0, 0.25}


@pytest.mark.mongo
def test_near_duplicates_do_not_chain(results: Results) -> None:
    """Frames of a slow trajectory: those further apart than the tolerance stay."""
    start = random_atoms(3)
    for step in range(30):
        atoms = start.copy()
        atoms.positions[0, 0] += 0.01 * step
        store(results, atoms)
    members = select_labels(results.database, "tblite:1", []).members
    gone = {pair.row for pair in near_duplicates(results, members, 0.05)}
    assert 2 <= len(members) - len(gone) <= 12
    assert {pair.of for pair in near_duplicates(results, members, 0.05)}.isdisjoint(gone)


@pytest.mark.mongo
@pytest.mark.parametrize("tolerance_A", [0.0, -1.0, 1.5, float("nan")])
def test_tolerances_out_of_range_are_refused(results: Results, tolerance_A: float) -> None:
    add_labels(results, 2)
    with pytest.raises(InputError, match="tolerance"):
        near_duplicates(results, select_labels(results.database, "tblite:1", []).members, tolerance_A)
