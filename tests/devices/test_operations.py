"""What operations of a cell mean in molecular dynamics."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from gst_jobflow.base.energy import EV_PER_PJ
from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec
from gst_jobflow.devices.heating import Geometry, geometry_of_spec, temperature_K
from gst_jobflow.devices.operations import Read, Reset, Rest, Set, on_cell, profile_of

GRID = np.stack(np.meshgrid(*[np.arange(2.0, size, 4.0) for size in (200, 40, 100)], indexing="ij"), -1).reshape(-1, 3)
CELL = Geometry(np.array([200.0, 40.0, 120.0]), (2.0, 98.0), len(GRID), lambda: iter([GRID[:7000], GRID[7000:]]))
SLAB = Geometry(CELL.edges_A, CELL.z_range_A, CELL.n_mobile, CELL.positions, depth_is_thin=True)


def reset(**changes: object) -> Reset:
    given = {"energy_eV_per_atom": 0.5, "pulse_ps": 10, "cool_ps": 40}
    return Reset(**{key: value for key, value in (given | changes).items() if value is not None})


def test_a_reset_gives_its_energy_to_the_mobile_atoms_and_cools() -> None:
    pulse, cool = on_cell(reset(energy_eV_per_atom=0.749), CELL).stages
    assert pulse.energy_eV == pytest.approx(0.749 * len(GRID))
    assert (pulse.profile.bottom_A, pulse.profile.top_A) == (2.0, 98.0)
    assert (cool.end_K, cool.duration_ps) == (300.0, 40)
    assert cool.slices.by == "z" and cool.slices.count == 6
    assert on_cell(reset(energy_eV_per_atom=0.749), CELL).duration_ps == 50
    assert on_cell(reset(cool="uniform"), CELL).stages[1].slices is None


def test_picojoules_are_the_whole_pulse() -> None:
    assert pytest.approx(6.241509e6) == EV_PER_PJ
    pulse, _ = on_cell(reset(energy_eV_per_atom=None, energy_pJ=0.001), CELL).stages
    assert pulse.energy_eV == pytest.approx(6241.509, rel=1e-6)


def test_a_dome_counts_the_atoms_that_it_heats() -> None:
    dome = reset(profile="dome", diameter_A=120)
    n_heated = on_cell(dome, SLAB).heated.n_atoms
    # half a disc of 60 Å, 40 Å deep, an atom every 64 Å^3
    assert n_heated == pytest.approx(np.pi / 2 * 60**2 * 40 / 64, rel=0.05)
    pulse, cool = on_cell(dome, SLAB).stages
    assert pulse.energy_eV == pytest.approx(0.5 * n_heated)
    assert pulse.profile.centre_A == (100.0, None, 2.0)
    assert (cool.slices.by, cool.slices.centre_A) == ("distance", (100.0, None, 2.0))
    # as far as the dome is wide, and what lies beyond
    assert cool.slices.width_A * (cool.slices.count - 1) == pytest.approx(120)
    ball = profile_of(reset(profile="dome", diameter_A=30), CELL)
    assert ball.centre_A == (100.0, 20.0, 2.0)


def test_the_papers_energies_per_atom_follow_from_its_picojoules() -> None:
    cross_point, mushroom = geometry_of_spec(CrossPointSpec.paper()), geometry_of_spec(MushroomSpec.paper())
    total = on_cell(reset(energy_eV_per_atom=None, energy_pJ=0.064), cross_point).energy_eV
    # 0.749 eV for each of the 532,980 atoms, of which the barrier takes no part
    assert total / 532_980 == pytest.approx(0.749, abs=0.001)
    assert 0.749 < total / cross_point.n_mobile < 0.85
    for energy, diameter_A in ((0.011, 500), (0.022, 700)):
        dome = reset(energy_eV_per_atom=None, energy_pJ=energy, profile="dome", diameter_A=diameter_A)
        n_heated = on_cell(dome, mushroom).heated.n_atoms
        # the derived 0.42 to 0.43 eV an atom are of a slab of 5 nm with 34 atoms a nm^3
        assert on_cell(dome, mushroom).energy_eV / n_heated == pytest.approx(0.42, abs=0.04)


def test_cooling_at_a_rate_has_the_time_that_the_energy_needs() -> None:
    _, cool = on_cell(reset(cool_ps=None, cool_rate_K_ps=50), CELL).stages
    fall_K = temperature_K(0.5, 0.0)
    assert fall_K == pytest.approx(1934, rel=1e-3)
    assert cool.rate_K_ps == 50
    assert fall_K / 50 < cool.duration_ps < 1.5 * fall_K / 50
    assert cool.duration_ps / cool.every_ps == pytest.approx(round(cool.duration_ps / cool.every_ps), abs=1e-6)


def test_stages_of_formula_set_hold_and_read() -> None:
    pulse, _ = on_cell(reset(profile="expression", formula="exp(-z/20)"), CELL).stages
    assert pulse.profile.formula == "exp(-z/20)"
    assert on_cell(reset(profile="uniform"), CELL).stages[0].profile.kind == "uniform"
    assert on_cell(Set(temperature_K=600, duration_ps=20), CELL).stages[0].temperature_K == 600
    assert [stage.kind for stage in on_cell(Rest(duration_ps=2, relax=True), CELL).stages] == ["relax", "hold"]
    (hold,) = on_cell(Read(duration_ps=2), CELL).stages
    assert (hold.kind, hold.temperature_K) == ("hold", 300.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy_eV_per_atom": 0}, "0 eV/atom is 0 eV per heated atom"),
        ({"energy_eV_per_atom": -1}, "means -3,568 K"),
        ({"energy_eV_per_atom": 100}, "100 eV per heated atom, which means 387,"),
        ({"energy_eV_per_atom": None, "energy_pJ": -0.1}, "-0.1 pJ"),
        ({"energy_eV_per_atom": None}, "either energy_eV_per_atom or energy_pJ"),
        ({"energy_pJ": 1.0}, "either energy_eV_per_atom or energy_pJ"),
        ({"cool_ps": None}, "either cool_ps or cool_rate_K_ps"),
        ({"profile": "dome"}, "diameter_A belongs to profile 'dome'"),
        ({"diameter_A": 10}, "diameter_A belongs to profile 'dome'"),
        ({"profile": "expression"}, "formula belongs"),
        ({"profile": "expression", "formula": "import os"}, "not a formula"),
        ({"enery_pJ": 1.0}, "did you mean 'energy_pJ'"),
    ],
)
def test_an_impossible_pulse_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValidationError, InputError), match=message):
        reset(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"energy_eV_per_atom": None, "energy_pJ": 1.0},
            r"1 pJ on 12,500 atoms is 499.* eV per heated atom, which means",
        ),
        ({"profile": "dome", "diameter_A": 201}, "reaches out of the cell, which is 200.0 Å along x"),
        ({"profile": "dome", "diameter_A": 196}, "between 2.0 and 98.0 Å"),
        ({"profile": "dome", "diameter_A": 40, "edge_A": 30}, "exceeds the dome's radius"),
        ({"profile": "expression", "formula": "z-50"}, "negative or undefined"),
        ({"profile": "expression", "formula": "0*z"}, "heats no atom"),
    ],
)
def test_a_pulse_that_does_not_fit_the_cell_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        on_cell(reset(**changes), SLAB)
