"""Inputs of dynamics with CP2K, and which method their energies and forces are."""

from __future__ import annotations

import pytest
from ase.build import bulk

from gst_jobflow.base.errors import InputError
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, CarParrinello, MdPart, md_input, md_method

PART = MdPart(temperature_K=900, steps=40, timestep_fs=2, every=5, seed=3)
GETE = bulk("GeTe", "rocksalt", a=6.0)


def sections_close(text: str) -> bool:
    begun = [line for line in text.splitlines() if line.strip().startswith("&") and "&END" not in line]
    return len(begun) == text.count("&END")


@pytest.mark.parametrize("dynamics", [BornOppenheimer(), CarParrinello()])
def test_an_input_states_timestep_temperature_and_what_is_printed(dynamics):
    text = md_input(GETE, Cp2kSettings(), dynamics, PART)
    assert sections_close(text)
    for words in ("RUN_TYPE MD", "STEPS 40", "TIMESTEP [fs] 2.0", "TEMPERATURE [K] 900.0", "SEED 3"):
        assert words in text
    assert text.count("MD 5") == 2  # positions and forces; the restart is of every step
    assert "EXT_RESTART" not in text
    assert "RESTART_FILE_NAME ../a/b" in md_input(
        GETE, Cp2kSettings(), dynamics, PART.model_copy(update={"restart": "../a/b"})
    )


def test_the_electrons_of_born_oppenheimer_are_those_of_labels():
    text = md_input(GETE, Cp2kSettings(k_spacing_per_A=0.5), BornOppenheimer(thermostat_fs=30), PART)
    assert "ENSEMBLE NVT" in text and "TIMECON [fs] 30.0" in text
    assert "METHOD FERMI_DIRAC" in text and "MONKHORST-PACK" in text and "&OT" not in text
    backend = Cp2kBackend(settings=Cp2kSettings(k_spacing_per_A=0.5))
    assert md_method(backend, BornOppenheimer(), "2023.1") == backend.method_of("2023.1")


def test_second_generation_car_parrinello_corrects_a_few_times_and_is_another_method():
    dynamics = CarParrinello(corrector_steps=3, history=2, gamma_per_fs=0.002, noisy_gamma_per_fs=0.0003)
    text = md_input(GETE, Cp2kSettings(), dynamics, PART)
    for words in ("ENSEMBLE LANGEVIN", "MAX_SCF_HISTORY 3", "EXTRAPOLATION ASPC", "EXTRAPOLATION_ORDER 2", "&OT ON"):
        assert words in text
    assert "GAMMA [fs^-1] 0.002" in text and "NOISY_GAMMA [fs^-1] 0.0003" in text
    assert "SMEAR" not in text and "DIAGONALIZATION" not in text
    backend = Cp2kBackend(settings=Cp2kSettings())
    one = md_method(backend, dynamics, "2023.1")
    assert one.fingerprint() != backend.method_of("2023.1").fingerprint()
    # how the atoms are kept warm is no part of it; how the electrons follow is
    warmer = dynamics.model_copy(update={"gamma_per_fs": 0.01})
    better = dynamics.model_copy(update={"corrector_steps": 4})
    assert md_method(backend, warmer, "2023.1").fingerprint() == one.fingerprint()
    assert md_method(backend, better, "2023.1").fingerprint() != one.fingerprint()


def test_car_parrinello_with_k_points_is_refused():
    with pytest.raises(InputError, match="Gamma point only"):
        md_input(GETE, Cp2kSettings(k_spacing_per_A=0.5), CarParrinello(), PART)
