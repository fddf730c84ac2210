"""A document's line reads back to the same document, whatever it holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from bson import json_util
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import DataError
from gst_jobflow.exporting.documents import from_line, to_line
from tests.documents.test_documents import structure

TIMES = st.integers(0, 10**13).map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms % 10**12))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["$where", '{"$date', ',"$', '"$'])
    | st.binary()
    | TIMES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), VALUES))
def test_a_document_reads_back_exactly(source: dict) -> None:
    document = structure(source=source)
    line = to_line(type(document), document.to_mongo())
    assert "\n" not in line
    back = from_line(line, "here")
    assert type(document).model_validate(back) == document
    # the sign of zero and the order of keys, which == does not see
    assert repr(back["source"]) == repr(source)
    assert to_line(type(document), back) == line
    assert json_util.loads(line, json_options=json_util.JSONOptions(tz_aware=True, tzinfo=UTC)) == back


def test_the_order_of_fields_in_the_database_does_not_matter() -> None:
    fields = structure().to_mongo()
    shuffled = dict(sorted(fields.items(), reverse=True))
    assert to_line(type(structure()), shuffled) == to_line(type(structure()), fields)
    assert json.loads(to_line(type(structure()), fields))["_id"] == "a" * 32


@pytest.mark.parametrize("source", [{"$date": "x"}, {"a": [{"b": {"$x": 1}}]}, {"a": float("nan")}])
def test_what_would_read_back_as_something_else_is_refused(source: dict) -> None:
    document = structure()
    with pytest.raises(DataError, match="a" * 32):
        to_line(type(document), {**document.to_mongo(), "source": source})
