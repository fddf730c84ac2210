"""Reference energies: least squares over compositions, and labels of free atoms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.references import isolated_atom_energies, least_squares
from gst_jobflow.store import Results
from gst_jobflow.structures.composition import parse_formula, reduced_formula
from tests.datasets.conftest import add_labels, members_of

ELEMENTS = ("Ge", "Sb", "Te")
COUNTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3).filter(any), min_size=3, max_size=30)


def with_energies(formulas: list[str], energies_eV: list[float]):
    members = members_of([str(i) for i in range(len(formulas))], ["rss"] * len(formulas), formulas)
    return dataclasses.replace(members, energies_eV=np.array(energies_eV))


@settings(deadline=None)
@given(st.tuples(*[st.floats(-10, 10)] * 3), COUNTS)
def test_least_squares_finds_the_atoms_of_a_sum_of_atoms(energies: tuple[float, ...], counts: list) -> None:
    """Whatever the compositions, a dataset that is a sum of atomic energies leaves nothing over."""
    reference = dict(zip(ELEMENTS, energies, strict=True))
    formulas = [reduced_formula({e: n for e, n in zip(ELEMENTS, row, strict=True) if n}) for row in counts]
    per_atom = [float(np.dot(row, energies) / sum(row)) for row in counts]
    found = least_squares(with_energies(formulas, per_atom))
    assert set(found) <= set(reference)
    for formula, energy in zip(formulas, per_atom, strict=True):
        numbers = parse_formula(formula)
        rest = energy - sum(n * found[e] for e, n in numbers.items()) / sum(numbers.values())
        # 1e-6 eV: least squares in double precision of numbers of order 10
        assert abs(rest) < 1e-6


@settings(deadline=None)
@given(COUNTS, st.data())
def test_grouped_equations_have_the_solution_of_all_equations(counts: list, data: st.DataObject) -> None:
    """Against numpy's least squares with an equation a label."""
    energies = data.draw(st.lists(st.floats(-10, 10), min_size=len(counts), max_size=len(counts)))
    formulas = [reduced_formula({e: n for e, n in zip(ELEMENTS, row, strict=True) if n}) for row in counts]
    used = [index for index in range(3) if any(row[index] for row in counts)]
    shares = np.array(counts, float)[:, used] / np.sum(counts, axis=1, keepdims=True)
    expected = np.linalg.lstsq(shares, np.array(energies), rcond=1e-8)[0]
    found = least_squares(with_energies(formulas, energies))
    # compositions that nearly tell elements apart amplify rounding: what the fit sees are the residuals
    assert shares @ np.array(list(found.values())) == pytest.approx(shares @ expected, abs=1e-6)


def test_one_composition_gives_the_smallest_solution() -> None:
    found = least_squares(with_energies(["GeTe"] * 3, [-4.0, -4.0, -4.0]))
    assert found == pytest.approx({"Ge": -4.0, "Te": -4.0})


def test_least_squares_needs_labels() -> None:
    members = members_of(["a"], ["rss"])
    with pytest.raises(DataError, match="no labels"):
        least_squares(members.take(np.zeros(1, bool)))


@pytest.mark.mongo
def test_free_atoms_are_those_that_the_method_labelled(results: Results) -> None:
    def atom(element: str, energy_eV: float, start: int, fingerprint: str = "tblite:1") -> None:
        of = {"formula": element, "elements": [element], "composition": {element: 1.0}, "n_atoms": 1}
        of |= {"numbers": bytes([1]), "positions": bytes(24)}
        add_labels(
            results,
            1,
            start=start,
            fingerprint=fingerprint,
            of_structure=of,
            formula=element,
            n_atoms=1,
            config_type="isolated_atom",
            energy_eV=energy_eV,
            energy_per_atom_eV=energy_eV,
            forces=bytes(24),
        )

    atom("Ge", -100.0, 1)
    atom("Te", -200.0, 2)
    atom("Te", -999.0, 3, fingerprint="cp2k:1")
    assert isolated_atom_energies(results.database, "tblite:1", ["Ge", "Te"]) == {"Ge": -100.0, "Te": -200.0}
    with pytest.raises(DataError, match="of a free atom of Sb by tblite:1"):
        isolated_atom_energies(results.database, "tblite:1", ["Ge", "Sb"])
    atom("Te", -200.1, 4)
    with pytest.raises(DataError, match=r"from -200.100000 to -200.000000"):
        isolated_atom_energies(results.database, "tblite:1", ["Ge", "Te"])
