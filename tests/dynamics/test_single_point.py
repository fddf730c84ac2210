"""Energies and forces of LAMMPS come back in the frame of the structure, whatever its cell."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.single_point import measure_speed, single_points
from scripts._tiny_potential import soft_crystal


def cells() -> list[Atoms]:
    primitive = bulk("SbTe", "rocksalt", a=5.8)
    turned = bulk("SbTe", "rocksalt", a=5.8, cubic=True)
    turned.set_cell(turned.cell.array @ [[1, 0.1, 0.3], [0, 1, -0.2], [0.2, 0, 1]], scale_atoms=True)
    for seed, atoms in enumerate((primitive, turned)):
        atoms.rattle(0.1, seed=seed)
    return [primitive, turned]


@pytest.mark.lammps
@pytest.mark.parametrize("style", ["recursive", "product", "extrapolation"])
def test_energies_and_forces_match_pyace(style, engine, tiny_potential, tmp_path):
    from pyace import PyACECalculator

    structures = cells()
    found = single_points(engine, tiny_potential, structures, tmp_path, style)
    for atoms, point in zip(structures, found, strict=True):
        atoms.calc = PyACECalculator(tiny_potential.yace)
        # both are the same C++ on the same splines; the .yaml's splines are made anew
        assert point.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(point.forces_eV_A, atoms.get_forces(), atol=1e-6)


@pytest.mark.lammps
def test_a_measured_speed_names_its_conditions(engine, tiny_potential, tmp_path):
    cost = measure_speed(engine, tiny_potential, soft_crystal((2, 2, 2)), tmp_path, seconds=0.0)
    assert (cost.n_atoms, cost.n_steps, cost.ranks) == (64, 5, engine.ranks)
    assert cost.us_per_atom_step > 0 and cost.version


@pytest.mark.lammps
def test_the_grade_needs_its_files(engine, tiny_potential, tmp_path):
    bare = tiny_potential.model_copy(update={"asi": None})
    with pytest.raises(InputError, match=r"no \.yaml and \.asi"):
        single_points(engine, bare, cells(), tmp_path, "extrapolation")
