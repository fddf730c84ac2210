"""Radial distribution functions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.base.errors import DataError, InputError


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


def test_wrapped_turned_repeated_and_leaning_copies_have_the_same_distribution():
    atoms = bulk("GeTe", "rocksalt", a=6.0) * (3, 3, 3)
    atoms.rattle(0.25, seed=3)
    base = radial_distribution([atoms], cutoff_A=9.0)
    turned, moved, leaning = atoms.copy(), atoms.copy(), atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    moved.positions += [100.0, -20.0, 7.0]
    # another cell of the same lattice
    leaning.set_cell(atoms.cell.array + np.array([[0, 0, 0], atoms.cell[0], 2 * atoms.cell[0]]))
    for other in (turned, moved, leaning, atoms * (2, 1, 3)):
        found = radial_distribution([other], cutoff_A=9.0)
        for pair, g in base.partial.items():
            # a distance at the border of two bins may fall to either
            assert np.abs(np.cumsum(found.partial[pair] - g)).max() < 0.1


def test_errors_are_those_of_repeated_runs():
    rng = np.random.default_rng(1)

    def run() -> tuple[np.ndarray, np.ndarray]:
        cells = (Atoms("Te100", rng.random((100, 3)) * 15, cell=[15] * 3, pbc=True) for _ in range(20))
        found = radial_distribution(cells, cutoff_A=7.0, bin_A=1.0)
        return found.partial["Te", "Te"], found.error["Te", "Te"]

    values, errors = (np.array(each) for each in zip(*[run() for _ in range(100)], strict=True))
    assert np.sqrt(np.mean(errors**2, axis=0))[2:] == pytest.approx(values.std(axis=0)[2:], rel=0.3)


def test_nothing_to_average_is_refused():
    with pytest.raises(InputError, match="no frame"):
        radial_distribution([])
    with pytest.raises(InputError, match="do not fit"):
        radial_distribution([bulk("Te", "sc", a=3.0)], cutoff_A=1.0, bin_A=2.0)
    with pytest.raises(DataError, match="a frame has Te, the first Sb"):
        radial_distribution([bulk("Sb", "sc", a=3.0), bulk("Te", "sc", a=3.0)])
    broken = bulk("Te", "sc", a=3.0)
    broken.positions[0] = np.nan
    with pytest.raises(DataError, match="finite"):
        radial_distribution([broken])
