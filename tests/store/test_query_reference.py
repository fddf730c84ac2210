"""Filters against a reference: what the server finds is what plain Python finds in the same documents."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gst_jobflow.store import Results
from gst_jobflow.store.query import ALIASES, make_query
from tests.documents.test_documents import structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo

NUMBERS = {"n_atoms": [2], "iteration": [0, 1, 2, 3], "dmin": [2.2, 2.4, 2.75, 3.0, None], "source.energy": [-1, 0.5]}
TEXTS = {
    "formula": ["GeTe", "Ge2Sb2Te5", "Sb2Te3"],
    "config_type": ["crystal", "hard_sphere", "rss"],
    "tags": ["all", "a.b", "a,b", "$where", "run-1", "run-2"],
    "source.builder": ["import", "relax"],
}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@cache
def documents() -> list[Any]:
    """Sixty structures in which every value of the tables above stands, alone and with others."""
    made = []
    for k in range(60):
        closest_A = NUMBERS["dmin"][k % 5]
        tags = TEXTS["tags"][k % 6 : k % 6 + k % 3]
        source = {"builder": TEXTS["source.builder"][k % 2]} | ({"energy": -1 + 0.5 * (k % 4)} if k % 3 else {})
        fields = {"formula": TEXTS["formula"][k % 3], "config_type": TEXTS["config_type"][(k // 3) % 3]}
        fields |= {"iteration": k % 4, "min_distance_A": closest_A, "tags": tags, "source": source}
        made.append(structure(_id=f"{k:032d}", **fields))
    return made


@pytest.fixture(scope="module")
def stored(mongo_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.address import connection
    from gst_jobflow.store.connect import open_database
    from gst_jobflow.store.files.artifacts import ArtifactStore

    LocalMongod(mongo_project).allow_database("query_reference")
    client = open_database(connection(mongo_project)).client
    results = Results(client["query_reference"], ArtifactStore(tmp_path_factory.mktemp("artifacts")))
    results.add_many(documents())
    yield results
    client.drop_database("query_reference")
    client.close()


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, list[Any]]:
    """A field, a comparison and its values."""
    field = draw(st.sampled_from([*NUMBERS, *TEXTS]))
    if field in NUMBERS:
        sign = draw(st.sampled_from(list(COMPARE)))
        known = st.sampled_from([value for value in NUMBERS[field] if value is not None])
        value = known | st.floats(-5, 5, allow_nan=False).map(lambda number: round(number, 3)) | st.integers(-3, 5)
    else:
        below = [] if field.startswith("source") else ["~"]  # what free-form fields hold need not be text
        sign = draw(st.sampled_from([*COMPARE, *below]))
        value = st.sampled_from(TEXTS[field]) | st.text("abGeTrun-.*$12,\\", min_size=1, max_size=4)
        value = value.filter(lambda text: not text.endswith("\\"))  # before a comma it is part of the comma
        if field.startswith("source"):
            value = st.sampled_from([*TEXTS[field], "other"])  # text that looks like a number is one there
    several = sign in ("=", "!=") and draw(st.booleans())
    return field, sign, draw(st.lists(value, min_size=1, max_size=3)) if several else [draw(value)]


def written(condition: tuple[str, str, list[Any]]) -> str:
    field, sign, values = condition
    texts = [str(value).replace(",", "\\,") if sign != "~" else str(value) for value in values]
    return f"{field}{sign}{','.join(texts)}"


def holds(document: Any, condition: tuple[str, str, list[Any]]) -> bool:
    """What the documentation says of a condition, on one document."""
    field, sign, values = condition
    found: Any = document.to_mongo()
    for part in ALIASES.get(field, field).split("."):
        found = found.get(part) if isinstance(found, dict) else None
    held = found if isinstance(found, list) else [found]
    if sign == "~":
        return any(item is not None and item.startswith(values[0]) for item in held)
    if sign == "!=":
        return all(item != value for item in held for value in values)
    return any(item is not None and COMPARE[sign](item, value) for item in held for value in values)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(conditions(), min_size=1, max_size=3))
def test_the_server_finds_what_plain_python_finds(stored: Results, asked: list[Any]) -> None:
    if any(sign == "~" and "\\," in values[0] for _, sign, values in asked):
        return  # the one text that has a second meaning
    query = make_query("structures", [" ".join(written(condition) for condition in asked)], sort="id")
    found = [document["id"] for document in query.documents(stored.database)]
    assert found == [known.id for known in documents() if all(holds(known, condition) for condition in asked)]
