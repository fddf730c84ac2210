"""Kicks: LAMMPS against numpy, and what the reference itself guarantees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ase import units
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.dynamics.deck import KICKS_FILE
from gst_jobflow.dynamics.dump import iter_frames
from gst_jobflow.dynamics.log import FINISHED_WORD
from gst_jobflow.dynamics.protocol import write_start
from gst_jobflow.dynamics.pulse import (
    cool_kick,
    cool_setup,
    kick_energy_eV,
    kick_steps,
    kick_variables,
    profile_weights,
    pulse_kick,
    pulse_setup,
)
from gst_jobflow.dynamics.series import read_kicks
from gst_jobflow.dynamics.stages import Cool, Dome, Expression, LinearZ, Pulse, Slices, Uniform
from scripts._tiny_potential import ELEMENTS, soft_crystal
from tests.dynamics.kick_reference import cool_target_K, kick_velocities, kinetic_energy_eV

PROFILES = st.one_of(
    st.just(Uniform()),
    st.builds(LinearZ, bottom_A=st.just(-1.0), top_A=st.just(41.0), floor=st.floats(0.0, 1.0)),
    # no atom is further than 60 Å from the centre
    st.builds(Dome, diameter_A=st.floats(120.0, 200.0), centre_A=st.just((20.0, None, 0.0)), edge_A=st.floats(0, 60.0)),
    st.builds(
        Expression,
        formula=st.sampled_from(["exp(-(x-lx/2)^2/100)", "where(z<20 and x>=0, 2-z/20, 0.1)", "max(x,lz-z)/pi+1"]),
    ),
)


def heights(z) -> np.ndarray:
    return np.column_stack([np.zeros(len(z)), np.zeros(len(z)), z])


def _kicked_by_lammps(engine, folder, commands: list[str]):
    """Return velocities and masses before commands, and velocities after them."""
    atoms = soft_crystal((2, 2, 2))
    atoms.set_velocities(np.random.default_rng(3).normal(0, 3.0, (len(atoms), 3)) * units.Ang / (1e3 * units.fs))
    write_start(folder / "start.data", atoms, ELEMENTS)
    row = "id type x y z vx vy vz modify sort id append yes format float %.15g"
    deck = [
        "units metal", "atom_style atomic", "atom_modify map yes", "read_data start.data", "pair_style zero 5.0",
        "pair_coeff * *", "group mobile union all", *kick_variables("mobile", 3), "variable kick loop 1 1", "run 0",
        f"write_dump all custom all.dump {row}", *commands, f"write_dump all custom all.dump {row}",
        f'print "{FINISHED_WORD} step 0"',
    ]  # fmt: skip
    engine.run("\n".join(deck) + "\n", folder).require_success()
    before, after = iter_frames(folder / "all.dump")
    masses = np.array([121.76, 127.6])[before.types - 1]
    return before, masses, *(np.stack([f.extra[f"v{x}"] for x in "xyz"], axis=1) for f in (before, after))


@pytest.mark.lammps
@pytest.mark.parametrize(
    "profile",
    [
        Uniform(),
        LinearZ(bottom_A=0, top_A=10),
        Dome(diameter_A=12, centre_A=(6.0, None, 0.0), edge_A=2.0),
        Expression(formula="exp(-z/5)"),
    ],
)
def test_a_kick_of_lammps_is_that_of_the_reference(engine, tmp_path, profile):
    pulse = Pulse(energy_eV=20, duration_ps=4, profile=profile)
    commands = [*pulse_setup(pulse), *pulse_kick(pulse, 1, 2.0, KICKS_FILE)]
    frame, masses, before, after = _kicked_by_lammps(engine, tmp_path, commands)
    weights = profile_weights(profile, frame.positions, frame.cell.diagonal())
    np.testing.assert_allclose(after, kick_velocities(before, masses, weights, 10.0), atol=1e-8)


@pytest.mark.lammps
@pytest.mark.parametrize("rate_K_ps", [None, 100.0, 1e4])
@pytest.mark.parametrize("slices", [None, Slices(count=1)])
def test_a_cooling_kick_of_lammps_sets_the_temperature_of_the_reference(engine, tmp_path, rate_K_ps, slices):
    cool = Cool(end_K=300, duration_ps=8, rate_K_ps=rate_K_ps, slices=slices)
    commands = [*cool_setup(cool), *cool_kick(cool, 1, 4, KICKS_FILE)]
    _, masses, before, after = _kicked_by_lammps(engine, tmp_path, commands)
    kicks = read_kicks(tmp_path / KICKS_FILE)
    wanted_K = cool_target_K(kicks["temp_before_K"][0], 300.0, 4, None if rate_K_ps is None else 2 * rate_K_ps)
    # a slice counts all of its degrees of freedom, the whole group three less
    tolerance = 1e-6 if slices is None else 0.03
    assert kicks["temp_after_K"][0] == pytest.approx(wanted_K, rel=tolerance)
    ratio = kinetic_energy_eV(after, masses) / kinetic_energy_eV(before, masses)
    assert ratio == pytest.approx(kicks["temp_after_K"][0] / kicks["temp_before_K"][0], rel=1e-6)


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("profile", "scale", "said"),
    [(Uniform(), 0.0, "atoms at rest"), (Dome(diameter_A=1, centre_A=(99.0, 99.0, 99.0)), 1.0, "heats no atom")],
)
def test_atoms_at_rest_and_profiles_that_miss_the_cell_are_refused(engine, tmp_path, profile, scale, said):
    pulse = Pulse(energy_eV=20, duration_ps=4, profile=profile)
    rest = ["velocity all set 0.0 0.0 0.0"] if scale == 0 else []
    with pytest.raises(RunError, match=said):
        _kicked_by_lammps(engine, tmp_path, [*rest, *pulse_setup(pulse), *pulse_kick(pulse, 1, 2.0, KICKS_FILE)])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(3, 60), energy=st.floats(1e-3, 500.0), profile=PROFILES)
def test_a_kick_adds_what_was_asked_and_leaves_no_momentum(seed, n, energy, profile):
    rng = np.random.default_rng(seed)
    velocities, masses = rng.normal(0, 3.0, (n, 3)), rng.uniform(70, 130, n)
    weights = profile_weights(profile, rng.uniform(0, 40, (n, 3)), np.full(3, 40.0))
    after = kick_velocities(velocities, masses, weights, energy)
    added = kinetic_energy_eV(after, masses) - kinetic_energy_eV(velocities, masses)
    # both sums carry rounding of the kinetic energy itself
    assert added == pytest.approx(energy, rel=1e-9, abs=1e-12)
    assert np.abs(masses @ after).max() < 1e-8 * np.sum(masses * np.linalg.norm(after, axis=1))


def test_the_linear_profile_is_hottest_at_the_bottom_and_held_outside():
    weights = profile_weights(LinearZ(bottom_A=10, top_A=30), heights([0.0, 10.0, 20.0, 30.0, 99.0]))
    np.testing.assert_allclose(weights, [1.0, 1.0, 0.5, 0.0, 0.0])
    weights = profile_weights(LinearZ(bottom_A=10, top_A=30, floor=0.2), heights([10.0, 20.0, 40.0]))
    np.testing.assert_allclose(weights, [1.0, 0.6, 0.2])


def test_a_dome_heats_what_is_within_its_radius_and_nothing_else():
    positions = np.array([[50, 0, 0], [50, 99, 19], [65, 3, 15], [50, 0, 21.0]])
    half_disc = Dome(diameter_A=40, centre_A=(50, None, 0))
    np.testing.assert_array_equal(profile_weights(half_disc, positions), [1, 1, 0, 0])
    half_ball = Dome(diameter_A=40, centre_A=(50, 0, 0))
    np.testing.assert_array_equal(profile_weights(half_ball, positions), [1, 0, 0, 0])
    with_edge = Dome(diameter_A=40, centre_A=(50, None, 0), edge_A=4)
    np.testing.assert_allclose(profile_weights(with_edge, positions), [1, 0.25, 0, 0], atol=1e-12)


@pytest.mark.parametrize("formula", ["z-20", "1/(x-x)", "sqrt(z-20)"])
def test_a_formula_that_is_negative_or_undefined_at_an_atom_is_refused(formula):
    with pytest.raises(InputError, match=r"negative or undefined at [12] of 2 atoms"):
        profile_weights(Expression(formula=formula), heights([10.0, 30.0]))


def test_energy_follows_the_weights():
    rng = np.random.default_rng(0)
    velocities, masses = rng.normal(0, 3.0, (40_000, 3)), np.full(40_000, 100.0)
    weights = np.repeat([1.0, 3.0], 20_000)
    after = kick_velocities(velocities, masses, weights, 2000.0)
    gain = [
        kinetic_energy_eV(after[half], masses[half]) - kinetic_energy_eV(velocities[half], masses[half])
        for half in (slice(0, 20_000), slice(20_000, None))
    ]
    # removing the little net momentum of so many atoms moves the shares by far less
    assert gain[1] / gain[0] == pytest.approx(3.0, rel=1e-2)


def test_kicks_start_intervals_when_heating_and_end_them_when_cooling():
    assert kick_steps(Pulse(energy_eV=9, duration_ps=6), 100, 2.0) == [100, 1100, 2100]
    assert kick_steps(Cool(end_K=300, duration_ps=6), 100, 2.0) == [1100, 2100, 3100]
    assert kick_energy_eV(Pulse(energy_eV=9, duration_ps=6), 2.0) == 3.0


@given(now=st.floats(1.0, 5000.0), end=st.floats(1.0, 1000.0), n=st.integers(1, 100))
def test_cooling_ends_where_it_should_and_never_heats_before_its_last_kick(now, end, n):
    path = [now]
    for left in range(n, 0, -1):
        path.append(cool_target_K(path[-1], end, left))
    assert path[-1] == end
    assert all(t > 0 for t in path)
    assert all(b <= a for a, b in pairwise(path[:-1]))


def test_cooling_at_a_rate_falls_by_it_and_stays_at_the_end():
    temperature, before = 1500.0, []
    for left in range(20, 0, -1):
        before.append(temperature)
        after = cool_target_K(temperature, 300.0, left, fall_K=100.0)
        temperature = after + 0.5 * (temperature - after)
    np.testing.assert_allclose(before[:12], np.arange(1500, 300, -100))
    np.testing.assert_allclose(before[12:], [300 + 100 * 0.5**k for k in range(1, 9)])
    assert after == 300.0


def test_cooling_with_equipartition_is_a_straight_line_to_the_end():
    temperature, before = 1500.0, []
    for left in range(5, 0, -1):
        before.append(temperature)
        after = cool_target_K(temperature, 300.0, left)
        # half of what was taken out comes back from the potential energy
        temperature = after + 0.5 * (temperature - after)
    np.testing.assert_allclose(before, [1500, 1300, 1100, 900, 700])
    assert after == 300.0
