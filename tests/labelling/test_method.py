"""The fingerprint separates what is physics from what is not, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.labelling.method import Method

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=5), st.randoms())
def test_order_of_the_keys_does_not_matter(parameters, random):
    keys = list(parameters)
    random.shuffle(keys)
    shuffled = {key: parameters[key] for key in keys}
    assert Method(code="x", parameters=parameters).fingerprint() == Method(code="x", parameters=shuffled).fingerprint()


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_a_stored_and_read_method_has_the_same_fingerprint(parameters):
    method = Method(code="x", version="1", parameters=parameters)
    read = MontyDecoder().process_decoded(json.loads(json.dumps(method, cls=MontyEncoder)))
    again = Method.model_validate(json.loads(method.model_dump_json()))
    assert read.fingerprint() == again.fingerprint() == method.fingerprint()


def test_the_form_is_code_and_16_hex_digits():
    code, digits = Method(code="cp2k", parameters={"a": 1}).fingerprint().split(":")
    assert code == "cp2k"
    assert len(digits) == 16 and set(digits) <= set("0123456789abcdef")


def test_the_fingerprint_is_the_same_on_every_machine_and_day():
    # a changed value here means that every stored label has lost its method: migrate the database, too
    assert Method(code="vasp", parameters={"ENCUT": 600, "LREAL": False}).fingerprint() == "vasp:f032c0696474645a"


@pytest.mark.parametrize(
    "other",
    [
        {"code": "b", "version": "1", "parameters": {"x": 1.0}},
        {"code": "a", "version": "2", "parameters": {"x": 1.0}},
        {"code": "a", "version": "1", "parameters": {"x": 1.0000000000000002}},
        {"code": "a", "version": "1", "parameters": {"x": "1.0"}},
        {"code": "a", "version": "1", "parameters": {"x": True}},
        {"code": "a", "version": "1", "parameters": {"x": 1.0, "y": None}},
    ],
)
def test_any_change_of_the_physics_changes_it(other):
    one = Method(code="a", version="1", parameters={"x": 1.0})
    assert Method(**other).fingerprint() != one.fingerprint()


def test_numbers_are_compared_by_value():
    written = Method(code="a", parameters={"x": 600, "mesh": (3, 3, 3), "zero": 0.0})
    read = Method(code="a", parameters={"x": np.float64(600), "mesh": np.array([3, 3, 3]), "zero": -0.0})
    assert written.fingerprint() == read.fingerprint()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a": [object()]}])
def test_values_without_canonical_text_are_refused(value):
    with pytest.raises((InputError, ValidationError)):
        Method(code="a", parameters={"x": value})
