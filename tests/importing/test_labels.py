"""Which values of a structure are its label: under the usual names, under others, and where two sets differ."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.importing.labels import RivalLabelsError, computed_of, quantity_of, unread_labels
from gst_jobflow.importing.options import ImportOptions

VIRIAL_EV = np.array([[1.0, 0.1, 0.0], [0.1, 2.0, 0.0], [0.0, 0.0, 3.0]])


def labelled(energy_eV: float = -7.05, **info: object) -> Atoms:
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    atoms.calc = SinglePointCalculator(atoms, energy=energy_eV, forces=np.zeros((2, 3)))
    for name, value in info.items():
        if np.shape(value) == (2, 3):
            atoms.arrays[name] = value
        else:
            atoms.info[name] = value
    return atoms


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("energy", ("energy", "")),
        ("free_energy", ("energy", "")),
        ("force", ("forces", "")),
        ("virials", ("stress", "")),
        ("REF_energy", ("energy", "ref")),
        ("REF_forces", ("forces", "ref")),
        ("dft_force", ("forces", "dft")),
        ("MACE_stress", ("stress", "mace")),
        ("dft_virial", ("stress", "dft")),
        ("energy_PBE", ("energy", "pbe")),
        ("Energy", ("energy", "Energy")),
        ("positions", None),
        ("energies", None),
    ],
)
def test_a_name_tells_the_quantity_and_its_set(name, expected) -> None:
    assert quantity_of(name) == expected


@pytest.mark.parametrize(
    ("others", "differ"),
    [
        ({"REF_energy": -7.65}, True),
        ({"dft_energy": -7.65}, True),
        ({"PBE_energy": -7.65, "PBE_forces": np.zeros((2, 3))}, True),
        ({"PBE_energy": -7.05, "PBE_forces": np.full((2, 3), 0.1)}, True),
        ({"REF_forces": np.full((2, 3), 0.1)}, True),
        # the same label under two names, and energies of another meaning
        ({"REF_energy": -7.05, "REF_forces": np.zeros((2, 3))}, False),
        ({"energy_sigma": 0.001}, False),
        ({"energy_corrected": -1.0}, False),
        ({"kinetic_energy": 0.1}, False),
        ({"energy_std": 0.1, "forces_std": np.full((2, 3), 0.1)}, False),
    ],
)
def test_labels_that_differ_are_refused_unless_a_key_chooses(others, differ) -> None:
    atoms = labelled(**others)
    if not differ:
        assert computed_of(atoms).energy_eV == -7.05
        return
    with pytest.raises(RivalLabelsError) as refused:
        computed_of(atoms)
    for name in ("energy", "forces", *others):
        assert name in refused.value.message
    for option in ("--energy-key", "--forces-key", "--stress-key"):
        assert option in refused.value.message
    assert computed_of(atoms, ImportOptions(energy_key="energy")).energy_eV == -7.05


@pytest.mark.parametrize(
    ("others", "proposed"),
    [
        ({"REF_energy": -7.65, "REF_forces": np.ones((2, 3))}, "--energy-key REF_energy --forces-key REF_forces"),
        # a model's labels are never proposed, nor a mixture of two sets
        ({"MACE_energy": -7.65, "MACE_forces": np.ones((2, 3))}, "--energy-key energy --forces-key forces"),
        ({"REF_energy": -7.65}, "--energy-key energy --forces-key forces"),
    ],
)
def test_the_proposed_keys_name_one_whole_set_and_references_if_there_are_any(others, proposed) -> None:
    with pytest.raises(RivalLabelsError) as refused:
        computed_of(labelled(**others))
    assert refused.value.fix == proposed


def test_stresses_that_differ_are_refused() -> None:
    atoms = labelled(stress=np.arange(6) / 100, REF_stress=np.arange(6) / 10)
    with pytest.raises(RivalLabelsError, match="stresses stress, REF_stress"):
        computed_of(atoms)


def test_a_key_takes_the_other_values_of_its_prefix() -> None:
    atoms = labelled(REF_energy=-7.65, REF_forces=np.ones((2, 3)), REF_virials=VIRIAL_EV.ravel())
    computed = computed_of(atoms, ImportOptions(energy_key="REF_energy"))
    assert computed.energy_eV == -7.65 and np.array_equal(computed.forces_eV_A, np.ones((2, 3)))
    expected = -VIRIAL_EV[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
    assert computed.stress_eV_A3 == pytest.approx(expected)
    other = computed_of(atoms, ImportOptions(energy_key="REF_energy", forces_key="forces"))
    assert np.array_equal(other.forces_eV_A, np.zeros((2, 3)))


def test_a_key_that_is_not_there_is_said() -> None:
    with pytest.raises(DataError, match=r"no dft_energy, which --energy-key names \(there are: energy, forces\)"):
        computed_of(labelled(), ImportOptions(energy_key="dft_energy"))
    with pytest.raises(DataError, match="--forces-key"):
        computed_of(labelled(REF_energy=-7.65), ImportOptions(energy_key="REF_energy"))
    with pytest.raises(InputError, match="signs differ"):
        checked(ImportOptions, {"stress_key": "REF_tensor"})


@pytest.mark.parametrize("name", ["virial", "virials"])
def test_a_virial_becomes_a_stress_of_opposite_sign(name) -> None:
    atoms = labelled(**{name: VIRIAL_EV.ravel() if name == "virials" else VIRIAL_EV})
    assert computed_of(atoms).stress_eV_A3 == pytest.approx(np.array([-1, -2, -3, 0, 0, -0.1]) / atoms.get_volume())


def test_a_stress_of_another_name_is_named_with_the_option_that_takes_it() -> None:
    atoms = labelled(dft_virial=VIRIAL_EV)
    assert unread_labels(atoms, computed_of(atoms))[1] == "--stress-key dft_virial"
    computed = computed_of(atoms, ImportOptions(stress_key="dft_virial"))
    assert computed.stress_eV_A3[0] == pytest.approx(-1 / atoms.get_volume())
    assert unread_labels(atoms, computed) == ("", "")


def test_other_spellings_are_not_read_by_themselves() -> None:
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    atoms.info["Energy"], atoms.arrays["Forces"] = -7.0, np.zeros((2, 3))
    assert computed_of(atoms) is None
    assert unread_labels(atoms, None)[1] == "--energy-key Energy --forces-key Forces"
    assert computed_of(atoms, ImportOptions(energy_key="Energy", forces_key="Forces")).energy_eV == -7.0
