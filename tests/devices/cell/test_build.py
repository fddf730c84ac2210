from collections import Counter

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell import (
    CrossPointSpec,
    DeviceSpec,
    MushroomSpec,
    barrier_spec,
    build_device,
    device_counts,
    plan_device,
)
from gst_jobflow.structures.crystals import trigonal, trigonal_counts
from gst_jobflow.structures.hard_sphere import generate
from gst_jobflow.structures.material import Material, default_material, shipped_material

GST = default_material()


@pytest.fixture(scope="module")
def spec():
    return CrossPointSpec(repeat=(4, 3, 2), barrier_thickness_A=15, seed=5)


@pytest.fixture(scope="module")
def barrier(spec):
    return generate(barrier_spec(spec))


@pytest.fixture(scope="module")
def device(spec, barrier):
    return build_device(spec, barrier)


def test_the_cell_has_exactly_the_atoms_of_the_crystal(spec, device):
    assert len(device.atoms) == 4 * 3 * 2 * 42
    assert Counter(device.atoms.get_chemical_symbols()) == device_counts(spec)
    assert sum(device_counts(CrossPointSpec(repeat=(47, 27, 10), barrier_thickness_A=30)).values()) == 532_980


def test_groups_are_contiguous_ids_mobile_first(device):
    n_mobile, n_atoms = device.report["n_mobile"], len(device.atoms)
    assert device.groups == {"mobile": (1, n_mobile), "barrier": (n_mobile + 1, n_atoms)}
    assert (device.atoms.get_tags() == (np.arange(n_atoms) >= n_mobile)).all()


def test_a_whole_block_gives_a_barrier_of_the_crystals_composition(spec, device):
    assert barrier_spec(spec).formula == "Ge24Sb48Te96"
    assert device.report["barrier_counts"] == {"Ge": 24, "Sb": 48, "Te": 96}
    # one septuple block, c/3
    assert device.report["removed_crystal_A"] == pytest.approx(41.686 / 3)
    assert device.report["barrier_density_g_cm3"] == pytest.approx(5.9)
    assert device.report["crystal_density_g_cm3"] == pytest.approx(6.249, abs=1e-3)


def test_the_barrier_lies_across_the_boundary_and_the_crystal_in_the_middle(device):
    length = device.atoms.cell.lengths()[2]
    z = device.atoms.positions[:, 2] / length
    mobile, barrier = z[device.atoms.get_tags() == 0], z[device.atoms.get_tags() == 1]
    half = device.report["barrier_A"] / length / 2
    assert mobile.min() > half
    assert mobile.max() < 1 - half
    # barrier atoms may be moved towards the gap of the crystal by the seam, hence 1 Å
    assert (np.minimum(barrier, 1 - barrier) < half + 1 / length).all()
    assert 0.3 < (barrier < 0.5).mean() < 0.7


def test_the_crystal_is_not_touched(device):
    mobile = device.atoms[device.atoms.get_tags() == 0]
    i, d = neighbor_list("id", mobile, 3.5)
    cations = np.flatnonzero(~(mobile.symbols == "Te"))
    assert (np.bincount(i, minlength=len(mobile))[cations] == 6).all()
    assert d.min() == pytest.approx(2.9618, abs=1e-4)


def test_no_contact_across_the_seam_is_below_that_of_its_pair(spec, device):
    i, j, d = neighbor_list("ijd", device.atoms, 3.0)
    across = device.atoms.get_tags()[i] != device.atoms.get_tags()[j]
    symbols, shortest = device.atoms.get_chemical_symbols(), {}
    for first, second, distance in zip(i[across], j[across], d[across], strict=True):
        pair = "-".join(sorted((symbols[first], symbols[second])))
        shortest[pair] = min(shortest.get(pair, 9.0), distance)
    assert device.report["seam_contact_before_A"] < 2.4
    # seams of this cell lie in the gaps between planes of tellurium: a bond of two of them is longer than of others
    assert shortest["Te-Te"] >= 2.7 > shortest["Ge-Te"] >= 2.5
    assert all(distance >= default_material().min_contacts_A[pair] for pair, distance in shortest.items())
    # inside the barrier, which was made with 2.5 Å for all pairs, nothing came nearer than it was or than its floor
    assert d.min() >= 2.4 * 0.998


def test_one_contact_distance_for_all_pairs_is_kept(spec, barrier):
    device = build_device(spec.model_copy(update={"min_contact_A": 2.5}), barrier)
    i, j, d = neighbor_list("ijd", device.atoms, 3.0)
    across = device.atoms.get_tags()[i] != device.atoms.get_tags()[j]
    assert d[across].min() >= 2.5 and device.report["seam_contact_A"] == pytest.approx(d[across].min())


def test_distances_of_the_report(device):
    d = neighbor_list("d", device.atoms, 3.0)
    assert device.report["min_distance_A"] == pytest.approx(d.min())
    assert device.report["seam_contact_share"] >= 1
    assert 0 < device.report["longest_move_A"] < 3


def test_the_same_seed_gives_the_same_cell(spec, barrier, device):
    assert (build_device(spec, barrier).atoms.positions == device.atoms.positions).all()


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["Ge1Sb2Te4", "Ge2Sb2Te5", "Sb2Te3", "GeTe"]),
    st.integers(2, 3),
    st.floats(3, 15),
    st.sampled_from([None, 5.9]),
    st.integers(0, 99),
)
def test_counts_are_exact_for_any_cut(formula, n_z, thickness, density, seed):
    spec = CrossPointSpec(
        formula=formula,
        repeat=(2, 1, n_z),
        barrier_thickness_A=thickness,
        barrier_density_g_cm3=density,
        cut="layer",
        disorder=formula in ("Ge1Sb2Te4", "Ge2Sb2Te5"),
        seed=seed,
    )
    plan = plan_device(spec)
    total = Counter(plan.crystal.atoms().get_chemical_symbols()) + Counter(plan.barrier_counts)
    assert total == trigonal_counts(formula, (2, 1, n_z))
    full = trigonal(formula, (2, 1, n_z))
    assert plan.crystal.atoms().cell.lengths()[2] + plan.removed_thickness_A == pytest.approx(full.cell.lengths()[2])
    assert plan.crystal.atoms().positions[:, 2].min() > 0
    assert plan.crystal.atoms().positions[:, 2].max() < plan.crystal.atoms().cell.lengths()[2]
    if density is None:
        assert plan.barrier_box_A[2] == pytest.approx(plan.removed_thickness_A)


def test_a_barrier_that_cannot_be_placed_is_refused():
    with pytest.raises(InputError, match="does not fit"):
        plan_device(CrossPointSpec(repeat=(2, 2, 1), barrier_thickness_A=60))
    with pytest.raises(InputError, match="nothing would be left"):
        plan_device(CrossPointSpec(formula="Ge2Sb2Te5", repeat=(2, 2, 1), barrier_thickness_A=5))
    with pytest.raises(InputError, match="no van der Waals blocks"):
        plan_device(CrossPointSpec(formula="GeTe", repeat=(2, 2, 2), barrier_thickness_A=5))


def test_a_wrong_slab_is_refused(spec, barrier):
    other = barrier.copy()
    other.symbols[0] = "Sb"
    with pytest.raises(InputError, match="23 Ge 49 Sb 96 Te"):
        build_device(spec, other)
    wide = barrier.copy()
    wide.set_cell(wide.cell.array * [1.4, 1, 1], scale_atoms=True)
    with pytest.raises(InputError, match=r"do not fit 17\.1 x 22\.2 Å"):
        build_device(spec, wide)
    thick = barrier.copy()
    thick.set_cell(thick.cell.array * [1, 1, 1.3], scale_atoms=True)
    with pytest.raises(InputError, match="thick"):
        build_device(spec, thick)
    skewed = barrier.copy()
    skewed.set_cell([[17.0884, 0, 0], [0, 22.198483, 0], [3, 0, 14.4]])
    with pytest.raises(InputError, match="right angles"):
        build_device(spec, skewed)


def test_a_contact_that_cannot_be_reached_is_an_error():
    spec = CrossPointSpec(repeat=(2, 1, 2), barrier_thickness_A=15)
    barrier = generate(barrier_spec(spec))
    # the slab of 15 Å has crystal on both sides: none of it can be 9 Å away
    with pytest.raises(InputError, match="come as near as"):
        build_device(spec.model_copy(update={"min_contact_A": 9.0}), barrier)


@pytest.mark.parametrize(
    "change", [{"formula": "Ge3Sb2Te6"}, {"repeat": (0, 1, 1)}, {"barrier_thickness_A": -1}, {"barier_thickness_A": 3}]
)
def test_a_wrong_specification_is_refused(change):
    with pytest.raises((ValidationError, InputError)):
        CrossPointSpec(**{"repeat": (2, 2, 2), "barrier_thickness_A": 10, **change})


def test_the_lattice_of_another_method_scales_the_crystal_and_keeps_the_counts():
    plain = plan_device(CrossPointSpec(repeat=(2, 1, 2), barrier_thickness_A=13))
    scaled = plan_device(CrossPointSpec(repeat=(2, 1, 2), barrier_thickness_A=13, lattice_scale=0.96))
    assert scaled.crystal.n_atoms == plain.crystal.n_atoms
    assert scaled.barrier_counts == plain.barrier_counts
    assert scaled.crystal.atoms().cell.lengths() == pytest.approx(0.96 * plain.crystal.atoms().cell.lengths())


def test_a_mushroom_cell_has_barrier_on_top_and_electrode_atoms_first():
    spec = MushroomSpec(repeat=(6, 3, 6), barrier_thickness_A=12.0, seed=3)
    device = build_device(spec, generate(barrier_spec(spec)))
    assert Counter(device.atoms.get_chemical_symbols()) == device_counts(spec) == {"Ge": 108, "Sb": 216, "Te": 432}
    z, tags = device.atoms.positions[:, 2], device.atoms.get_tags()
    top = spec.repeat[2] * spec.lattice_A - device.report["removed_crystal_A"]
    assert z[tags == 0].max() < top
    # barrier atoms may be moved into the gap by the seam, the lowest across the boundary
    assert (z[tags == 1] > top - 1.5).mean() > 0.95
    first, last = device.groups["electrode"]
    strip = device.atoms.positions[first - 1 : last]
    width = device.atoms.cell.lengths()[0]
    assert first == 1
    assert np.abs(strip[:, 0] - width / 2).max() <= width / 10
    assert strip[:, 2].max() < 10.0
    mobile = device.atoms.positions[: device.groups["mobile"][1]]
    in_strip = (np.abs(mobile[:, 0] - width / 2) <= width / 10) & (mobile[:, 2] < 10.0)
    assert in_strip.sum() == last


def test_layers_hold_every_mobile_atom_once_between_their_heights():
    spec = MushroomSpec(repeat=(6, 3, 8), barrier_thickness_A=12.0, seed=3)
    device = build_device(spec, generate(barrier_spec(spec)))
    seen = []
    for layer in device.layers:
        ids = np.concatenate([np.arange(first, last + 1) for first, last in layer.ids])
        assert len(ids) == layer.count()
        z = device.atoms.positions[ids - 1, 2]
        assert (z >= layer.z_A[0]).all() and (z < layer.z_A[1]).all()
        seen.extend(ids.tolist())
    assert sorted(seen) == list(range(1, device.groups["mobile"][1] + 1))


def test_the_paper_cells_have_the_papers_atoms():
    assert device_counts(CrossPointSpec.paper()) == {"Ge": 76_140, "Sb": 152_280, "Te": 304_560}
    assert device_counts(MushroomSpec.paper()) == {"Te": 454_176, "Ge": 113_544, "Sb": 227_088}
    for spec, total in ((CrossPointSpec.paper(), 532_980), (MushroomSpec.paper(), 794_808)):
        plan = plan_device(spec)
        assert plan.crystal.n_atoms + sum(plan.barrier_counts.values()) == total


def test_a_cell_without_a_kind_is_a_cross_point_cell():
    cell = TypeAdapter(DeviceSpec)
    assert isinstance(cell.validate_python({"repeat": [2, 2, 2], "barrier_thickness_A": 10}), CrossPointSpec)
    mushroom = {"kind": "mushroom", "repeat": [4, 2, 4], "barrier_thickness_A": 10}
    assert isinstance(cell.validate_python(mushroom), MushroomSpec)


def test_disorder_of_more_first_than_second_cations_exchanges_all_of_the_second_in_crystal_and_device():
    # a block of Ge1Sb2Te4 with the roles of its cations changed
    phase = {**GST.trigonal["Ge1Sb2Te4"].model_dump(), "centre_share": 0.2}
    phase["sites"] = [["Sb", [0, 0, 0]], ["Cr", [0, 0, 0.427]], ["Te", [0, 0, 0.133]], ["Te", [0, 0, 0.29]]]
    material = Material(**{**shipped_material("cr-sb-te").model_dump(), "trigonal": {"Cr2Sb1Te4": phase}})
    ordered, mixed = (
        trigonal("Cr2Sb1Te4", (2, 2, 2), disorder=disorder, seed=3, material=material) for disorder in (False, True)
    )
    assert Counter(mixed.get_chemical_symbols()) == Counter(ordered.get_chemical_symbols())
    assert (mixed.symbols[ordered.symbols == "Sb"] == "Cr").all()
    spec = CrossPointSpec(
        material=material, formula="Cr2Sb1Te4", repeat=(2, 2, 2), barrier_thickness_A=15, disorder=True
    )
    crystal = plan_device(spec).crystal
    n_cr, n_sb = (sum(pool[number] for pool in crystal.pools) for number in (24, 51))
    assert n_cr == 2 * n_sb and crystal.pools[1] == {51: 0, 24: n_sb}


@pytest.mark.parametrize(
    ("formula", "share", "said"), [("Sb2Te3", 0.5, "has one kind of cation"), ("Ge1Sb2Te4", 1.0, "centre_share")]
)
def test_disorder_that_would_do_nothing_is_refused_in_crystal_and_device(formula, share, said):
    content = GST.model_dump()
    content["trigonal"][formula]["centre_share"] = share
    material = Material(**content)
    spec = CrossPointSpec(material=material, formula=formula, repeat=(2, 2, 2), barrier_thickness_A=15, disorder=True)
    for make in (lambda: trigonal(formula, (1, 1, 1), disorder=True, material=material), lambda: plan_device(spec)):
        with pytest.raises(InputError, match=said):
            make()
