"""Bonds, angles, tetrahedra, straight triples and squares of cells with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.analysis.motifs import first_minima, mean_motifs, motifs
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.crystals import rocksalt, trigonal

GE_TE = {("Ge", "Ge"): np.nan, ("Ge", "Te"): 3.4, ("Te", "Te"): np.nan}


def around_ge(directions: list[tuple[float, float, float]], bond_A: float = 2.7) -> Atoms:
    arms = np.array(directions, dtype=float)
    arms *= bond_A / np.linalg.norm(arms, axis=1)[:, None]
    return Atoms(f"GeTe{len(arms)}", positions=np.vstack([np.zeros(3), arms]), cell=[30] * 3, pbc=False)


TETRAHEDRON = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
X, Y, Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)
OCTAHEDRON = [X, Y, Z, (-1, 0, 0), (0, -1, 0), (0, 0, -1)]


@pytest.mark.parametrize(
    ("directions", "q"),
    [
        (TETRAHEDRON, 1.0),
        # two corners of an octahedron missing: opposite ones leave a square (four cosines 0, two −1), neighbouring
        # ones a see-saw (five 0, one −1)
        ([X, Y, OCTAHEDRON[3], OCTAHEDRON[4]], 1 - 3 / 8 * (4 / 9 + 2 * 4 / 9)),
        ([X, Y, Z, OCTAHEDRON[3]], 1 - 3 / 8 * (5 / 9 + 4 / 9)),
    ],
)
def test_q_of_four_neighbours(directions, q):
    found = motifs(around_ge(directions), GE_TE)
    assert found.q4["Ge"] == pytest.approx([q])
    assert found.tetrahedral_share["Ge"] == (1.0 if q > 0.8 else 0.0)


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_only_four_fold_atoms_are_tetrahedral(missing):
    found = motifs(around_ge(OCTAHEDRON[missing:]), GE_TE)
    assert len(found.q4["Ge"]) == 0
    assert found.tetrahedral_share["Ge"] == 0.0
    assert found.coordination["Ge", "Te"] == 6 - missing


def test_rock_salt_has_six_neighbours_right_angles_and_three_squares_a_pair():
    atoms = rocksalt("GeTe", (2, 2, 2), 6.0)
    found = motifs(atoms, GE_TE)
    assert found.coordination == {("Ge", "Ge"): 0, ("Ge", "Te"): 6, ("Te", "Ge"): 6, ("Te", "Te"): 0}
    assert found.homopolar_share == 0.0
    # 12 angles of 90° and 3 of 180° around each atom; one square a face of each cube, 3 an edge pair
    peaks = dict(zip(found.angle_deg.tolist(), (found.angle_density["Ge"] * 2.0).tolist(), strict=True))
    assert sum(share for angle, share in peaks.items() if 88 < angle < 92) == pytest.approx(0.8)
    assert sum(share for angle, share in peaks.items() if angle > 178) == pytest.approx(0.2)
    assert found.squares_per_atom == pytest.approx(1.5 * 2)
    assert found.bond_length_ratio == pytest.approx(1.0)
    assert found.density_per_A3 == pytest.approx(8 / 216)


@pytest.mark.parametrize(("short", "long"), [(2.72, 2.72), (2.72, 3.26), (2.83, 3.54)])
def test_the_ratio_of_a_chain_is_that_of_its_bonds(short, long):
    n = 20
    positions = np.array([[0, 0, (i // 2) * (short + long) + (i % 2) * short] for i in range(n)])
    chain = Atoms(["Ge", "Te"] * (n // 2), positions=positions, cell=[30, 30, n / 2 * (short + long)], pbc=True)
    found = motifs(chain, {**GE_TE, ("Ge", "Te"): 3.6})
    assert found.bond_length_ratio == pytest.approx(long / short)
    assert np.allclose(found.altbc, found.altbc.T)
    edge = np.searchsorted(found.altbc_A, [short + 1e-6, long + 1e-6]) - 1
    assert found.altbc[edge[0], edge[1]] > 0
    assert np.count_nonzero(found.altbc) <= 2


def test_homopolar_bonds_are_counted_once_each():
    atoms = Atoms("Ge2Te", positions=[[5, 5, 5], [7.5, 5, 5], [5, 7.7, 5]], cell=[20] * 3, pbc=True)
    found = motifs(atoms, {**GE_TE, ("Ge", "Ge"): 3.0})
    assert found.homopolar_share == pytest.approx(0.5)
    assert found.coordination["Ge", "Ge"] == 1.0
    assert found.coordination["Te", "Ge"] == 1.0


def test_wrapped_turned_leaning_and_repeated_cells_have_the_same_motifs():
    atoms = bulk("GeTe", "rocksalt", a=6.0) * (3, 3, 3)
    atoms.rattle(0.25, seed=3)
    base = motifs(atoms, GE_TE)
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    moved = atoms.copy()
    moved.positions += [1.0, -20.0, 7.0]
    moved.wrap()
    leaning = atoms.copy()
    # another cell of the same lattice
    leaning.set_cell(atoms.cell.array + np.array([[0, 0, 0], atoms.cell[0], 2 * atoms.cell[0]]))
    for other in (turned, moved, leaning, atoms * (2, 1, 1)):
        found = motifs(other, GE_TE)
        assert found.coordination == pytest.approx(base.coordination)
        assert found.bond_length_ratio == pytest.approx(base.bond_length_ratio)
        assert found.squares_per_atom == pytest.approx(base.squares_per_atom)
        assert found.tetrahedral_share == pytest.approx(base.tetrahedral_share)
        assert found.ring_share == pytest.approx(base.ring_share)


def open_ring(n: int, bond_A: float = 2.8) -> Atoms:
    angle = 2 * np.pi * np.arange(n) / n
    radius = bond_A / (2 * np.sin(np.pi / n))
    places = radius * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]) + 15
    return Atoms(["Ge", "Te"] * (n // 2) + ["Te"] * (n % 2), positions=places, cell=[30] * 3)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8, 10])
def test_a_ring_is_as_large_as_it_is(n):
    cutoffs = {("Ge", "Ge"): np.nan, ("Ge", "Te"): 3.0, ("Te", "Te"): 3.0}
    found = motifs(open_ring(n), cutoffs)
    size = n if n <= 8 else 0
    assert {each for each, share in found.ring_share.items() if share} == {size}
    assert found.squares_per_atom * n == (1 if n == 4 else 0)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 2, 2)])
def test_rings_of_rock_salt(repeat):
    # 12 right angles close squares; of 3 straight ones the shortest way around has six atoms
    found = motifs(rocksalt("GeTe", repeat, 6.0), GE_TE)
    assert found.ring_share[4] == pytest.approx(0.8)
    assert found.ring_share[6] == pytest.approx(0.2)
    assert found.squares_per_atom == pytest.approx(3.0)


def test_all_rings_of_zincblende_have_six_atoms():
    found = motifs(bulk("GeTe", "zincblende", a=6.0), GE_TE)
    assert {size: share for size, share in found.ring_share.items() if share} == {6: 1.0}
    assert found.tetrahedral_share == {"Ge": 1.0, "Te": 1.0}


def test_a_chain_through_the_cell_is_no_ring():
    chain = Atoms("GeTe", positions=[[0, 0, 0], [0, 0, 3.0]], cell=[20, 20, 6.0], pbc=True)
    assert motifs(chain, GE_TE).ring_share[0] == 1.0


def test_rings_and_squares_of_a_disordered_cluster_are_those_of_graph_theory():
    from scipy.sparse.csgraph import shortest_path

    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True) * (2, 2, 2)
    atoms.rattle(0.5, seed=4)
    atoms.pbc = False
    atoms.center(vacuum=5.0)
    distance = atoms.get_all_distances()
    anion = np.array(atoms.get_chemical_symbols()) == "Te"
    linked = (distance < 3.4) & (anion[:, None] != anion)
    expected = np.zeros(9)
    for atom in range(len(atoms)):
        rest = linked.copy()
        rest[atom] = rest[:, atom] = False
        path = shortest_path(rest.astype(float), unweighted=True)
        near = np.flatnonzero(linked[atom])
        for i, one in enumerate(near):
            for other in near[i + 1 :]:
                size = path[one, other] + 2
                expected[int(size) if size <= 8 else 0] += 1
    found = motifs(atoms, GE_TE)
    assert [found.ring_share.get(size, 0.0) for size in range(9)] == pytest.approx(expected / expected.sum())
    shared = linked[~anion][:, anion].astype(int)
    k = np.triu(shared @ shared.T, 1)
    assert found.squares_per_atom * len(atoms) == pytest.approx((k * (k - 1) / 2).sum())


def test_means_over_frames_are_those_of_the_frames():
    frames = []
    for seed in range(12):
        atoms = bulk("GeTe", "rocksalt", a=6.0) * (3, 3, 3)
        atoms.rattle(0.35, seed=seed)
        frames.append(atoms)
    each = [motifs(atoms, GE_TE) for atoms in frames]
    found = mean_motifs(iter(frames), GE_TE)
    for name in ("coordination_Ge_Te", "ring_share_4", "bond_length_ratio"):
        values = [one.numbers[name] for one in each]
        assert found[name].value == pytest.approx(np.mean(values))
        assert found[name].error == pytest.approx(np.std(values, ddof=1) / np.sqrt(12))
    assert found["angles_Te"].value == pytest.approx(np.mean([one.angle_density["Te"] for one in each], axis=0))
    assert found["altbc"].error.shape == each[0].altbc.shape
    assert np.isnan(mean_motifs(frames[:9], GE_TE)["squares_per_atom"].error)
    with pytest.raises(DataError, match="other elements"):
        mean_motifs([bulk("Te", "sc", a=3.0), frames[0]], GE_TE)
    with pytest.raises(InputError, match="no frame"):
        mean_motifs([], GE_TE)


def test_bonds_end_between_the_shells_of_a_crystal():
    atoms = trigonal("Sb2Te3", (3, 2, 1))
    atoms.rattle(0.1, seed=1)
    ends = first_minima(radial_distribution([atoms], 8.0))
    # bonds of 2.98 and 3.17 Å; the next Sb–Te distance is above 4.5 Å
    assert 3.4 < ends["Sb", "Te"] <= 4.2
    assert np.isnan(ends["Sb", "Sb"])
    found = motifs(atoms, {**ends, ("Te", "Te"): np.nan})
    assert found.coordination["Sb", "Te"] == pytest.approx(6.0, abs=0.01)


def test_uncorrelated_atoms_have_no_first_minimum():
    rng = np.random.default_rng(0)
    frames = (Atoms("Ge500Te500", rng.random((1000, 3)) * 30, cell=[30] * 3, pbc=True) for _ in range(6))
    ends = first_minima(radial_distribution(frames, 8.0, 0.1))
    assert all(np.isnan(r) for r in ends.values())


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="Ge-Te"):
        motifs(rocksalt("GeTe", (1, 1, 1)), {("Ge", "Ge"): 3.0, ("Te", "Te"): 3.0})
    broken = rocksalt("GeTe", (1, 1, 1))
    broken.positions[0] = np.inf
    with pytest.raises(DataError, match="finite"):
        motifs(broken, GE_TE)
