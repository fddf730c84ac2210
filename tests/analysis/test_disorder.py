"""Maps of order, and the size of what is disordered."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.analysis.disorder import largest_region, order_map
from gst_jobflow.base.errors import InputError


def crystal() -> Atoms:
    """120 x 12 x 60 Å of rock-salt, one cell a square."""
    return bulk("GeTe", "rocksalt", a=6.0, cubic=True) * (20, 2, 10)


def half_disc(atoms: Atoms, x_A: float, radius_A: float) -> np.ndarray:
    """Mask of the atoms outside of a half-disc on the bottom, x periodic."""
    away = atoms.positions[:, 0] + 0.01 - x_A
    away -= 120.0 * np.round(away / 120.0)
    return np.hypot(away, atoms.positions[:, 2]) > radius_A


@pytest.mark.parametrize("x_A", [60.0, 0.0, 118.0])
def test_a_half_disc_is_found_with_its_size_also_across_the_boundary(x_A: float) -> None:
    atoms = crystal()
    mask = half_disc(atoms, x_A, 30.0)
    found = largest_region(order_map(atoms, mask, np.arange(len(atoms))))
    # to a square on either side
    assert found.diameter_A == pytest.approx(60.0, abs=4)
    assert found.width_A == pytest.approx(60.0, abs=12)
    assert found.height_A == pytest.approx(30.0, abs=6)
    assert found.n_atoms == pytest.approx(np.sum(~mask), rel=0.1)


def test_the_largest_of_several_counts_and_single_atoms_do_not() -> None:
    atoms = crystal()
    mask = half_disc(atoms, 30.0, 24.0) & half_disc(atoms, 90.0, 15.0)
    mask[np.random.default_rng(1).integers(len(mask), size=60)] = False
    found = largest_region(order_map(atoms, mask, np.arange(len(atoms))))
    assert found.diameter_A == pytest.approx(48.0, abs=4)


def test_planes_beside_a_barrier_belong_to_no_dome() -> None:
    atoms = crystal()
    mask = half_disc(atoms, 60.0, 30.0) & (atoms.positions[:, 2] > 5.0)
    found = largest_region(order_map(atoms, mask, np.arange(len(atoms))))
    assert found.width_A == pytest.approx(60.0, abs=12) and found.diameter_A == pytest.approx(60.0, abs=4)
    assert largest_region(order_map(atoms, atoms.positions[:, 2] > 5.0, np.arange(len(atoms)))).n_atoms == 0


def test_a_cell_that_is_molten_throughout_is_one_region() -> None:
    atoms = crystal()
    found = largest_region(order_map(atoms, np.zeros(len(atoms), bool), np.arange(len(atoms))))
    assert found.n_atoms == len(atoms)


def test_a_crystal_has_no_disordered_region() -> None:
    atoms = crystal()
    assert largest_region(order_map(atoms, np.ones(len(atoms), bool), np.arange(len(atoms)))).n_atoms == 0


def test_squares_outside_of_the_group_are_empty() -> None:
    atoms = crystal()
    group = np.flatnonzero(atoms.positions[:, 2] < 30.0 - 0.01)
    order = order_map(atoms, np.ones(len(atoms), bool), group)
    assert order.fraction.shape == (20, 10)
    assert np.all(order.fraction[:, :5] == 1.0) and np.all(np.isnan(order.fraction[:, 5:]))


def test_what_cannot_be_mapped_is_refused() -> None:
    atoms = crystal()
    with pytest.raises(InputError, match="bins of 0"):
        order_map(atoms, np.ones(len(atoms)), np.arange(len(atoms)), bin_A=0)
    atoms.set_cell([[120, 0, 0], [5, 12, 0], [0, 0, 60]])
    with pytest.raises(InputError, match="orthogonal"):
        order_map(atoms, np.ones(len(atoms)), np.arange(len(atoms)))
