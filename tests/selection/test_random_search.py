"""Random structure search: which cells are drawn, and which of what they became is chosen."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ase.build import bulk

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.dynamics.relax import Relaxed
from gst_jobflow.selection.random_search import (
    RandomCell,
    RandomSearchPlan,
    SearchCandidate,
    candidates_of,
    choose_candidates,
    draw_cells,
)
from gst_jobflow.structures.composition import fewest_atoms
from gst_jobflow.structures.contacts import min_distance

describe = partial(mean_spectrum, options=SoapOptions(species=True), elements=["Sb", "Te"])
PLAN = RandomSearchPlan(compositions=["SbTe", "Sb2Te3"], cells=40, number=8)


def test_cells_are_drawn_within_their_ranges_and_return() -> None:
    cells = draw_cells(PLAN)
    assert [cell.formula for cell in cells[:3]] == ["SbTe", "Sb2Te3", "SbTe"]
    sizes = [len(cell.atoms) for cell in cells]
    assert min(sizes) >= 8 and max(sizes) <= 40 and len(set(sizes)) > 10
    contacts = [min_distance(cell.atoms) for cell in cells]
    assert min(contacts) >= 1.6 and min(contacts) < 1.8, "the default reaches well below a bond"
    volumes = [cell.atoms.get_volume() / len(cell.atoms) for cell in cells]
    assert min(volumes) >= 22 and max(volumes) <= 34
    again = draw_cells(PLAN)
    np.testing.assert_array_equal(cells[7].atoms.positions, again[7].atoms.positions)
    assert cells[7].pressure_GPa == again[7].pressure_GPa
    other = draw_cells(PLAN.model_copy(update={"seed": 2}))
    assert other[7].pressure_GPa != cells[7].pressure_GPa


def test_the_smallest_cells_of_a_dilute_composition_hold_each_element() -> None:
    plan = RandomSearchPlan(compositions=["Ge1Sb6Te10"], cells=200, n_atoms=(6, 12))
    sizes = [len(cell.atoms) for cell in draw_cells(plan) if set(cell.atoms.symbols) == {"Ge", "Sb", "Te"}]
    assert len(sizes) == 200 and set(sizes) == set(range(fewest_atoms("Ge1Sb6Te10"), 13))


def test_pressures_are_exponential_about_their_mean() -> None:
    pressures = [cell.pressure_GPa for cell in draw_cells(PLAN.model_copy(update={"cells": 400, "n_atoms": (8, 8)}))]
    # mean and standard deviation of an exponential distribution are equal, here 20 GPa
    assert np.mean(pressures) == pytest.approx(20, abs=3) and np.std(pressures) == pytest.approx(20, abs=4)


def candidate(number: int, enthalpy_eV: float, kind: str = "minimum", a_A: float = 6.0) -> SearchCandidate:
    atoms = bulk("SbTe", "rocksalt", a=a_A, cubic=True)
    atoms.rattle(0.3, seed=number)
    return SearchCandidate(atoms, number, "SbTe", kind, 0, 1.0, enthalpy_eV)


def test_low_enthalpies_are_chosen_more_often_and_rare_ones_not_left_out() -> None:
    # 200 at 1 to 1.2 eV, 20 at 0 to 0.1 eV
    many = [candidate(n, 1.0 + 0.001 * n) for n in range(200)]
    few = [candidate(1000 + n, 0.005 * n) for n in range(20)]
    chosen = choose_candidates([*many, *few], PLAN.model_copy(update={"kT_eV": 0.5}), describe)
    assert len(chosen) == 8
    low = sum(each.enthalpy_eV < 0.5 for each in chosen)
    assert low >= 2, "a tenth of the candidates, yet the most likely"


def test_collapsed_cells_are_kept_in_their_share() -> None:
    sound = [candidate(n, 0.01 * n) for n in range(30)]
    collapsed = [candidate(100 + n, np.nan, "collapsed", 4.5) for n in range(10)]
    kinds = [each.kind for each in choose_candidates([*sound, *collapsed], PLAN, describe)]
    assert kinds.count("collapsed") == 2 and len(kinds) == 8
    only = choose_candidates(collapsed, PLAN, describe)
    assert len(only) == 8, "where all collapsed, they fill the places"


def test_one_of_two_alike_and_the_odd_one_are_chosen() -> None:
    alike = [candidate(1, 0.0) for _ in range(6)]
    odd = candidate(2, 0.0, a_A=7.5)
    plan = PLAN.model_copy(update={"number": 2, "collapsed_share": 0.0})
    chosen = choose_candidates([*alike, odd], plan, describe)
    assert any(each is odd for each in chosen)


def test_what_became_of_a_cell_says_what_may_be_labelled() -> None:
    atoms = bulk("SbTe", "rocksalt", a=6.0, cubic=True)

    def frames(*enthalpies: float) -> list:
        made = []
        for step, enthalpy in enumerate(enthalpies):
            frame = atoms.copy()
            frame.info = {"enthalpy_eV": 8 * enthalpy, "step": 10 * step}
            made.append(frame)
        return made

    cell = RandomCell(atoms, "SbTe", 5.0)
    relaxed = [
        Relaxed("converged", "", 20, frames(-1.0, -2.0)),
        Relaxed("collapsed", "Sb-Te at 1.2 Å", 20, frames(-1.0, -9.0)),
        Relaxed("crashed", "Lost atoms", 0, []),
        Relaxed("unfinished", "not converged", 300, frames(-1.5)),
    ]
    found = candidates_of([cell] * 4, relaxed, on_the_way=True)
    assert [(each.cell, each.kind) for each in found] == [
        (0, "frame"), (0, "minimum"), (1, "collapsed"), (2, "collapsed"), (3, "unfinished"),
    ]  # fmt: skip
    # the zero of the enthalpy is the lowest that did not collapse
    assert found[1].enthalpy_eV == 0 and found[0].enthalpy_eV == pytest.approx(1.0)
    assert [each.kind for each in candidates_of([cell] * 4, relaxed, on_the_way=False)].count("frame") == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n_atoms": (20, 10)}, "from low to high"),
        ({"n_atoms": (1, 10)}, "an atom of each"),
        ({"compositions": ["Cr1Sb8Te12"], "n_atoms": (6, 9)}, "a cell of Cr1Sb8Te12 needs"),
        ({"compositions": ["Xx"]}, "Xx"),
        ({"min_distance_A": (0.0, 2.0)}, "min_distance_A"),
        ({"pressure": 3}, "pressure_GPa"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        checked(RandomSearchPlan, values)
    assert "\n" not in str(caught.value)
