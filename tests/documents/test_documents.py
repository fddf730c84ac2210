"""Documents: packed arrays, ids, what a document must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gst_jobflow.documents import DOCUMENTS, Label, Structure, derive_id, pack, unpack


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=30))
def test_packed_numbers_come_back_exactly(values: list[float]) -> None:
    array = np.array(values[: len(values) // 3 * 3]).reshape(-1, 3)
    assert np.array_equal(unpack(pack(array), 3), array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        pack(np.array([1.0, bad]))


def test_ids_depend_on_content_and_not_on_the_order_of_keys() -> None:
    assert derive_id("a", {"x": 1, "y": 2.5}) == derive_id("a", {"y": 2.5, "x": 1})
    assert derive_id("a", 1) != derive_id("a", 2)


def structure(**changes: object) -> Structure:
    fields = {
        "_id": "a" * 32,
        "formula": "GeTe",
        "elements": ["Ge", "Te"],
        "composition": {"Ge": 0.5, "Te": 0.5},
        "n_atoms": 2,
        "config_type": "crystal",
        "group": "a" * 32,
        "min_distance_A": 3.0,
        "density_g_cm3": 6.0,
        "volume_per_atom_A3": 27.0,
        "pbc": [True, True, True],
        "cell_A": np.eye(3).tolist(),
        "numbers": pack(np.array([32, 52]), "u1"),
        "positions": pack(np.zeros((2, 3))),
    }
    return Structure(**{**fields, **changes})


def label(**changes: object) -> Label:
    fields = {
        "_id": Label.id_for("a" * 32, "tblite:1"),
        "structure_id": "a" * 32,
        "fingerprint": "tblite:1",
        "method": {"code": "tblite"},
        "state": "converged",
        "formula": "GeTe",
        "config_type": "crystal",
        "n_atoms": 2,
        "energy_eV": -150.0,
        "energy_per_atom_eV": -75.0,
        "forces": pack(np.zeros((2, 3))),
        "max_force_eV_A": 0.0,
        "wall_s": 1.0,
    }
    return Label(**{**fields, **changes})


def test_a_document_survives_json() -> None:
    for document in (structure(), label(stress_eV_A3=[0.0] * 6)):
        assert type(document).model_validate_json(document.model_dump_json(by_alias=True)) == document


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_atoms": 3},
        {"positions": None},
        {"config_type": "cristal"},
        {"density_g_cm3": float("nan")},
        {"colour": "red"},
    ],
)
def test_an_incomplete_structure_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        structure(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"energy_eV": None}, {"forces": None}, {"forces": b"short"}, {"energy_eV": float("nan")}, {"state": "failed"}],
)
def test_converged_labels_are_complete_and_failed_ones_have_a_class(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        label(**wrong)


@pytest.mark.filterwarnings("error")
def test_a_force_that_overflows_is_refused_without_a_warning() -> None:
    forces = np.array([[1e200, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(ValidationError, match="max_force_eV_A"):
        Label.of(structure(), "code:1", {"code": "x"}, energy_eV=-4.0, forces_eV_A=forces, wall_s=0.0)


def test_documents_do_not_change() -> None:
    with pytest.raises(ValidationError):
        structure().n_atoms = 5  # type: ignore[misc]


def test_every_collection_of_the_design_has_a_document() -> None:
    names = {"structures", "labels", "datasets", "potentials", "studies", "trajectories", "cycles", "attempts"}
    assert set(DOCUMENTS) == names


@pytest.mark.parametrize(
    ("failure_class", "state"), [("", "converged"), ("wrong_method", "quarantined"), ("unphysical", "failed")]
)
def test_a_label_of_another_method_is_quarantined_and_keeps_no_numbers(failure_class: str, state: str) -> None:
    forces = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    made = Label.of(
        structure(), "code:1", {"code": "x"}, energy_eV=-4.0, forces_eV_A=forces, stress_eV_A3=np.zeros(6),
        failure_class=failure_class, reason="why" if failure_class else "", wall_s=1.0,
    )  # fmt: skip
    assert (made.state, made.id, made.config_type) == (state, Label.id_for(structure().id, "code:1"), "crystal")
    numbers = (made.energy_eV, made.energy_per_atom_eV, made.max_force_eV_A, made.forces)
    assert numbers == ((-4.0, -2.0, 5.0, forces.tobytes()) if not failure_class else (None, None, None, None))
