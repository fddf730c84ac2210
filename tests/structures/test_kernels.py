"""Compiled loops of imports give what numpy, matscipy and `float` give."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.importing import extxyz
from gst_jobflow.importing.extxyz import _compiled_rows, _rows
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import OutcomeBuilder
from gst_jobflow.importing.records import Record
from gst_jobflow.structures.contacts import smallest_distance
from gst_jobflow.structures.document_fields import identified
from gst_jobflow.structures.kernels import closest_within, read_rows
from gst_jobflow.structures.plain_atoms import PlainAtoms

DECIMALS = st.one_of(
    st.floats(-1e6, 1e6).map(lambda x: f"{x:.8f}"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"[+-]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(DECIMALS, min_size=3, max_size=3), st.sampled_from([" ", "   ", "\t"]), st.sampled_from(["", " ", "\r"])
)
def test_numbers_are_read_as_float_reads_them_or_not_at_all(words: list[str], gap: str, end: str) -> None:
    body = f"{gap}Te{gap}{gap.join(words)}{end}\n".encode()
    wanted = np.array([[float(word) for word in words]]).tobytes()
    made = _compiled_rows(body, 1, 4)
    if made is not None:
        assert made[0].tolist() == [52]
        assert made[1].tobytes() == wanted
    plain = _rows(body, 1, 4)
    assert plain is not None and plain[1].tobytes() == wanted


@pytest.mark.parametrize("words", ["-0 1 2", "1 -0 2", "1 2 -0", "-0 -0 -0", "-0.0 0 -0e0"])
def test_both_keep_the_sign_of_zero(words: str) -> None:
    body = f"Te {words}\n".encode()
    made, plain = _compiled_rows(body, 1, 4), _rows(body, 1, 4)
    assert made is not None and plain is not None
    wanted = np.array([[float(word) for word in words.split()]]).tobytes()
    assert made[1].tobytes() == plain[1].tobytes() == wanted


@pytest.mark.parametrize("word", ["12.34567890", "-0.00000000", "+1.5", ".5", "7.", "3", "1e-5", "2.5E+3", "0000.1"])
def test_usual_numbers_need_no_second_look(word: str) -> None:
    numbers, values = _compiled_rows(f"Ge 0.0 1.0 {word}\n".encode(), 1, 4) or pytest.fail("not read")
    assert numbers.tolist() == [32] and values[0, 2] == float(word)
    assert math.copysign(1, values[0, 2]) == math.copysign(1, float(word))


@pytest.mark.parametrize(
    "body",
    [
        "Te 0 0\n", "Te 0 0 0 0\n", "Te 0 0 0\nTe 0 0 0\n", "Te 0 0 0", "", "\n", "Te\n", "0 0 0 0\n", "Xy 0 0 0\n",
        "Tee 0 0 0\n", "te 0 0 0\n", "Te 0 0 nan\n", "Te 0 0 1,5\n", "Te 0 0 1_0\n", "Te 0 0 -\n", "Te 0 0 .\n",
        "Te 0 0 1e\n", "Te 0 0 1.2.3\n", "Te0 0 0 0\n", "Te 0 0 0x1\n", "Te 0 0\n0\n", "Te 0 0 T\n", "Té 0 0 0\n",
        "Te 0 0 123456789012345678901\n", "Te 0 0 1e-30\n",
    ],
)  # fmt: skip
def test_rows_of_another_form_are_left_to_others(body: str) -> None:
    assert _compiled_rows(body.encode(), 1, 4) is None


def test_a_damaged_count_reserves_no_memory() -> None:
    assert _compiled_rows(b"Te 0 0 0\n", 10**9, 4) is None


def test_rows_are_those_that_numpy_reads() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0, 5, (200, 6))
    symbols = rng.choice(["H", "Ge", "Sb", "Te", "X"], 200)
    text = "".join(
        f"{symbol} " + " ".join(f"{x:16.8f}" for x in row) + "\n" for symbol, row in zip(symbols, table, strict=True)
    )
    fast, slow = _compiled_rows(text.encode(), 200, 7), _rows(text.encode(), 200, 7)
    assert fast is not None and slow is not None
    assert np.array_equal(fast[0], slow[0]) and fast[1].tobytes() == slow[1].tobytes()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ids_and_distances_are_those_of_numpy_and_matscipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_atoms = int(rng.integers(1, 40))
    cell = np.diag(rng.uniform(1.5, 12, 3)) + rng.uniform(-1.5, 1.5, (3, 3)) * rng.choice([0, 1])
    if abs(np.linalg.det(cell)) < 1:
        cell = np.diag([2.0, 3.0, 4.0])
    fractions = rng.uniform(-2, 3, (n_atoms, 3))
    # on the faces, just below them, and on the grid
    fractions[rng.random((n_atoms, 3)) < 0.2] = rng.choice([0.0, 1.0, -1e-9, 1 - 1e-9, 0.5])
    atoms = Atoms(numbers=rng.integers(1, 90, n_atoms), positions=fractions @ cell, cell=cell, pbc=True)
    (id, fields), (own_id, own_fields) = identified(atoms), identified(PlainAtoms.of(atoms))
    assert own_id == id
    assert own_fields.pop("min_distance_A") == pytest.approx(fields.pop("min_distance_A"), rel=1e-9, abs=1e-9)
    assert own_fields == fields


def far(far_A: float) -> Atoms:
    cell = [[5.1, 0.3, 0.0], [0.0, 6.3, 0.7], [0.2, 0.0, 7.7]]
    return Atoms("GeTe2", positions=[[0.1, 0.2, 0.3], [far_A, 3, 3.1], [1, far_A / 3, -far_A]], cell=cell, pbc=True)


@pytest.mark.parametrize("far_A", [1e7, -1e8])
def test_an_atom_far_outside_of_the_cell_is_the_same_by_both(far_A: float) -> None:
    (id, fields), (own_id, own_fields) = identified(far(far_A)), identified(PlainAtoms.of(far(far_A)))
    assert own_id == id
    # what rounding leaves of the places in the cell
    assert own_fields.pop("min_distance_A") == pytest.approx(fields.pop("min_distance_A"), abs=1e-6)
    assert own_fields == fields


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("far_A", [1.1e8, -1e9])
def test_an_atom_whose_place_rounding_lost_is_a_bad_record(far_A: float, compiled: bool) -> None:
    builder = OutcomeBuilder(ImportOptions(), compiled=compiled)
    outcome = builder.outcome(Record(Path("x.xyz"), 0, far(far_A)))
    assert "rounding lost its place" in outcome.problem and outcome.structure is None


def test_the_closest_is_an_image_of_the_atom_itself() -> None:
    atoms = Atoms("Te", positions=[[0.1, 7.0, -3.0]], cell=[9.0, 2.5, 40.0], pbc=True)
    assert smallest_distance(atoms) == pytest.approx(2.5)
    reciprocal = np.linalg.inv(atoms.cell.array).T.copy()
    for cutoff_A in (2.6, 5.0, 30.0):
        assert closest_within(atoms.positions, atoms.cell.array, reciprocal, cutoff_A) == pytest.approx(2.5)
    assert closest_within(atoms.positions, atoms.cell.array, reciprocal, 2.4) == math.inf


def test_forms_that_need_no_ase_are_read_as_ase_does() -> None:
    from ase.io.extxyz import REV_PROPERTY_NAME_MAP, SPECIAL_3_3_KEYS, key_val_str_to_dict

    assert set(REV_PROPERTY_NAME_MAP) == extxyz._RENAMED_COLUMNS and SPECIAL_3_3_KEYS == extxyz._MATRICES
    for text in ("T T T", "T F T"):
        ((key, value),) = extxyz._read("pbc", text)
        assert (key, value) == ("pbc", key_val_str_to_dict(f'pbc="{text}"')["pbc"]) and type(value[0]) is bool
    columns = [("symbols", 1), ("positions", 3)]
    assert extxyz._columns("species:S:1:pos:R:3:forces:R:3:local_energy:R:1") == [
        *columns, ("forces", 3), ("local_energy", 1)
    ]  # fmt: skip
    for other in ("species:S:1:pos:R:3:Z:R:1", "pos:R:3:species:S:1", "species:S:1:pos:R:3:tags:I:1"):
        assert extxyz._columns(other) is None
    with pytest.raises(ValueError, match="more than once"):
        extxyz._columns("species:S:1:pos:R:3:forces:R:3:forces:R:3")
    assert extxyz._columns("species:S:1:pos:R:3:charge:R:1") == [*columns, ("charges", 1)]


def test_rows_without_room_for_their_atoms_are_refused() -> None:
    table = np.full(1 << 16, -1)
    assert not read_rows(np.frombuffer(b"Te 0\n", np.uint8), table, np.empty(1, np.int64), np.empty((1, 1)))
