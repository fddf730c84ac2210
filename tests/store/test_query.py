"""Filters that people write."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Label, Structure, pack
from gst_jobflow.store import Results, counts, find, prefixes
from gst_jobflow.store.prefixes import by_values
from gst_jobflow.store.query import COLUMNS, NUMBERS, Query, field_path, frames, make_query, summarise_groups, value_at
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

DOCS = Path(__file__).parents[2] / "docs" / "queries.md"
TYPES = ("crystal", "hard_sphere", "rss", "aimd")


def number_id(number: int) -> str:
    return f"{number:032d}"


def add_structures(results: Results, n: int) -> None:
    """`n` structures of two atoms with falling contacts, each with a label; every tenth label failed."""
    structures = [
        structure(
            _id=number_id(k),
            formula="GeTe" if k % 2 else "Ge2Sb2Te5",
            config_type=TYPES[k % 4],
            iteration=k % 5,
            min_distance_A=3.2 - 0.001 * k,
            tags=["all", f"melt-quench.{k % 3}"],
            parents=[number_id(k - 1)] if k % 7 == 1 else [],
        )
        for k in range(n)
    ]
    results.add_many(structures)
    labels = []
    for k, known in enumerate(structures):
        fields: dict[str, Any] = {"_id": Label.id_for(known.id, "tblite:1"), "structure_id": known.id}
        if k % 10 == 9:
            fields |= {"state": "failed", "failure_class": "not_converged", "reason": "SCF"}
            fields |= {"energy_eV": None, "energy_per_atom_eV": None, "forces": None, "max_force_eV_A": None}
        else:
            forces = np.full((2, 3), 0.1 * k)
            fields |= {"forces": pack(forces), "max_force_eV_A": float(np.abs(forces).max())}
            fields |= {"stress_eV_A3": [0.01, 0.02, 0.03, 0.004, 0.005, 0.006]}
        labels.append(label(**{**fields, "config_type": known.config_type, "formula": known.formula}))
    results.add_many(labels)


def stages_of(plan: Any) -> set[str]:
    """The names of all stages of a plan that the server explains."""
    if isinstance(plan, dict):
        own = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
        return own.union(*(stages_of(part) for key, part in plan.items() if key != "rejectedPlans"))
    return set().union(*map(stages_of, plan)) if isinstance(plan, list) else set()


def assert_uses_index(results: Results, collection: str, where: dict[str, Any], sort: dict[str, int]) -> None:
    command = {"find": collection, "filter": where, **({"sort": sort} if sort else {})}
    plan = results.database.command("explain", command, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    assert "COLLSCAN" not in stages_of(plan), (collection, where)
    assert stages_of(plan) & {"IXSCAN", "IDHACK", "EXPRESS_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN"}, plan


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
        ("structures", "n_atoms>3,4", "several values"),
        ("structures", "n_atoms~3", "not text"),
        ("structures", "tags~", "begins with"),
        ("structures", "n_atoms=nan", "not a number"),
        ("structures", "positions=1", "packed numbers"),
        ("structures", "config_typ~rs", "did you mean 'config_type'"),
        ("cycles", "operations.stat=failed", "did you mean 'state'"),
        ("structures", "source.$where=1", "cannot read"),
        ("structures", "source..x=1", "not the name of a field"),
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


@pytest.mark.parametrize("text", ["$where", "n_atoms.$gt", "source.$function", "a b", "_id.", "$n_atoms", "x-y"])
def test_names_of_fields_are_never_operators(text: str) -> None:
    with pytest.raises(InputError):
        field_path(Structure, text)
    with pytest.raises(InputError):
        make_query("structures", sort=text)


OUR_OPERATORS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex", "$and"}


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


@given(
    st.sampled_from(["tags", "formula", "source.x", "n_atoms", "$where", "_id", "composition.Ge"]),
    st.sampled_from(["=", "!=", "~", "<", ">="]),
    st.one_of(st.text(), st.sampled_from(["$where", "{$gt:1}", '{"$ne":null},$or', ".*", "a,{$gt:1}", "^(a+)+$"])),
)
def test_nothing_that_a_user_writes_becomes_an_operator_or_a_pattern(field: str, sign: str, value: str) -> None:
    try:
        where = make_query("structures", [f"{field}{sign}{value}"]).where
    except InputError:
        return
    assert {key for key in keys_of(where) if "$" in key} <= OUR_OPERATORS
    for conditions in where.values():
        for comparison, wanted in conditions.items() if isinstance(conditions, dict) else ():
            assert not isinstance(wanted, dict)
            if comparison == "$regex":
                # the pattern means its text alone
                assert re.fullmatch(wanted[1:], value.split()[0] if value.split() else value)


def test_commas_take_values_apart_and_two_conditions_of_a_kind_both_hold() -> None:
    assert make_query("structures", ["config_type=crystal,rss n_atoms!=2,3"]).where == {
        "config_type": {"$in": ["crystal", "rss"]},
        "n_atoms": {"$nin": [2, 3]},
    }
    assert make_query("structures", ["tags=a\\,b"]).where == {"tags": {"$eq": "a,b"}}
    assert make_query("structures", ["composition=Te5Ge2Sb2,GeTe"]).where["formula"]["$in"][0] == "Ge2Sb2Te5"
    where = make_query("structures", ["tags=a tags=b"]).where
    assert where == {"tags": {"$eq": "a"}, "$and": [{"tags": {"$eq": "b"}}]}


def test_numbers_are_what_the_server_can_hold() -> None:
    assert make_query("labels", ["wall_s<99999999999999999999"]).where == {"wall_s": {"$lt": 1e20}}
    assert make_query("cycles", ["operations.trajectory_id=123"]).where["operations.trajectory_id"] == {"$eq": "123"}
    assert make_query("studies", ["finished_at=null"]).where == {"finished_at": {"$eq": None}}


@pytest.mark.parametrize("collection", NUMBERS)
def test_the_numbers_of_summaries_exist(collection: str) -> None:
    for name in NUMBERS[collection]:
        assert make_query(collection, sort=name).sort[0][1] == 1


@pytest.mark.parametrize("collection", COLUMNS)
def test_the_columns_of_tables_exist(collection: str) -> None:
    for column in COLUMNS[collection]:
        assert make_query(collection, sort=column).sort[0][1] == 1


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
    assert value_at(found[0], "composition.Ge") == 0.5 and value_at(found[0], "composition.Xx.y") is None
    assert make_query("structures", ["tags=c"]).count(results.database) == 1
    assert found[0]["created_at"] <= datetime.now(UTC)


def documented_queries() -> list[Query]:
    """The queries of the documentation, read from there."""
    section = DOCS.read_text().partition("## Ten questions")[2].partition("\n## ")[0]
    queries = []
    for line in section.splitlines():
        if line.startswith("gst query "):
            words = shlex.split(line)[2:]
            options = dict(zip(words[1::2], words[2::2], strict=True))
            where = [options["-w"]] if "-w" in options else []
            queries.append(make_query(words[0], where, options.get("--sort"), int(options.get("--limit", 0))))
    return queries


@pytest.mark.mongo
def test_the_ten_documented_queries_use_an_index(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 300)
    queries = documented_queries()
    assert len(queries) == 10
    for query in queries:
        assert_uses_index(results, query.model.collection, query.where, dict(query.sort))
        if query.where:
            # the order of all documents is an index too, but reading all of them in it would be a scan
            assert_uses_index(results, query.model.collection, query.where, {})
        list(query.documents(results.database))


@pytest.mark.mongo
def test_the_first_page_of_a_beginning_is_read_in_order_without_sorting_all(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 300)
    for words in (["tags~melt"], ["formula~Ge"], ["tags~melt config_type=crystal"]):
        query = make_query("structures", words, None, 5)
        where = by_values(results.database["structures"], Structure, query.where, query.sort)
        command = {"find": "structures", "filter": where, "sort": dict(query.sort), "limit": 5}
        plan = results.database.command("explain", command, verbosity="executionStats")["executionStats"]
        assert "SORT" not in stages_of(plan["executionStages"]), words
        plain = results.database["structures"].find(query.where, {"_id": 1})
        assert {found["_id"] for found in results.database["structures"].find(where)} == {d["_id"] for d in plain}


@pytest.mark.mongo
def test_a_beginning_of_many_values_or_without_its_index_is_found_all_the_same(project: Project, monkeypatch) -> None:
    results = Results.open(project)
    add_structures(results, 30)
    found = [document["id"] for document in make_query("structures", ["tags~melt"]).documents(results.database)]
    assert len(found) == 30
    monkeypatch.setattr(prefixes, "MOST_VALUES", 1)
    many = [document["id"] for document in make_query("structures", ["tags~melt"]).documents(results.database)]
    monkeypatch.undo()
    results.database["structures"].drop_index("tags_1_created_at_-1")
    lost = [document["id"] for document in make_query("structures", ["tags~melt"]).documents(results.database)]
    assert sorted(many) == sorted(lost) == sorted(found)


@pytest.mark.mongo
def test_groups_are_counted_and_measured_by_the_server(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 40)
    query = make_query("structures", ["n_atoms=2 dmin<=3.2"])
    rows = list(summarise_groups(results.database, query, "config_type", ["dmin"]))
    assert [(row["group"], row["count"]) for row in rows] == [(name, 10) for name in sorted(TYPES)]
    # the crystals are numbers 0, 4, …, 36 of 3.2 − 0.001 k; sums of ten doubles
    crystal = next(row for row in rows if row["group"] == "crystal")["dmin"]
    assert crystal == pytest.approx({"min": 3.164, "mean": 3.182, "max": 3.2}, abs=1e-12)
    tags = {row["group"]: row["count"] for row in summarise_groups(results.database, query, "tags", [])}
    assert tags == {"all": 40, "melt-quench.0": 14, "melt-quench.1": 13, "melt-quench.2": 13}
    assert "dmin" not in next(summarise_groups(results.database, query, "tags"))
    for group, numbers in (("colour", None), ("formula", ["tags"]), ("$where", None), ("formula", ["$n_atoms"])):
        with pytest.raises(InputError):
            summarise_groups(results.database, query, group, numbers)


def failed_labels(classes: list[str]) -> list[Label]:
    return [
        label(
            _id=number_id(n), structure_id=number_id(n), state="failed", failure_class=name, energy_eV=None, forces=None
        )
        for n, name in enumerate(classes)
    ]


@pytest.mark.mongo
def test_why_labels_failed_is_counted_on_the_index_without_reading_a_label(project: Project, monkeypatch) -> None:
    results = Results.open(project)
    converged = [label(_id=number_id(n), structure_id=number_id(n)) for n in range(100, 110)]
    results.put_labels([*failed_labels(["memory"] * 5 + ["walltime"] * 7 + ["(none) $where"] * 5), *converged])
    query, asked = (
        next(query for query in documented_queries() if "state" in query.where and "fingerprint" not in query.where),
        [],
    )
    plain = type(results.database["labels"]).aggregate
    monkeypatch.setattr(
        type(results.database["labels"]), "aggregate", lambda self, steps: asked.append(steps) or plain(self, steps)
    )
    rows = list(summarise_groups(results.database, query, "failure_class", []))
    assert [(row["group"], row["count"]) for row in rows] == [("walltime", 7), ("(none) $where", 5), ("memory", 5)]
    for steps in asked:
        command = {"aggregate": "labels", "pipeline": steps, "cursor": {}}
        stages = stages_of(results.database.command("explain", command, verbosity="queryPlanner"))
        assert stages & {"COUNT_SCAN", "DISTINCT_SCAN"} and not stages & {"FETCH", "COLLSCAN", "IXSCAN"}, steps
    assert len(asked) == 2
    monkeypatch.setattr(counts, "MOST_VALUES", 2)
    assert list(summarise_groups(results.database, query, "failure_class", [])) == rows
    assert len(asked) == 4  # looked up, found to be many, and grouped


@pytest.mark.mongo
@pytest.mark.parametrize(
    ("words", "group"),
    [("state=failed", "failure_class"), ("state=quarantined", "failure_class"), ("fingerprint=x:1 state=failed", "id")],
)
def test_what_is_counted_on_an_index_is_what_is_counted_one_by_one(project: Project, words: str, group: str) -> None:
    results = Results.open(project)
    results.put_labels(failed_labels(["memory"] * 3 + ["walltime"] * 2))
    query = make_query("labels", [words])
    by_one = list(summarise_groups(results.database, Query(query.model, query.where, query.sort, 1000), group, []))
    assert list(summarise_groups(results.database, query, group, [])) == by_one


@pytest.mark.parametrize(
    ("collection", "words", "path"),
    [
        ("labels", "", "state"),  # no condition
        ("labels", "state=failed,quarantined", "failure_class"),  # not one value
        ("labels", "state!=converged", "failure_class"),
        ("labels", "state=failed", "host"),  # not in the index
        ("labels", "fingerprint=x:1", "config_type"),  # not next in the index
        ("structures", "tags=a", "created_at"),  # a list
        ("structures", "parents=a parents=b", "group"),
    ],
)
def test_what_no_index_counts_is_left_to_the_server(collection: str, words: str, path: str) -> None:
    query = make_query(collection, [words])
    assert counts.by_index(None, query.model, query.where, path) is None


@pytest.mark.mongo
def test_prefixes_and_lists_are_found(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 20)

    def count(*conditions: str) -> int:
        return make_query("structures", conditions).count(results.database)

    assert count("tags~melt-quench.") == 20
    assert count("tags~melt.quench") == count("tags~elt") == count("tags~.*") == 0
    assert count("config_type=crystal,rss") == 10 and count("config_type!=crystal,rss") == 10
    assert count("tags=all tags=melt-quench.0") == 7


@pytest.mark.mongo
def test_documents_are_found_as_their_types(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 30)
    found = list(find(project, "structures", "composition=Te5Sb2Ge2 dmin<3.19", sort="dmin", limit=3))
    assert [structure.id for structure in found] == [number_id(k) for k in (28, 26, 24)]
    assert all(isinstance(structure, Structure) for structure in found)
    assert next(find(results, Label, "state=failed")).failure_class == "not_converged"
    with pytest.raises(InputError, match="did you mean"):
        find(results, "structures", "natoms=3")


@pytest.mark.mongo
def test_atoms_of_labels_carry_their_results(project: Project) -> None:
    results = Results.open(project)
    add_structures(results, 20)
    all_atoms = list(frames(results, make_query("labels", sort="structure_id")))
    assert len(all_atoms) == 18  # two of twenty failed
    atoms = all_atoms[3]
    assert atoms.get_potential_energy() == -150.0
    assert np.array_equal(atoms.get_forces(), np.full((2, 3), 0.1 * 3))
    assert np.array_equal(atoms.get_stress(), [0.01, 0.02, 0.03, 0.004, 0.005, 0.006])
    assert atoms.info == {
        "structure_id": number_id(3),
        "label_id": Label.id_for(number_id(3), "tblite:1"),
        "fingerprint": "tblite:1",
        "config_type": "aimd",
    }
    assert len(list(frames(results, make_query("structures", limit=4)))) == 4
    with pytest.raises(InputError, match="no atoms"):
        frames(results, make_query("cycles"))
