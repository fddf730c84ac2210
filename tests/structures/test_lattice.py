"""Lattice vectors."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.structures.lattice import right_handed


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [1, 0, 2], [2, 1, 0]])
def test_a_right_handed_cell_has_the_same_atoms_and_images(order: list[int]) -> None:
    cell, pbc = np.array([[6.0, 0, 0], [1, 7, 0], [0.5, 1, 8]]), np.array([True, True, False])
    atoms = Atoms("SbTe", positions=[[0, 0, 0], [3, 0.1, 0.2]], cell=cell[order], pbc=pbc[order])
    turned = right_handed(atoms)
    assert turned.cell.handedness == 1
    np.testing.assert_array_equal(turned.positions, atoms.positions)
    of_each = {tuple(vector): periodic for vector, periodic in zip(turned.cell.array, turned.pbc, strict=True)}
    assert of_each == {tuple(vector): periodic for vector, periodic in zip(cell, pbc, strict=True)}
