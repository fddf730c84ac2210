from collections import Counter

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from gst_jobflow.base.errors import InputError
from gst_jobflow.structures.contacts import min_distance
from gst_jobflow.structures.crystals import (
    rocksalt,
    rocksalt_counts,
    trigonal,
    trigonal_counts,
    trigonal_primitive,
)
from gst_jobflow.structures.material import default_material

GST = default_material()
AMU_PER_A3 = 1.66053906660


def layers(atoms):
    """Elements by height, one letter a layer."""
    heights = np.round(atoms.positions[:, 2], 3)
    return ["/".join(sorted(set(atoms.symbols[heights == z]))) for z in np.unique(heights)]


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("compound", GST.trigonal)
def test_trigonal_counts_are_what_is_built(compound, orthogonal):
    atoms = trigonal(compound, (2, 1, 1), orthogonal=orthogonal)
    assert Counter(atoms.get_chemical_symbols()) == trigonal_counts(compound, (2, 1, 1), orthogonal)
    assert len(trigonal(compound, (1, 1, 1), orthogonal=False)) in (6, 9, 15, 21)
    if orthogonal:
        assert np.allclose(atoms.cell.array, np.diag(atoms.cell.lengths()), atol=0)


@pytest.mark.parametrize("compound", GST.trigonal)
def test_cations_have_six_te_neighbours_at_bond_lengths_of_the_literature(compound):
    atoms = trigonal(compound, (2, 2, 1))
    # bonds lie within 2.8-3.3 Å, next shell and van der Waals gap beyond 3.6 Å
    i, j, d = neighbor_list("ijd", atoms, 3.5)
    assert d.min() > 2.7
    assert d.max() < 3.3
    cations = np.flatnonzero(~(atoms.symbols == "Te"))
    assert (np.bincount(i, minlength=len(atoms))[cations] == 6).all()
    assert ((atoms.symbols[i] == "Te") != (atoms.symbols[j] == "Te")).all()


@pytest.mark.parametrize(
    ("compound", "stack"),
    [
        ("Ge1Sb2Te4", ["Te", "Sb", "Te", "Ge", "Te", "Sb", "Te"] * 3),
        ("Ge2Sb2Te5", ["Te", "Sb", "Te", "Ge", "Te", "Ge", "Te", "Sb", "Te"]),
        ("Sb2Te3", ["Te", "Sb", "Te", "Sb", "Te"] * 3),
    ],
)
def test_blocks_are_stacked_as_published_with_a_gap_at_the_bottom(compound, stack):
    atoms = trigonal(compound, (1, 1, 1))
    assert layers(atoms) == stack
    heights = np.unique(np.round(atoms.positions[:, 2], 3))
    # half of a gap of about 2.8 Å below the first layer and above the last
    assert heights[0] == pytest.approx(1.4, abs=0.05)
    assert atoms.cell.lengths()[2] - heights[-1] == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize(
    ("compound", "density"), [("Ge1Sb2Te4", 6.3), ("Ge2Sb2Te5", 6.40), ("Sb2Te3", 6.50), ("GeTe", 6.19)]
)
def test_densities_are_within_two_percent_of_the_literature(compound, density):
    atoms = trigonal(compound, (1, 1, 1))
    assert atoms.get_masses().sum() / atoms.get_volume() * AMU_PER_A3 == pytest.approx(density, rel=0.02)


@pytest.mark.parametrize("compound", ["Ge1Sb2Te4", "Ge2Sb2Te5"])
def test_disorder_mixes_cation_layers_and_keeps_counts(compound):
    ordered, mixed = trigonal(compound, (4, 3, 1)), trigonal(compound, (4, 3, 1), disorder=True, seed=1)
    assert Counter(mixed.get_chemical_symbols()) == Counter(ordered.get_chemical_symbols())
    assert (mixed.positions == ordered.positions).all()
    kept = (mixed.symbols[ordered.symbols == "Ge"] == "Ge").mean()
    # one atom of 24 or 48 is what rounding may cost
    assert kept == pytest.approx(GST.trigonal[compound].centre_share, abs=0.05)
    again = trigonal(compound, (4, 3, 1), disorder=True, seed=1)
    assert (again.numbers == mixed.numbers).all()
    assert ((mixed.symbols == "Te") == (ordered.symbols == "Te")).all()


def test_the_devices_of_the_paper_have_the_published_numbers_of_atoms():
    assert sum(trigonal_counts("GeSb2Te4", (47, 27, 10)).values()) == 532_980
    counts = rocksalt_counts("Ge1Sb2Te4", (166, 76, 9))
    assert counts["Ge"] + counts["Sb"] + counts["Te"] == 794_808
    assert counts["Ge"] * 2 == counts["Sb"]


@pytest.mark.parametrize("formula", GST.compositions)
def test_rocksalt_has_the_composition_and_only_unlike_neighbours(formula):
    atoms = rocksalt(formula, (3, 2, 4), a_A=6.0, seed=3)
    counts = rocksalt_counts(formula, (3, 2, 4))
    assert Counter(atoms.get_chemical_symbols()) == {e: counts[e] for e in ("Ge", "Sb", "Te") if counts[e]}
    weights = GST.cation_weights(formula)
    assert abs(counts["vacancy"] - 96 * weights["vacancy"] / sum(weights.values())) < 1
    i, j, d = neighbor_list("ijd", atoms, 3.5)
    assert np.allclose(d, 3.0)
    assert ((atoms.symbols[i] == "Te") != (atoms.symbols[j] == "Te")).all()


def test_rocksalt_density_of_ge2sb2te5():
    atoms = rocksalt("Ge2Sb2Te5", (5, 5, 5))
    assert len(atoms) == 900
    # X-ray density of the metastable phase, 6.27 g/cm3
    assert atoms.get_masses().sum() / atoms.get_volume() * AMU_PER_A3 == pytest.approx(6.27, rel=0.02)
    assert (rocksalt("Ge2Sb2Te5", (2, 2, 2), seed=1).numbers != rocksalt("Ge2Sb2Te5", (2, 2, 2), seed=2).numbers).any()


def test_wrong_crystals_are_refused():
    with pytest.raises(InputError, match="not on the GeTe"):
        rocksalt("GeTe2", (1, 1, 1))
    with pytest.raises(InputError, match="repeat"):
        trigonal("GeTe", (1, 0, 1))
    with pytest.raises(InputError, match="no trigonal phase of Ge3Sb2Te6"):
        trigonal("Ge3Sb2Te6", (1, 1, 1))
    with pytest.raises(InputError, match="one kind of cation"):
        trigonal("Sb2Te3", (1, 1, 1), disorder=True)
    with pytest.raises(InputError, match="positive"):
        rocksalt("GeTe", (1, 1, 1), a_A=0.0)


@pytest.mark.parametrize("compound", ["Ge1Sb2Te4", "Sb2Te3", "GeTe"])
def test_the_small_cell_of_a_centred_phase_is_the_same_crystal(compound):
    small, large = trigonal_primitive(compound, (3, 3, 1)), trigonal(compound, (3, 3, 1), orthogonal=False)
    assert 3 * len(small) == len(large)
    assert small.cell.volume / len(small) == pytest.approx(large.cell.volume / len(large))
    assert min_distance(small) == pytest.approx(min_distance(large))
    assert small.symbols.formula.reduce()[0] == large.symbols.formula.reduce()[0]


def test_a_phase_that_is_not_centred_has_no_smaller_cell():
    with pytest.raises(InputError, match="primitive"):
        trigonal_primitive("Ge2Sb2Te5", (1, 1, 1))
