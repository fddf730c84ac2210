"""What a record says of energies: which set of labels is taken, and which stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gst_jobflow.importing.records import rival_label


@pytest.mark.parametrize(
    ("name", "value_eV", "is_rival"),
    [
        ("REF_energy", -7.65, True),
        ("dft_energy", -7.65, True),
        # the same energy under two names, and energies of another meaning
        ("REF_energy", -7.05, False),
        ("energy_sigma", 0.001, False),
        ("energy_corrected", -1.0, False),
    ],
)
def test_reference_energies_beside_others_are_named_where_they_differ(name, value_eV, is_rival) -> None:
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    atoms.calc = SinglePointCalculator(atoms, energy=-7.05, forces=np.zeros((2, 3)))
    atoms.info[name] = value_eV
    assert (name in rival_label(atoms)) is is_rival
    assert bool(rival_label(atoms)) is is_rival
