"""Numbers of CP2K in the forms of versions up to 2024 and from 2025."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import Bohr, GPa, Hartree

from gst_jobflow.labelling.cp2k_output import (
    BOHR_A,
    GPA_EV_A3,
    HARTREE_EV,
    read_energy,
    read_forces,
    read_single_point,
    read_stress,
)

FORCES = """
 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X                  Y                  Z
      1      1      Ge         -0.035324537037     0.016105107442    -0.020054996608
      2      2      Te          0.035322355170    -0.016097683978     0.020050071665
 SUM OF ATOMIC FORCES          -0.000002181866     0.000007423465    -0.000004924943     0.000009171883
"""
STRESS = """
 STRESS| Analytical stress tensor [GPa]
 STRESS|                        x                   y                   z
 STRESS|      x        5.71827927065E+01   6.77349842943E-01  -8.31712317833E-01
 STRESS|      y        6.77349842943E-01   5.05350469493E+01   4.01346680497E-01
 STRESS|      z       -8.31712317833E-01   4.01346680497E-01   5.17700508517E+01
 STRESS| 1/3 Trace                                             5.31626301692E+01
 STRESS| Eigenvectors and eigenvalues of the analytical stress tensor [GPa]
 STRESS|      x          -0.131780003062      0.101585747909      0.986060021811
"""
FORCES_2025 = """
 FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x                   y                   z                   |f|
 FORCES|      1 -3.532453703700E-02  1.610510744200E-02 -2.005499660800E-02   4.370000000000E-02
 FORCES|      2  3.532235517000E-02 -1.609768397800E-02  2.005007166500E-02   4.370000000000E-02
 FORCES| Sum    -2.181866000000E-06  7.423465000000E-06 -4.924943000000E-06
 FORCES| Total atomic force                                                   9.171883000000E-06
"""


def test_units_are_those_of_ase():
    assert (Hartree, Bohr, GPa) == (HARTREE_EV, BOHR_A, GPA_EV_A3)


@pytest.mark.parametrize(
    "line",
    [
        " ENERGY| Total FORCE_EVAL ( QS ) energy (a.u.):              -60.123456789012344",
        " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -60.123456789012344",
        " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]            -60.123456789012344",
        " ENERGY| Total FORCE_EVAL ( QS ) energy [Ry]                -120.246913578024688",
    ],
)
def test_the_energy_of_every_form(line):
    assert read_energy(f"{line}\n more\n") == pytest.approx(-60.123456789012344 * Hartree, rel=1e-14)


def test_the_last_energy_counts_and_stars_are_none():
    first = " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]: -1.0\n"
    assert read_energy(first + first.replace("-1.0", "-2.0")) == pytest.approx(-2 * Hartree)
    with pytest.raises(ValueError, match="no total energy"):
        read_energy(first + first.replace("-1.0", "****"))
    with pytest.raises(ValueError, match="no total energy"):
        read_energy("")
    with pytest.raises(ValueError, match="energy is in kelvin"):
        read_energy(first.replace("a.u.", "kelvin"))


def test_forces_of_both_forms_are_the_same():
    np.testing.assert_allclose(read_forces(FORCES_2025, 2), read_forces(FORCES, 2), rtol=1e-12)
    with pytest.raises(ValueError, match="2 atoms, not 3"):
        read_forces(FORCES_2025, 3)
    with pytest.raises(ValueError, match="known form"):
        read_forces("ATOMIC FORCES\n", 2)


def test_forces_are_read_in_order_and_converted():
    forces = read_forces(FORCES, 2)
    assert forces.shape == (2, 3)
    assert forces[1, 2] == pytest.approx(0.020050071665 * Hartree / Bohr, rel=1e-12)
    with pytest.raises(ValueError, match="2 atoms, not 3"):
        read_forces(FORCES, 3)
    with pytest.raises(ValueError, match="in eV; print it in"):
        read_forces(FORCES.replace("a.u.", "eV"), 2)


def test_stress_is_read_in_voigt_order_with_the_sign_of_ase():
    stress = read_stress(STRESS)
    expected = -np.array([57.1827927065, 50.5350469493, 51.7700508517, 0.401346680497, -0.831712317833, 0.677349842943])
    np.testing.assert_allclose(stress, expected * GPa, rtol=1e-12)
    np.testing.assert_allclose(read_stress(STRESS.replace("GPa", "kbar")), stress / 10, rtol=1e-12)
    with pytest.raises(ValueError, match="stress is in atm"):
        read_stress(STRESS.replace("GPa", "atm"))


def test_files_beside_the_output_come_first_and_must_be_one(tmp_path):
    text = " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree] -1.0\n" + FORCES_2025 + STRESS
    inside = read_single_point(text, tmp_path, "label", 2)
    assert inside.forces_eV_A is not None and inside.stress_eV_A3 is not None
    (tmp_path / "label-forces-1_0.xyz").write_text(FORCES.replace("-0.035324537037", "-0.035324537000"))
    beside = read_single_point(text, tmp_path, "label", 2)
    assert beside.forces_eV_A[0, 0] != inside.forces_eV_A[0, 0]
    (tmp_path / "label-forces-1_1.xyz").write_text(FORCES)
    with pytest.raises(ValueError, match="2 files of forces"):
        read_single_point(text, tmp_path, "label", 2)
    assert read_single_point(text.split(" FORCES")[0], tmp_path / "..", "label", 2).forces_eV_A is None
