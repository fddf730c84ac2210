"""What counts as a failure of a hot melt, and how sure a success fraction is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.evaluation.robustness import RobustnessPlan, interval, is_out_of_reach
from gst_jobflow.structures.floors import contacts
from gst_jobflow.structures.hard_sphere import generate


def wilson(successes: int, runs: int, z: float = 1.959964) -> tuple[float, float]:
    p = successes / runs
    centre = (p + z**2 / (2 * runs)) / (1 + z**2 / runs)
    half = z * math.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2)) / (1 + z**2 / runs)
    return centre - half, centre + half


@pytest.mark.parametrize(("successes", "runs"), [(70, 70), (10, 10), (0, 70), (3, 28), (14, 28)])
def test_the_interval_is_that_of_wilson(successes: int, runs: int) -> None:
    assert interval(successes, runs) == pytest.approx(wilson(successes, runs), abs=1e-6)


def test_the_default_plan_is_the_papers() -> None:
    plan = RobustnessPlan()
    assert (len(plan.compositions), plan.runs, plan.n_atoms) == (7, 10, 1000)
    (stage,) = plan.protocol("GeTe", 0).stages
    assert (stage.kind, stage.temperature_K, stage.duration_ps, plan.protocol("GeTe", 0).timestep_fs) == (
        "anneal",
        3000,
        500,
        2,
    )


def test_runs_have_starts_and_seeds_of_their_own_which_return() -> None:
    plan = RobustnessPlan(n_atoms=30)
    first, second = (generate(plan.start("Ge1Sb2Te4"), index) for index in (0, 1))
    assert not np.allclose(first.positions, second.positions)
    assert not np.allclose(first.positions, generate(plan.start("GeTe"), 0).positions)
    np.testing.assert_array_equal(first.positions, generate(plan.start("Ge1Sb2Te4"), 0).positions)
    assert plan.protocol("GeTe", 0).seed != plan.protocol("GeTe", 1).seed
    assert plan.protocol("GeTe", 0).seed != RobustnessPlan(seed=2).protocol("GeTe", 0).seed


def test_the_worst_contact_is_the_one_nearest_to_its_floor() -> None:
    plan = RobustnessPlan(floors_A={"Te-Ge": 2.0})
    # Ge-Te at 2.1 Å is nearer to its floor of 2.0 than Te-Te at 2.0 to 0.65 * 2.76 = 1.79
    atoms = Atoms("GeTeTeTe", [[0, 0, 0], [2.1, 0, 0], [0, 10, 0], [0, 12.0, 0]], cell=[25, 25, 25], pbc=True)
    found = contacts(atoms, plan.floors(atoms.get_chemical_symbols()))
    assert (found.worst, found.is_sound) == ("Ge-Te", True)
    assert found.worst_A == pytest.approx(2.1) and found.by_pair_A["Te-Te"] == pytest.approx(2.0)


def test_a_contact_across_the_boundary_breaks_its_floor() -> None:
    plan = RobustnessPlan()
    atoms = Atoms("TeTe", [[0.2, 5, 5], [19.0, 5, 5]], cell=[20, 20, 20], pbc=True)
    found = contacts(atoms, plan.floors(atoms.get_chemical_symbols()))
    assert not found.is_sound and found.worst_A == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("failures", "runs", "gate", "expected"),
    [(1, 70, 1.0, True), (0, 70, 1.0, False), (7, 70, 0.9, False), (8, 70, 0.9, True), (70, 70, None, False)],
)
def test_a_gate_is_out_of_reach_when_too_few_runs_are_left(
    failures: int, runs: int, gate: float | None, expected: bool
) -> None:
    assert is_out_of_reach(failures, runs, gate) is expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"compositions": ["Ge1Xx2"]}, "Xx"),
        ({"compositions": ["GeTe", "GeTe"]}, "given twice"),
        ({"compositions": []}, "compositions"),
        ({"floors_A": {"GeTe": 2.0}}, "pair of elements"),
        ({"look_every_ps": 0.0031}, "whole number of steps"),
        ({"temperature": 300}, "temperature_K"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        checked(RobustnessPlan, values)
    assert "\n" not in str(caught.value)
