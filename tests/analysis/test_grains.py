"""Grains of crystals, bicrystals, a polycrystal of known grains, and disorder."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from gst_jobflow.analysis.grains import grains, misorientation_deg
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.crystals import rocksalt

pytest.importorskip("ovito")
A = 6.03


def lattice(turn: Rotation, reach: float) -> Atoms:
    """Rock-salt without vacancies around the origin, turned."""
    n = int(np.ceil(2 * reach / A)) + 1
    block = rocksalt("GeTe", (n, n, n), A)
    block.positions -= 0.5 * n * A + 0.1
    block.positions = turn.apply(block.positions)
    return block


def polycrystal(turns: list[Rotation], centres: np.ndarray, side: float) -> tuple[Atoms, np.ndarray]:
    """Periodic Voronoi cells of the centres, each filled with its own lattice; also the grain of each atom."""
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3) * side
    tree = cKDTree((centres[None] + shifts[:, None]).reshape(-1, 3))
    home = np.flatnonzero(np.all(shifts == 0, axis=1))[0] * len(centres)
    symbols, positions, owners = [], [], []
    for number, (turn, centre) in enumerate(zip(turns, centres, strict=True)):
        piece = lattice(turn, 0.9 * side)
        places = piece.positions + centre
        mine = tree.query(places)[1] == home + number
        symbols += list(np.array(piece.get_chemical_symbols())[mine])
        positions.append(places[mine])
        owners += [number] * int(mine.sum())
    atoms = Atoms(symbols, positions=np.concatenate(positions), cell=[side] * 3, pbc=True)
    atoms.wrap()
    close = cKDTree(atoms.positions, boxsize=side).query_pairs(2.0)
    drop = sorted({j for _, j in close})
    owner = np.delete(np.array(owners), drop)
    del atoms[drop]
    return atoms, owner


@pytest.mark.parametrize("stdev_A", [0.0, 0.15])
def test_a_crystal_with_vacancies_is_one_grain_of_the_volume_of_the_cell(stdev_A):
    atoms = rocksalt("GeSb2Te4", (6, 6, 6))
    atoms.rattle(stdev_A, seed=1)
    found = grains(atoms)
    assert found.n_anions.tolist() == [864]
    assert found.n_atoms.tolist() == [len(atoms)]
    assert found.volume_A3[0] == pytest.approx(atoms.cell.volume, rel=0.02)
    assert found.diameter_A[0] == pytest.approx((6 * atoms.cell.volume / np.pi) ** (1 / 3), rel=0.01)
    assert found.boundary_share == 0.0
    assert found.counts == {20: 1, 50: 1, 100: 1, 200: 1, 500: 1}


def test_wrapped_and_turned_copies_have_the_same_grains():
    atoms = rocksalt("GeSb2Te4", (5, 5, 5))
    moved = atoms.copy()
    moved.positions += [3.1, -47.0, 11.0]
    moved.rotate(31, (1, 2, 3), rotate_cell=True)
    assert grains(moved).n_atoms.tolist() == grains(atoms).n_atoms.tolist()


def test_a_polycrystal_has_its_grains_their_volumes_and_their_misorientations():
    turns = [
        Rotation.identity(),
        Rotation.from_euler("z", 22, degrees=True),
        Rotation.from_euler("x", 30, degrees=True),
    ]
    side = 60.0
    centres = np.array([[12.0, 12, 12], [42, 40, 15], [25, 45, 45]])
    atoms, owner = polycrystal(turns, centres, side)
    found = grains(atoms, min_anions=100)
    assert len(found.n_anions) == 3
    # which is which: by the lattice that the atoms of a grain were made with
    made = [np.bincount(owner[found.label == g]).argmax() for g in (1, 2, 3)]
    assert sorted(made) == [0, 1, 2]
    true = np.bincount(owner)[made] / len(atoms) * side**3
    # atoms at a boundary match no template: a shell of about one neighbour distance is missing
    smaller = (6 * true / np.pi) ** (1 / 3) - found.diameter_A
    assert np.all((smaller > 2.0) & (smaller < 12.0))
    angles = {tuple(sorted((made[int(a) - 1], made[int(b) - 1]))): angle for a, b, angle, _ in found.boundaries}
    for (a, b), angle in angles.items():
        asked = misorientation_deg(turns[a].as_quat()[None], turns[b].as_quat()[None])[0]
        assert angle == pytest.approx(asked, abs=1.0)
    assert len(angles) == 3
    assert 0.03 < found.boundary_share < 0.5
    assert found.boundaries[:, 3].min() > 20


def three_grains(noise_A: float, seed: int) -> Atoms:
    turns = [Rotation.from_euler(axis, angle, degrees=True) for axis, angle in (("z", 0), ("z", 22), ("x", 30))]
    atoms, _ = polycrystal(turns, np.array([[12.0, 12, 12], [42, 40, 15], [25, 45, 45]]), 60.0)
    atoms.rattle(noise_A, seed=seed)
    return atoms


def test_the_smallest_size_only_says_which_grains_are_shown():
    atoms = three_grains(0.15, 1)
    small = grains(atoms, min_anions=20)
    size = int(small.n_anions[1])
    large, shown = grains(atoms, min_anions=size), small.n_anions >= size
    assert shown.tolist() == [True, True, False]
    assert large.n_anions.tolist() == small.n_anions[shown].tolist()
    assert np.array_equal(large.label, np.where(small.label <= shown.sum(), small.label, 0))
    assert large.counts == small.counts == {at: int((small.n_anions >= at).sum()) for at in (20, 50, 100, 200, 500)}
    assert large.merge_threshold == small.merge_threshold > 5


@pytest.mark.parametrize("threshold", [12.0, 16.0])
def test_a_fixed_merge_threshold_finds_the_same_grains_with_any_thermal_noise(threshold):
    for seed in range(4):
        found = grains(three_grains(0.2, seed), merge_threshold=threshold)
        assert len(found.n_anions) == 3
        assert found.merge_threshold == threshold


def test_a_threshold_below_the_size_of_a_grain_cuts_it_to_pieces():
    # 864 anions: log2 is 9.8
    atoms = rocksalt("GeSb2Te4", (6, 6, 6))
    atoms.rattle(0.15, seed=1)
    assert len(grains(atoms, 20, merge_threshold=7.0).n_anions) > 3
    assert len(grains(atoms, 20, merge_threshold=11.0).n_anions) == 1


def test_misorientation_knows_the_symmetry_of_the_cube():
    turn = Rotation.from_euler("z", [[90], [10], [50], [45]], degrees=True).as_quat()
    none = np.tile([0.0, 0, 0, 1], (4, 1))
    assert misorientation_deg(none, turn) == pytest.approx([0, 10, 40, 45], abs=1e-5)


def test_disorder_has_no_grain_and_a_nucleus_stays_small():
    rng = np.random.default_rng(2)
    atoms = rocksalt("GeSb2Te4", (8, 8, 8))
    away = np.linalg.norm(atoms.positions - 4 * A, axis=1)
    shaken = away > 14.0
    atoms.positions[shaken] += rng.normal(0, 1.2, (int(shaken.sum()), 3))
    found = grains(atoms, min_anions=50)
    assert len(found.n_anions) == 1
    assert found.n_atoms[0] <= (~shaken).sum()
    atoms.positions += rng.normal(0, 1.2, (len(atoms), 3))
    found = grains(atoms, min_anions=50)
    assert len(found.n_anions) == 0
    assert found.label.max() == 0


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="too few"):
        grains(rocksalt("GeTe", (2, 2, 2)))
    broken = rocksalt("GeTe", (4, 4, 4))
    broken.positions[3, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        grains(broken)
