"""Relaxing cells under pressure: the same minimum as ASE with pyace finds, and what has no minimum is a result."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import RunError
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.relax import RelaxOptions, relax
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate
from scripts._tiny_potential import make_tiny_potential

pytestmark = pytest.mark.lammps


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> PotentialFiles:
    pytest.importorskip("pyace")
    return make_tiny_potential(tmp_path_factory.mktemp("hard"), 6.0)


def cells(number: int) -> list[Atoms]:
    spec = HardSphereSpec(formula="SbTe", n_atoms=8, volume_per_atom_A3=30.0, min_distance_A=2.6, seed=3)
    return [generate(spec, index) for index in range(number)]


def test_the_enthalpy_is_that_of_ase_with_pyace(engine: LammpsEngine, hard: PotentialFiles, tmp_path: Path) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS
    from pyace import PyACECalculator

    found = relax(engine, hard, cells(2), [8.0, 20.0], RelaxOptions(force_eV_A=0.01), tmp_path, n_processes=2)
    assert [each.state for each in found if each] == ["converged"] * 2
    for atoms, pressure_GPa, each in zip(cells(2), (8.0, 20.0), found, strict=True):
        atoms.calc = PyACECalculator(hard.yace)
        pressure = pressure_GPa * units.GPa
        LBFGS(FrechetCellFilter(atoms, scalar_pressure=pressure), logfile=os.devnull).run(fmax=0.01, steps=300)
        enthalpy = atoms.get_potential_energy() + pressure * atoms.get_volume()
        assert each is not None and each.frames[-1].info["enthalpy_eV"] == pytest.approx(enthalpy, abs=8e-3)


def test_what_has_no_minimum_is_a_result(engine: LammpsEngine, hard: PotentialFiles, tmp_path: Path) -> None:
    # a repulsive potential without pressure swells; under 10 TPa it collapses
    swollen, collapsed = relax(engine, hard, cells(2), [0.0, 1e4], RelaxOptions(steps=400), tmp_path)
    assert swollen is not None and swollen.state in ("swollen", "converged")
    assert collapsed is not None and collapsed.state == "collapsed" and " at " in collapsed.reason
    steps = [frame.info["step"] for frame in collapsed.frames]
    assert steps == sorted(steps) and all(step < collapsed.steps + 1 for step in steps)


def test_a_second_run_goes_on_with_what_is_left(engine: LammpsEngine, hard: PotentialFiles, tmp_path: Path) -> None:
    options = RelaxOptions(steps=20)
    over = Deadline(0.0, 1.0)
    assert relax(engine, hard, cells(3), [8.0] * 3, options, tmp_path, deadline=over) == [None] * 3
    first = relax(engine, hard, cells(3), [8.0] * 3, options, tmp_path)
    (tmp_path / "relaxed_1.json").unlink()
    kept = (tmp_path / "relaxed_0.json").stat().st_mtime_ns
    again = relax(engine, hard, cells(3), [8.0] * 3, options, tmp_path, n_processes=2)
    assert (tmp_path / "relaxed_0.json").stat().st_mtime_ns == kept
    for one, other in zip(first, again, strict=True):
        assert one is not None and other is not None and one.steps == other.steps
        np.testing.assert_array_equal(one.frames[-1].positions, other.frames[-1].positions)


def test_a_potential_that_cannot_be_read_is_an_error(
    engine: LammpsEngine, hard: PotentialFiles, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yace"
    broken.write_text("elements: [Sb, Te]\n")
    with pytest.raises(RunError, match="cannot be relaxed"):
        relax(engine, hard.model_copy(update={"yace": str(broken)}), cells(1), [1.0], RelaxOptions(), tmp_path / "run")
