"""Where documents came from and what was made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import DOCUMENTS, Label, derive_id
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import Link, lineage, made_from
from gst_jobflow.store.lookup import id_begins
from gst_jobflow.store.query import field_path
from gst_jobflow.store.relations import MADE_BY_JOBS, RELATIONS
from tests.documents.test_documents import label, structure
from tests.report import synthetic
from tests.store.test_query import add_structures, assert_uses_index, number_id

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


@pytest.fixture
def results(project: Project) -> Results:
    return Results.open(project)


def link(links: list[Link], relation: str, collection: str) -> Link:
    (found,) = [link for link in links if (link.relation, link.collection) == (relation, collection)]
    return found


def test_relations_name_fields_that_there_are() -> None:
    for relation in RELATIONS:
        assert relation.target in DOCUMENTS and field_path(DOCUMENTS[relation.collection], relation.field)
    for name in DOCUMENTS:
        for _, collection, path in made_from(name):
            assert field_path(DOCUMENTS[collection], path)


@pytest.mark.mongo
def test_every_reverse_lookup_uses_an_index(results: Results) -> None:
    add_structures(results, 200)
    synthetic.add_study(results)
    lookups = {made[1:] for name in DOCUMENTS for made in made_from(name)}
    lookups |= {("trajectories", "final_structure_id"), ("attempts", "job_uuid")}
    assert lookups > {("labels", "structure_id"), *((name, "job_uuid") for name in MADE_BY_JOBS)}
    for collection, path in lookups:
        assert_uses_index(results, collection, {path: number_id(3)}, {})
    for collection in DOCUMENTS:
        assert_uses_index(results, collection, id_begins("000001"), {})
        assert_uses_index(results, collection, {"_id": {"$in": [number_id(1), number_id(2)]}}, {})


@pytest.mark.mongo
def test_an_id_in_two_collections_needs_the_collection(results: Results) -> None:
    results.add(structure(_id="same-id"))
    results.add(label(_id="same-id"))
    with pytest.raises(InputError, match="several documents"):
        lineage(results, "same-id")
    assert lineage(results, "same-id", "labels").collection == "labels"


@pytest.mark.mongo
def test_a_structure_knows_its_parents_and_what_was_made_from_it(results: Results) -> None:
    parent, child = structure(_id="parent"), structure(_id="child", parents=["parent", "gone"], source={"builder": "x"})
    children = [structure(_id=f"grandchild{k}", parents=["child"]) for k in range(7)]
    results.add_many([parent, child, *children])
    results.add(label(_id=Label.id_for("child", "tblite:1"), structure_id="child"))
    found = lineage(results, "child")
    origin = link(found.origins, "made from", "structures")
    assert (origin.count, origin.ids, origin.missing) == (2, ["parent", "gone"], ["gone"])
    made = link(found.made, "structures made from it", "structures")
    assert made.count == 7 and len(made.ids) == 5
    assert link(found.made, "labels", "labels").ids == [Label.id_for("child", "tblite:1")]
    assert found.summary["source"] == {"builder": "x"}


@pytest.mark.mongo
def test_a_study_can_be_followed_from_end_to_end(results: Results) -> None:
    synthetic.add_study(results)
    cycle = lineage(results, synthetic.CYCLE_ID)
    assert link(cycle.origins, "moved by", "potentials").ids == [synthetic.POTENTIAL_ID]
    runs = link(cycle.made, "trajectories", "trajectories")
    assert runs.count > 1
    costs = [lineage(results, run).cost["core_hours"] for run in runs.ids]
    assert cycle.cost["core_hours"] >= sum(costs) - 1e-9  # rounding of sums
    run = lineage(results, runs.ids[0])
    assert link(run.origins, "part of", "cycles").ids == [synthetic.CYCLE_ID]
    end = link(run.made, "ended in", "structures")
    assert runs.ids[0] in link(lineage(results, end.ids[0]).origins, "end of", "trajectories").ids
    potential = lineage(results, synthetic.POTENTIAL_ID)
    dataset = link(potential.origins, "fitted to", "datasets")
    assert [attempt["state"] for attempt in potential.attempts]
    assert potential.cost and link(potential.made, "cycles", "cycles").count == 1
    labels = link(lineage(results, dataset.ids[0]).origins, "made of", "labels")
    assert labels.count == sum(sum(split.values()) for split in labels.detail.values())
    study = lineage(results, synthetic.STUDY_ID)
    assert {link.collection for link in study.origins} >= {"potentials", "cycles"}
    assert link(cycle.made, "studies", "studies").ids == [synthetic.STUDY_ID]


@pytest.mark.mongo
def test_an_attempt_knows_what_its_job_made(results: Results) -> None:
    synthetic.add_study(results)
    attempt = results.database["attempts"].find_one({"job_uuid": "job-fit"})
    assert attempt is not None
    made = link(lineage(results, attempt["_id"]).made, "made by this job", "potentials")
    assert made.ids == [synthetic.POTENTIAL_ID]


@pytest.mark.mongo
def test_files_are_there_missing_or_of_the_wrong_size(results: Results) -> None:
    files = [results.artifacts.put_bytes(np.arange(k + 1, dtype="u1").tobytes(), f"file{k}") for k in range(3)]
    id = derive_id("label", "files")
    results.add(label(_id=id, files=files))
    results.artifacts.path(files[1]).unlink()
    damaged = results.artifacts.path(files[2])
    damaged.chmod(0o644)
    damaged.write_bytes(b"")
    found = lineage(results, id)
    assert [(file["name"], file["state"]) for file in found.files] == [
        ("file0", "there"),
        ("file1", "missing"),
        ("file2", "wrong size"),
    ]
    assert found.cost == {"wall_s": 1.0}
