"""No backend's number is believed unless it is complete, finite, within bounds and of the asked method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.labelling.backend import (
    BackendModel,
    Bounds,
    LabelBackend,
    RawLabel,
    checked_label,
    failed,
)
from gst_jobflow.labelling.method import Method

ASKED = Method(code="given", parameters={"a": 1})


class GivenBackend(BackendModel):
    """A backend that returns what the test gave it."""

    elements: list[str] = []  # noqa: RUF012

    def known_elements(self):
        return self.elements

    def method(self):
        return ASKED

    def compute(self, atoms, directory):
        atoms.positions += 1.0  # the caller's structure must not follow
        return self._label

    _label: RawLabel = None


def given(label: RawLabel, **fields) -> GivenBackend:
    backend = GivenBackend(**fields)
    backend._label = label
    return backend


def good(atoms: Atoms, **changes) -> RawLabel:
    label = {"converged": True, "energy_eV": -4.0 * len(atoms), "forces_eV_A": np.zeros((len(atoms), 3))}
    return RawLabel(**{**label, **changes})


@pytest.fixture
def gete() -> Atoms:
    return bulk("GeTe", "rocksalt", a=6.0, cubic=True)


def test_a_good_label_passes_and_the_structure_is_untouched(gete, tmp_path):
    before = gete.positions.copy()
    backend = given(good(gete, stress_eV_A3=np.zeros(6)))
    label = checked_label(backend, gete, tmp_path)
    assert isinstance(backend, LabelBackend)
    assert label.converged and label.failure_class == "" and label.energy_eV == -32.0
    assert np.array_equal(gete.positions, before)


@pytest.mark.parametrize(
    ("changes", "failure_class", "words"),
    [
        ({"energy_eV": None}, "missing_output", "no energy"),
        ({"forces_eV_A": None}, "missing_output", "no forces"),
        ({"forces_eV_A": np.zeros((7, 3))}, "missing_output", "shape"),
        ({"energy_eV": float("nan")}, "unphysical", "finite"),
        ({"forces_eV_A": np.full((8, 3), np.inf)}, "unphysical", "finite"),
        ({"stress_eV_A3": np.full(6, np.nan)}, "unphysical", "stress"),
        ({"energy_eV": -3314.0 * 8}, "unphysical", "-3314 eV/atom"),
        ({"energy_eV": 61.0 * 8}, "unphysical", "outside"),
        ({"forces_eV_A": np.full((8, 3), 400.0)}, "unphysical", "largest force"),
        ({"method_seen": Method(code="given", parameters={"a": 2})}, "wrong_method", "a: 1.0 -> 2.0"),
        ({"converged": False, "failure_class": "timeout", "reason": "slow"}, "timeout", "slow"),
    ],
)
def test_an_implausible_label_fails_and_keeps_no_numbers(gete, tmp_path, changes, failure_class, words):
    label = checked_label(given(good(gete, **changes)), gete, tmp_path)
    assert (label.converged, label.failure_class) == (False, failure_class)
    assert words in label.reason and "\n" not in label.reason
    assert label.energy_eV is None and label.forces_eV_A is None and label.stress_eV_A3 is None


def test_bounds_relative_to_free_atoms(gete, tmp_path):
    bounds = Bounds(free_atom_eV={"Ge": -41.0, "Te": -100.0})
    normal = good(gete, energy_eV=-77.0 * 8)
    assert checked_label(given(normal, bounds=bounds), gete, tmp_path).converged
    assert not checked_label(given(normal), gete, tmp_path).converged


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(), "without atoms"),
        (Atoms("Xe", cell=[9, 9, 9], pbc=True), "Xe"),
        (Atoms("X", cell=[9, 9, 9], pbc=True), "X"),
        (Atoms("GeTe", positions=[[0, 0, 0], [0, 0, 0.9]], cell=[9, 9, 9], pbc=True), "0.900 Å apart"),
        (Atoms("Ge", cell=[0.9, 9, 9], pbc=True), "atoms 0 and 0"),
        (Atoms("Ge", cell=[9, 9, 0], pbc=True), "volume"),
        (Atoms("Ge", positions=[[np.nan, 0, 0]], cell=[9, 9, 9], pbc=True), "finite"),
    ],
)
def test_bad_input_is_refused_by_check_and_gives_a_failed_label(atoms, words, tmp_path):
    backend = given(good(atoms), elements=["Ge", "Sb", "Te"])
    with pytest.raises(InputError, match=words):
        backend.check(atoms)
    label = checked_label(backend, atoms, tmp_path)
    assert label.failure_class == "bad_input" and words in label.reason


def test_an_element_without_a_free_atom_energy_is_bad_input(gete):
    with pytest.raises(InputError, match="no free-atom energy for Te"):
        GivenBackend(bounds=Bounds(free_atom_eV={"Ge": -41.0})).check(gete)


def test_a_missing_program_ends_the_chunk(gete, tmp_path):
    class Absent(GivenBackend):
        def compute(self, atoms, directory):
            raise MissingProgramError("no program", "install it")

    with pytest.raises(MissingProgramError, match="install it"):
        checked_label(Absent(), gete, Path(tmp_path))


def test_the_closest_pair_counts_periodic_images(gete):
    # half the cubic cell is 3 Å
    GivenBackend(floor_A=2.9).check(gete)
    with pytest.raises(InputError, match=r" are 3\.000 Å apart, less than 3\.1 Å"):
        GivenBackend(floor_A=3.1).check(gete)


def test_failure_classes_are_a_closed_list():
    with pytest.raises(ValueError, match="unknown failure class"):
        failed("oops", "x")
