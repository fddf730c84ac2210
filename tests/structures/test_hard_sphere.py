from collections import Counter

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate, min_distance

AMU_PER_A3 = 1.66053906660


def density(atoms):
    return atoms.get_masses().sum() / atoms.get_volume() * AMU_PER_A3


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["GeTe", "Ge2Sb2Te5", "Ge1Sb2Te4", "Sb2Te3"]),
    st.integers(6, 40),
    st.sampled_from(["cubic", "orthorhombic", "triclinic"]),
    st.integers(0, 10**6),
)
def test_small_cells_keep_composition_density_and_distances(formula, n_atoms, shape, seed):
    spec = HardSphereSpec(
        formula=formula,
        n_atoms=n_atoms,
        density_g_cm3=(5.0, 6.4),
        min_distances_A={"Te-Ge": 2.3},
        min_distance_A=2.5,
        cell_shape=shape,
        rounding="nearest",
        seed=seed,
    )
    atoms = generate(spec)
    assert len(atoms) == n_atoms
    assert atoms.pbc.all()
    assert 5.0 - 1e-9 <= density(atoms) <= 6.4 + 1e-9
    i, j, d = neighbor_list("ijd", atoms, 2.6)
    ge_te = (atoms.symbols[i] == "Ge") & (atoms.symbols[j] == "Te")
    ge_te |= (atoms.symbols[i] == "Te") & (atoms.symbols[j] == "Ge")
    assert (d[~ge_te] >= 2.5).all()
    assert (d[ge_te] >= 2.3).all()


def test_a_thousand_atoms_at_the_amorphous_density():
    spec = HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=1000, density_g_cm3=5.9, min_distance_A=2.5, rounding="nearest")
    atoms = generate(spec)
    assert Counter(atoms.get_chemical_symbols()) == {"Ge": 222, "Sb": 222, "Te": 556}
    assert density(atoms) == pytest.approx(5.9)
    assert min_distance(atoms) >= 2.5


def test_the_same_seed_and_index_give_the_same_structure_and_others_do_not():
    spec = HardSphereSpec(formula="GeTe", n_atoms=12, volume_per_atom_A3=(28, 34), seed=7)
    first, again, other = generate(spec, 3), generate(spec, 3), generate(spec, 4)
    assert (first.positions == again.positions).all()
    assert (first.cell.array == again.cell.array).all()
    assert first.get_volume() != pytest.approx(other.get_volume())


def test_cells_have_the_requested_shape():
    cubic, orthorhombic, triclinic = (
        generate(HardSphereSpec(formula="GeTe", n_atoms=20, volume_per_atom_A3=32, cell_shape=shape)).cell.cellpar()
        for shape in ("cubic", "orthorhombic", "triclinic")
    )
    assert np.ptp(cubic[:3]) < 1e-9
    assert np.ptp(orthorhombic[:3]) > 0.1
    assert np.allclose(orthorhombic[3:], 90)
    assert np.abs(triclinic[3:] - 90).max() > 1


@pytest.mark.parametrize("cell", [(8.0, 9.0, 10.0), ((8.0, 0, 0), (2.0, 9.0, 0), (0, 1.0, 10.0))])
def test_a_fixed_cell_is_kept(cell):
    atoms = generate(HardSphereSpec(formula="GeTe", n_atoms=20, fixed_cell_A=cell))
    assert np.allclose(atoms.cell.array, np.diag(cell) if np.ndim(cell) == 1 else cell)
    assert min_distance(atoms) >= 2.5


def test_the_density_named_by_a_failure_works():
    spec = HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=45, density_g_cm3=17.0, cell_shape="cubic")
    with pytest.raises(InputError, match=r"packing fraction asked 0\.7\d\d, reached 0\.[56]\d\d") as failure:
        generate(spec)
    named = float(failure.value.fix.split("ask for ")[1].split(" g/cm3")[0])
    assert 8 < named < 17
    assert min_distance(generate(spec.model_copy(update={"density_g_cm3": named}))) >= 2.5


def test_a_cell_shorter_than_the_distance_to_the_own_image_is_reported():
    with pytest.raises(InputError, match="its own image"):
        generate(HardSphereSpec(formula="GeTe", n_atoms=10, fixed_cell_A=(2.2, 12.0, 20.0)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "exactly one of"),
        ({"density_g_cm3": 5.9, "volume_per_atom_A3": 30}, "exactly one of"),
        ({"density_g_cm3": (6.5, 5.5)}, "low to high"),
        ({"density_g_cm3": -1}, "greater than 0"),
        ({"density_g_cm3": float("nan")}, "finite number"),
        ({"fixed_cell_A": (1.0, 2.0, 0.0)}, "no volume"),
        ({"densty_g_cm3": 5.9}, "did you mean 'density_g_cm3'"),
        ({"density_g_cm3": 5.9, "seed": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_specification_is_refused(change, words):
    with pytest.raises(ValidationError, match=words):
        HardSphereSpec(formula="GeTe", n_atoms=10, **change)


def test_a_wrong_formula_or_pair_is_refused():
    with pytest.raises(InputError):
        HardSphereSpec(formula="Gx", n_atoms=10, density_g_cm3=5)
    with pytest.raises(InputError):
        HardSphereSpec(formula="GeTe", n_atoms=10, density_g_cm3=5, min_distances_A={"GeTe": 2})
    with pytest.raises(InputError, match="990 or 999"):
        generate(HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=991, density_g_cm3=5.9))


def test_each_structure_has_a_closest_contact_of_its_own_from_the_range():
    spec = HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=36, density_g_cm3=5.9, min_distance_A=(1.6, 2.4), seed=3)
    closest = [min_distance(generate(spec, index)) for index in range(12)]
    assert min(closest) < 1.8 and max(closest) > 2.2 and all(1.6 <= distance <= 2.45 for distance in closest)
    # the same structure comes again, and one number still means what it did
    assert min_distance(generate(spec, 5)) == closest[5]
    fixed = spec.model_copy(update={"min_distance_A": 2.4})
    assert 2.4 <= min_distance(generate(fixed)) <= 2.41
    with pytest.raises(ValueError, match="is not a range from low to high"):
        HardSphereSpec(formula="GeTe", n_atoms=8, density_g_cm3=5.9, min_distance_A=(2.4, 1.6))
