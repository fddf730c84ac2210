"""Filters that people write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.errors import InputError
from gst_jobflow.store import Results
from gst_jobflow.store.query import COLUMNS, make_query, pick
from tests.documents.test_documents import structure

if TYPE_CHECKING:
    from gst_jobflow.settings import Project


def test_conditions_become_typed_comparisons() -> None:
    query = make_query("structures", ["n_atoms>=8 n_atoms<40", "dmin>2.4", "config_type!=crystal"])
    assert query.where == {
        "n_atoms": {"$gte": 8, "$lt": 40},
        "min_distance_A": {"$gt": 2.4},
        "config_type": {"$ne": "crystal"},
    }


def test_a_composition_is_found_however_it_is_written() -> None:
    wheres = [
        make_query("structures", [f"composition={text}"]).where for text in ("Ge2Sb2Te5", "Te5Sb2Ge2", "Ge4Sb4Te10")
    ]
    assert wheres[0] == wheres[1] == wheres[2]


def test_text_fields_stay_text_and_times_are_times() -> None:
    assert make_query("structures", ["tags=2024"]).where == {"tags": {"$eq": "2024"}}
    assert make_query("labels", ["fingerprint=123"]).where == {"fingerprint": {"$eq": "123"}}
    assert make_query("labels", ["created_at>=2026-01-31"]).where["created_at"]["$gte"] == datetime(2026, 1, 31)


def test_paths_into_documents() -> None:
    query = make_query("potentials", ["rmse.test.force_meV_per_A<150"], sort="-rmse.test.energy_meV_per_atom")
    assert query.where == {"rmse.test.force_meV_per_A": {"$lt": 150}}
    assert query.sort == [("rmse.test.energy_meV_per_atom", -1)]


@pytest.mark.parametrize(
    ("collection", "condition", "words"),
    [
        ("structure", "", "did you mean 'structures'"),
        ("structures", "natoms>3", "did you mean 'n_atoms'"),
        ("structures", "n_atoms", "field=value"),
        ("structures", "n_atoms>many", "not a number"),
        ("structures", "$where=1", "cannot read"),
        ("structures", "created_at>yesterday", "not a time"),
        ("structures", "composition=Xx2", "Xx"),
    ],
)
def test_what_cannot_be_asked_is_said(collection: str, condition: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_query(collection, [condition])
    assert words in str(caught.value)


def test_values_are_never_operators() -> None:
    where = make_query("structures", ['formula={"$ne":null}', "tags=$where"]).where
    assert where == {"formula": {"$eq": '{"$ne":null}'}, "tags": {"$eq": "$where"}}


@pytest.mark.parametrize("collection", COLUMNS)
def test_the_columns_of_tables_exist(collection: str) -> None:
    for column in COLUMNS[collection]:
        make_query(collection, sort=column)


@pytest.mark.mongo
def test_documents_are_found_counted_and_shown_without_arrays(project: Project) -> None:
    results = Results.open(project)
    sizes = {"a": 2, "b": 2, "c": 2}
    results.add_many([structure(_id=key * 32, min_distance_A=2.0 + n, tags=[key]) for n, key in enumerate(sizes)])
    query = make_query("structures", ["dmin>2.5"], sort="dmin", limit=1)
    found = list(query.documents(results.database))
    assert query.count(results.database) == 2
    assert [document["id"] for document in found] == ["b" * 32]
    assert "positions" not in found[0] and "_id" not in found[0]
    assert pick(found[0], "composition.Ge") == 0.5 and pick(found[0], "composition.Xx.y") is None
    assert make_query("structures", ["tags=c"]).count(results.database) == 1
    assert found[0]["created_at"] <= datetime.now(UTC)
