"""Conditions on the structures of labels, wherever labels are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Label, Structure
from gst_jobflow.store import Results, label_join
from gst_jobflow.store.query import frames, label_filters, make_query, summarise_groups
from tests.documents.test_documents import structure
from tests.store.test_query import TYPES, add_structures, number_id, stages_of

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

EVERY_FIELD = [name for name in Structure.model_fields if name not in ("numbers", "positions", "schema_version")]


def found(results: Results, *conditions: str, sort: str | None = None, limit: int = 0) -> list[str]:
    query = make_query("labels", conditions, sort, limit)
    return [document["structure_id"] for document in query.documents(results.database)]


@pytest.mark.parametrize("name", EVERY_FIELD)
def test_every_field_of_a_structure_is_a_condition_on_its_label(name: str) -> None:
    text = {"created_at": "2026-01-31", "composition": "GeTe"}.get(name, "1")
    query = make_query("labels", [f"structure.{name}={text}"])
    assert query.where == {}
    assert query.structures == make_query("structures", [f"{name}={text}"]).where
    if name not in (*Label.model_fields, "composition"):
        assert make_query("labels", [f"{name}={text}"]).structures == query.structures


def test_fields_that_a_label_copies_are_asked_of_the_collection_at_hand() -> None:
    text = "composition=Te5Sb2Ge2 config_type=rss n_atoms>8"
    where = make_query("structures", [text]).where
    assert label_filters([text]) == (where, {})
    assert label_filters([text], Structure) == ({}, where)
    assert label_filters(["tags=a state=failed composition.Ge>0.2"]) == (
        {"state": {"$eq": "failed"}},
        {"tags": {"$eq": "a"}, "composition.Ge": {"$gt": 0.2}},
    )


@pytest.mark.parametrize(("name", "value"), [("id", "a"), ("created_at", "2026-01-31")])
def test_a_name_of_both_is_refused_where_either_could_be_meant(name: str, value: str) -> None:
    condition, field = f"{name}={value}", {"id": "_id"}.get(name, name)
    assert list(label_filters([condition, "state=failed"])[0]) == [field, "state"]
    assert list(label_filters([condition, "tags=a"], Structure)[1]) == [field, "tags"]
    for first, other in ((Label, "tags=a"), (Structure, "state=failed")):
        with pytest.raises(InputError) as caught:
            label_filters([other, condition], first)
        assert f"label.{name}" in str(caught.value) and f"structure.{name}" in str(caught.value)
        assert "\n" not in str(caught.value)
    of_labels, of_structures = label_filters([f"label.{condition} structure.{condition}"])
    assert list(of_labels) == list(of_structures) == [field]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("tgas=a", "did you mean 'tags'"),
        ("structure.tag=a", "did you mean 'tags'"),
        ("label.tags=a", "labels have no field 'tags'"),
        ("positions=1", "packed numbers"),
        ("structure.$where=1", "cannot read"),
        ("tags", "field=value"),
    ],
)
def test_what_neither_has_is_refused(condition: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_query("labels", [condition])
    assert words in str(caught.value)


@pytest.mark.mongo
@pytest.mark.parametrize("small", ["structures", "labels", "none"])
class TestEachWayToJoin:
    """From the structures, from the labels and from the ids of both, the same is found."""

    @pytest.fixture
    def results(self, project: Project, small: str, monkeypatch: pytest.MonkeyPatch) -> Results:
        monkeypatch.setattr(label_join, "_are_few", lambda collection, where: collection.name == small)
        results = Results.open(project)
        add_structures(results, 40)
        results.add(structure(_id=number_id(99), tags=["all", "unlabelled"]))
        return results

    def test_labels_are_found_in_order(self, results: Results) -> None:
        of_one = [number_id(k) for k in range(1, 40, 3)]
        assert sorted(found(results, "tags=melt-quench.1")) == of_one
        largest = found(results, "tags=melt-quench.1 state=converged", sort="-max_force_eV_A", limit=3)
        assert largest == [number_id(k) for k in (37, 34, 31)]
        assert found(results, "tags=unlabelled") == []
        assert len(found(results, "tags!=melt-quench.1 dmin<=3.19")) == 20

    def test_a_label_without_its_structure_meets_no_condition(self, results: Results) -> None:
        results.database["structures"].delete_one({"_id": number_id(5)})
        assert len(found(results, "tags!=none")) == 39
        assert len(found(results)) == 40

    def test_labels_are_counted_grouped_and_exported(self, results: Results) -> None:
        query = make_query("labels", ["tags=melt-quench.0 iteration<4"])
        expected = [k for k in range(0, 40, 3) if k % 5 < 4]
        assert query.count(results.database) == len(expected)
        assert query.count(results.database, at_most=4) == 4
        assert make_query("labels", ["tags=unlabelled"]).count(results.database) == 0
        rows = list(summarise_groups(results.database, query, "config_type", ["max_force_eV_A"]))
        assert {row["group"]: row["count"] for row in rows} == {
            name: n for name in TYPES if (n := sum(TYPES[k % 4] == name for k in expected))
        }
        crystal = next(row["max_force_eV_A"] for row in rows if row["group"] == "crystal")
        assert crystal["max"] == pytest.approx(0.1 * max(k for k in expected if k % 4 == 0 and k % 10 != 9))
        atoms = list(frames(results, query))
        assert {each.info["structure_id"] for each in atoms} == {number_id(k) for k in expected if k % 10 != 9}

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["tags=all", "tags!=melt-quench.2", "tags~melt", "iteration>=2", "dmin<3.18", "parents!=x",
                 "config_type=crystal,rss", "composition.Ge>0.1", "state!=failed", "max_force_eV_A<2", "group=null"]
            ),
            max_size=4,
        )
    )  # fmt: skip
    def test_what_is_found_is_what_two_queries_find(self, results: Results, conditions: list[str]) -> None:
        of_labels, of_structures = label_filters(conditions)
        ids = [each["_id"] for each in results.database["structures"].find(of_structures)]
        where: dict[str, Any] = {"$and": [of_labels, {"structure_id": {"$in": ids}}]}
        expected = [each["structure_id"] for each in results.database["labels"].find(where)]
        assert sorted(found(results, *conditions)) == sorted(expected)


@pytest.mark.mongo
@pytest.mark.parametrize(("few", "n_looked_up"), [(100, 67), (60, 20)])
def test_the_join_starts_from_the_small_side_and_reads_indexes_only(
    project: Project, few: int, n_looked_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """67 structures have the tag, 20 labels failed."""
    monkeypatch.setattr(label_join, "FEW", few)
    results = Results.open(project)
    add_structures(results, 200)
    query = make_query("labels", ["tags=melt-quench.1 state=failed"])
    collection, steps = label_join.label_pipeline(results.database, query.where, query.structures)
    command = {"aggregate": collection.name, "pipeline": steps, "cursor": {}}
    plan = results.database.command("explain", command, verbosity="executionStats")
    assert "COLLSCAN" not in stages_of(plan), plan
    # explain of server 6.0.5 leaves out the last one
    assert lookups(plan) in ([n_looked_up - 1], [n_looked_up])
    assert len(list(collection.aggregate(steps))) == sum(k % 3 == 1 and k % 10 == 9 for k in range(200))


def lookups(plan: Any) -> list[int]:
    """Return how many documents each $lookup of a plan read from the other collection."""
    if isinstance(plan, dict):
        own = [int(plan["totalDocsExamined"])] if "$lookup" in plan and "totalDocsExamined" in plan else []
        return own + [n for part in plan.values() for n in lookups(part)]
    return [n for part in plan for n in lookups(part)] if isinstance(plan, list) else []
