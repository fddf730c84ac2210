"""What is read off the profiles of a pulse."""

from __future__ import annotations

import numpy as np
import pytest

from gst_jobflow.devices.analysis import heating
from gst_jobflow.dynamics.series import ProfileFrame
from gst_jobflow.dynamics.stages import LinearZ, Protocol, Pulse


def test_single_atoms_outside_the_crystal_do_not_count_as_hottest_slice() -> None:
    pulse = Pulse(energy_eV=1.0, duration_ps=2.0, every_ps=1.0, profile=LinearZ(bottom_A=0, top_A=50))
    protocol = Protocol(name="RESET", stages=[pulse], seed=1)
    z_A = np.arange(2.5, 70, 5.0)
    count = np.where(z_A < 50, 100.0, 0.0)
    temperature_K = np.where(z_A < 50, 1000.0 - 10.0 * z_A, 0.0)
    # an atom and a half in the last bin: it went through the periodic boundary below z = 0
    count[-1], temperature_K[-1] = 1.5, 5000.0
    found = heating([ProfileFrame(1000, z_A, count, temperature_K, count / 500)], protocol)
    assert found["peak_K"] == pytest.approx(975.0) and found["peak_z_A"] == 2.5
    assert found["gradient_K_per_nm"] == pytest.approx(-100.0)
    assert found["bottom_K"] > found["top_K"] == pytest.approx(np.mean([575.0, 525.0]), abs=1)
