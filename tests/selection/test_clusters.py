"""Cells cut around atoms of a large frame: the surroundings stay, the seam is sound, the grade is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii

from gst_jobflow.base.errors import InputError
from gst_jobflow.selection.clusters import GAP_A, SHELL_A, Cluster, LargeFrame, centres, part_seam, seam_problem

if TYPE_CHECKING:
    from gst_jobflow.dynamics.deck import PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine

RADIUS_A = 5.0


def glass(rattle_A: float = 0.17, skewed: bool = False) -> Atoms:
    """1,200 atoms of a rattled crystal, whose cells do not fit to those that are cut."""
    atoms = bulk("SbTe", "rocksalt", a=5.7, cubic=True) * (5, 5, 6)
    atoms.rattle(rattle_A, seed=1)
    if skewed:
        atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.2, 1, 0], [-0.15, 0.1, 1]], scale_atoms=True)
    return atoms


def surroundings(atoms: Atoms, centre: int, radius_A: float) -> np.ndarray:
    """Atomic number and vector (n, 4) of all images within the radius, sorted by distance."""
    from matscipy.neighbours import neighbour_list

    i, j, vectors, d = neighbour_list("ijDd", atoms, radius_A)
    mine = i == centre
    rows = np.column_stack([atoms.numbers[j[mine]], vectors[mine]])
    return rows[np.argsort(d[mine])]


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("centre", [0, 617])
def test_surroundings_are_kept_and_no_contact_is_below_the_floor(skewed: bool, centre: int) -> None:
    atoms = glass(skewed=skewed)
    cluster = LargeFrame(atoms).cut(centre, RADIUS_A, max_atoms=200)
    kept = surroundings(atoms, centre, RADIUS_A + SHELL_A - 1e-6)
    np.testing.assert_allclose(surroundings(cluster.atoms, 0, RADIUS_A + SHELL_A - 1e-6), kept, atol=1e-9)
    assert cluster.n_core == len(kept) + 1
    assert len(cluster.atoms) <= 200
    assert seam_problem(cluster, RADIUS_A) == ""
    radii = covalent_radii[cluster.atoms.numbers]
    allowed = 0.8 * (radii[:, None] + radii)
    distances = cluster.atoms.get_all_distances(mic=True) + 10 * np.eye(len(cluster.atoms))
    assert (distances >= allowed)[cluster.n_core :].all()
    heights = 1 / np.linalg.norm(np.linalg.inv(cluster.atoms.cell.array), axis=0)
    assert heights.min() >= 2 * (RADIUS_A + SHELL_A) + GAP_A - 1e-9
    # about as dense as where it is from
    density = len(cluster.atoms) / cluster.atoms.cell.volume
    assert density == pytest.approx(len(atoms) / atoms.cell.volume, rel=0.1)


def test_a_direction_in_which_the_frame_is_narrow_keeps_its_period() -> None:
    slab = bulk("SbTe", "rocksalt", a=5.7, cubic=True) * (6, 6, 2)
    slab.rattle(0.2, seed=2)
    cluster = LargeFrame(slab).cut(40, RADIUS_A, max_atoms=300)
    np.testing.assert_allclose(cluster.atoms.cell.array[2], slab.cell.array[2])
    np.testing.assert_allclose(surroundings(cluster.atoms, 0, RADIUS_A), surroundings(slab, 40, RADIUS_A), atol=1e-9)


def test_one_of_two_overlapping_atoms_is_removed() -> None:
    atoms = glass(rattle_A=0.6)
    cluster = LargeFrame(atoms).cut(3, RADIUS_A, max_atoms=200)
    assert cluster.n_deleted > 0
    assert seam_problem(cluster, RADIUS_A) == ""
    kept = surroundings(atoms, 3, RADIUS_A)
    np.testing.assert_allclose(surroundings(cluster.atoms, 0, RADIUS_A), kept, atol=1e-9)


def test_a_cell_that_is_too_large_says_how_large() -> None:
    with pytest.raises(InputError, match=r"has \d+ atoms, 20 Å wide for a radius of 8 Å") as raised:
        LargeFrame(glass()).cut(0, 8.0, max_atoms=200)
    assert "--max-atoms" in raised.value.fix


def test_centres_have_the_largest_grades_and_are_apart() -> None:
    atoms = glass()
    gamma = np.zeros(len(atoms))
    near = int(np.argsort(atoms.get_distances(10, range(len(atoms)), mic=True))[1])
    gamma[[10, near, 600, 601, 700]] = [5.0, 4.0, 30.0, 3.0, 1.0]
    found = centres(atoms, gamma, (2.0, 25.0), RADIUS_A, 10)
    assert found[0] == 10 and near not in found and 601 in found
    assert 600 not in found and 700 not in found
    assert centres(atoms, gamma, (2.0, 25.0), RADIUS_A, 1) == [10]
    assert centres(atoms, gamma, (50.0, 60.0), RADIUS_A, 1) == []


def test_frozen_atoms_around_the_centre_do_not_count() -> None:
    atoms = glass()
    is_mobile = np.ones(len(atoms), bool)
    near = int(np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True))[1])
    far = int(np.argmax(atoms.get_distances(0, range(len(atoms)), mic=True)))
    is_mobile[[near, far]] = False
    cluster = LargeFrame(atoms, is_mobile).cut(0, RADIUS_A, max_atoms=200)
    (frozen,) = cluster.frozen
    expected = atoms.get_distance(0, near, mic=True, vector=True)
    np.testing.assert_allclose(cluster.atoms.positions[frozen] - cluster.atoms.positions[0], expected, atol=1e-9)
    gamma = np.full(len(cluster.atoms), 2.0)
    gamma[[0, frozen]] = 3.0, 9.0
    assert cluster.max_gamma(gamma) == 3.0
    # an atom of the seam moves when it is relaxed, so it counts
    gamma[-1] = 4.0
    assert part_seam(cluster).frozen == cluster.frozen and cluster.max_gamma(gamma) == 4.0


def test_an_unsound_seam_is_reported() -> None:
    cluster = LargeFrame(glass()).cut(0, RADIUS_A, max_atoms=200)
    moved = cluster.atoms.copy()
    moved.positions[-1] = moved.positions[0] + [0.5, 0.5, 0.5]
    assert "below the floor" in seam_problem(Cluster(moved, cluster.n_core, 0), RADIUS_A)
    assert "moved into" in seam_problem(Cluster(moved, cluster.n_core, 0), RADIUS_A, floor_A=0.1)


@pytest.mark.lammps
@pytest.mark.parametrize("skewed", [False, True])
def test_relaxing_moves_the_seam_alone_and_keeps_the_grade(
    engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path, skewed: bool
) -> None:
    from gst_jobflow.dynamics.single_point import single_points
    from gst_jobflow.selection.grade import gammas
    from gst_jobflow.selection.seam import relax_seam

    atoms = glass(skewed=skewed)
    in_frame = gammas(engine, tiny_potential, [atoms], tmp_path / "frame", ranks=2)[0]
    centre = int(in_frame.argmax())
    cut = LargeFrame(atoms).cut(centre, RADIUS_A, max_atoms=200)
    relaxed = relax_seam(engine, tiny_potential, cut, RADIUS_A, tmp_path / "relax")
    held = slice(0, cut.n_core)
    np.testing.assert_array_equal(relaxed.atoms.positions[held], cut.atoms.positions[held])
    before, after = single_points(engine, tiny_potential, [cut.atoms, relaxed.atoms], tmp_path / "points")
    assert after.energy_eV <= before.energy_eV
    seam = np.linalg.norm(after.forces_eV_A[cut.n_core :], axis=1)
    # the wall takes part in the minimisation, but holds few
    assert np.median(seam) <= 0.5 * np.sqrt(3)
    finished = part_seam(relaxed)
    assert seam_problem(finished, RADIUS_A) == ""
    in_cell = gammas(engine, tiny_potential, [finished.atoms], tmp_path / "cell")[0]
    assert in_cell[0] == pytest.approx(in_frame[centre], rel=1e-6)
