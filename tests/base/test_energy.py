"""The energy of a pulse in its three units."""

from __future__ import annotations

import pytest

from gst_jobflow.base.energy import EV_PER_PJ, PulseEnergy


def test_the_pulses_of_the_paper_agree_in_all_units() -> None:
    # 0.064 pJ on 532,980 atoms are 0.749 eV/atom, 0.036 pJ are 0.422
    for pJ, per_atom in ((0.064, 0.749), (0.036, 0.422)):
        energy = PulseEnergy(pJ * EV_PER_PJ, 532_980)
        assert energy.eV_per_atom == pytest.approx(per_atom, abs=6e-4) and energy.pJ == pytest.approx(pJ)
    assert str(PulseEnergy(476.28, 1134)) == "476.28 eV, 0.42 eV/atom, 7.631e-05 pJ"
    assert PulseEnergy(1.0).eV_per_atom is None and "atom" not in str(PulseEnergy(1.0))
