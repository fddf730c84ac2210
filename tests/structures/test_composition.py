import pytest
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError
from gst_jobflow.structures.composition import (
    atom_counts,
    largest_remainder,
    parse_formula,
    reduced_formula,
)


@pytest.mark.parametrize(
    ("formula", "counts"),
    [
        ("Ge2Sb2Te5", {"Ge": 2, "Sb": 2, "Te": 5}),
        ("(GeTe)2(Sb2Te3)", {"Ge": 2, "Te": 5, "Sb": 2}),
        ("GeTe", {"Ge": 1, "Te": 1}),
        ("Ge10Te2Ge", {"Ge": 11, "Te": 2}),
    ],
)
def test_a_formula_is_counted(formula, counts):
    assert parse_formula(formula) == counts


@pytest.mark.parametrize(
    "nonsense",
    ["", "  ", "2Ge", "Ge0", "Ge0.5Te", "(GeTe", "GeTe)", "()2", "Ge()", "(2Ge)", "Ge(", "Ge-Te", "ge2", "Te2 3", None],
)
def test_nonsense_is_refused(nonsense):
    with pytest.raises(InputError, match="chemical formula"):
        parse_formula(nonsense)


def test_an_unknown_element_is_named():
    with pytest.raises(InputError, match="unknown element 'Gx'"):
        parse_formula("Gx2Te3")


def test_exact_counts_or_the_nearest_possible_numbers():
    assert atom_counts("Ge2Sb2Te5", 999) == {"Ge": 222, "Sb": 222, "Te": 555}
    assert atom_counts("Ge4Sb4Te10", 9) == {"Ge": 2, "Sb": 2, "Te": 5}
    with pytest.raises(InputError, match="999 or 1008"):
        atom_counts("Ge2Sb2Te5", 1000)
    with pytest.raises(InputError, match="ask for 9 atoms"):
        atom_counts("Ge2Sb2Te5", 5)


def test_nearest_gives_the_remainder_to_the_largest_fraction():
    assert atom_counts("Ge2Sb2Te5", 1000, "nearest") == {"Ge": 222, "Sb": 222, "Te": 556}
    with pytest.raises(InputError, match="too few"):
        atom_counts("Ge1Sb98Te1", 10, "nearest")


@given(st.dictionaries(st.sampled_from(["Ge", "Sb", "Te"]), st.integers(1, 50), min_size=1), st.integers(1, 10**6))
def test_largest_remainder_keeps_the_total_and_is_off_by_less_than_one(weights, total):
    shared = largest_remainder(weights, total)
    assert sum(shared.values()) == total
    for element, weight in weights.items():
        assert abs(shared[element] - total * weight / sum(weights.values())) < 1


@given(st.dictionaries(st.sampled_from(["Ge", "Sb", "Te", "O"]), st.integers(1, 99), min_size=1), st.integers(1, 9))
def test_the_reduced_formula_is_one_for_all_multiples(counts, times):
    reduced = reduced_formula(counts)
    assert reduced_formula({element: times * count for element, count in counts.items()}) == reduced
    assert reduced_formula(parse_formula(reduced)) == reduced
