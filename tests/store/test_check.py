"""`gst db check` finds each thing that can be wrong, and nothing in a study that is whole."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Attempt, Document, Label, derive_id, now
from gst_jobflow.store import Results
from gst_jobflow.store.check import Finding, _absent, check
from gst_jobflow.store.files.references import file_fields, references_to_files
from gst_jobflow.store.schema.migrate import migrate
from tests.documents.test_documents import label, structure
from tests.report import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def results(project: Project):
    opened = Results.open(project)
    yield opened
    opened.database.client.close()


@pytest.fixture
def study(results: Results) -> Results:
    synthetic.add_study(results)
    return results


def only(project: Project, *, deep: bool = False) -> Finding:
    (finding,) = check(project, deep=deep)
    assert finding.fix
    return finding


def break_in(results: Results, collection: str, id: str, values: dict) -> None:
    """Change a document behind the validator's back, as a program with a bug of another version would."""
    results.database[collection].update_one({"_id": id}, {"$set": values}, bypass_document_validation=True)


def test_a_whole_study_is_clean(project: Project, study: Results) -> None:
    assert list(check(project)) == []
    assert list(check(project, deep=True)) == []


def test_a_label_without_its_structure(project: Project, results: Results) -> None:
    results.add(label())
    finding = only(project)
    assert (finding.kind, finding.collection, finding.id) == ("reference", "labels", label().id)
    assert "structure_id" in finding.what and "a" * 32 in finding.what
    results.add(structure())
    assert list(check(project)) == []


def test_every_label_without_its_structure_is_named_with_and_without_the_index(project, results: Results) -> None:
    ids = [derive_id("structure", number) for number in range(60)]
    there = set(ids[::3])
    results.add_many([structure(_id=id) for id in sorted(there)])
    for number, id in enumerate(ids):
        for method in range(1 + number % 2):
            fields = {"structure_id": id, "fingerprint": f"m:{method}"}
            results.add(label(_id=Label.id_for(id, f"m:{method}"), **fields))
    wanted = {item["_id"] for item in results.database["labels"].find({"structure_id": {"$nin": list(there)}})}
    assert {finding.id for finding in check(project)} == wanted and len(wanted) == 60
    results.database["labels"].drop_index("structure_id_1_fingerprint_1")
    assert {finding.id for finding in check(project) if finding.kind == "reference"} == wanted


@given(wanted=st.sets(st.text(max_size=3)), there=st.sets(st.text(max_size=3)))
def test_what_is_left_out_of_two_ordered_streams(wanted: set[str], there: set[str]) -> None:
    assert list(_absent(sorted(wanted), iter(sorted(there)))) == sorted(wanted - there)


@pytest.mark.parametrize(
    ("collection", "id", "values", "field"),
    [
        ("potentials", synthetic.POTENTIAL_ID, {"dataset_id": "gone"}, "dataset_id"),
        ("potentials", synthetic.POTENTIAL_ID, {"parent_id": "gone"}, "parent_id"),
        ("datasets", "synthetic-dataset", {"parent_id": "gone"}, "parent_id"),
        ("trajectories", "synthetic-0", {"potential_id": "gone"}, "potential_id"),
        ("trajectories", "synthetic-0", {"final_structure_id": "gone"}, "final_structure_id"),
        ("trajectories", "synthetic-0", {"cycle_id": "gone"}, "cycle_id"),
        ("cycles", synthetic.CYCLE_ID, {"barrier_structure_id": "gone"}, "barrier_structure_id"),
        ("cycles", synthetic.CYCLE_ID, {"operations.1.trajectory_id": "gone"}, "operations.trajectory_id"),
        ("studies", synthetic.STUDY_ID, {"members.0.id": "gone"}, "members"),
        ("studies", synthetic.STUDY_ID, {"members.0.collection": "dreams"}, "members"),
    ],
)
def test_a_dangling_reference(project, study, collection: str, id: str, values: dict, field: str) -> None:
    break_in(study, collection, id, values)
    finding = only(project)
    assert (finding.kind, finding.collection, finding.id) == ("reference", collection, id)
    assert finding.what.startswith(f"{field} names") and ("gone" in finding.what or "dreams" in finding.what)


def test_labels_that_a_dataset_misses_are_counted(project: Project, study: Results) -> None:
    gone = study.database["labels"].find_one({"state": "converged"})
    study.database["labels"].delete_one({"_id": gone["_id"]})
    finding = only(project)
    assert finding.collection == "datasets" and finding.what.startswith("1 of its") and gone["_id"] in finding.what


def test_a_dataset_that_counts_wrong(project: Project, study: Results) -> None:
    break_in(study, "datasets", "synthetic-dataset", {"n_members": 3})
    assert "n_members says 3" in only(project).what


def _file_of(results: Results, name: str):
    ref = next(
        ref
        for model in DOCUMENTS.values()
        for document in results.database[model.collection].find()
        for ref in references_to_files(document)
        if ref["name"] == name
    )
    return results.artifacts.path_of(ref["sha256"])


def test_a_missing_file(project: Project, study: Results) -> None:
    _file_of(study, "output_potential.yace").unlink()
    finding = only(project)
    assert (finding.kind, finding.collection, finding.id) == ("file", "potentials", synthetic.POTENTIAL_ID)
    assert "output_potential.yace" in finding.what and "is missing" in finding.what


def test_a_short_file(project: Project, study: Results) -> None:
    file = _file_of(study, "output_potential.yace")
    file.chmod(0o600)
    file.write_bytes(b"synth")
    assert "has 5 bytes instead of 14" in only(project).what


def test_a_corrupt_file_is_found_deep(project: Project, study: Results) -> None:
    file = _file_of(study, "output_potential.yace")
    file.chmod(0o600)
    file.write_bytes(b"synthetic yacE")
    assert list(check(project)) == []
    assert "is corrupt" in only(project, deep=True).what


def test_a_member_file_that_cannot_be_read(project: Project, study: Results) -> None:
    file = _file_of(study, "members.jsonl.gz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.chmod(0o600)
    file.write_bytes(content)
    assert {finding.kind for finding in check(project, deep=True)} >= {"members", "file"}


def test_documents_against_their_schema_and_model(project: Project, results: Results) -> None:
    results.add_many([structure(), structure(_id="b" * 32)])
    break_in(results, "structures", "a" * 32, {"density_g_cm3": "heavy"})
    break_in(results, "structures", "b" * 32, {"positions": b"short"})  # the server cannot know this
    assert list(check(project)) == []
    found = {(finding.kind, finding.id, "density" in finding.what) for finding in check(project, deep=True)}
    assert found == {("schema", "a" * 32, False), ("model", "a" * 32, True), ("model", "b" * 32, False)}


def test_indexes_and_validators_are_compared_and_mended(project: Project, results: Results) -> None:
    database = results.database
    database["labels"].drop_index("max_force_eV_A_1")
    database["outputs"].drop_indexes()
    database.command("collMod", "structures", validator={})
    database.drop_collection("studies")
    kinds = {(finding.kind, finding.collection) for finding in check(project)}
    assert kinds == {
        ("index", "labels"),
        ("index", "outputs"),
        ("validator", "structures"),
        ("collection", "studies"),
    }
    assert migrate(project)
    assert list(check(project)) == [] and migrate(project) == []


def test_an_index_that_lets_doubles_in_is_named_and_not_mended(project: Project, results: Results) -> None:
    results.database["labels"].drop_index("structure_id_1_fingerprint_1")
    results.database["labels"].create_index([("structure_id", 1), ("fingerprint", 1)])
    finding = only(project)
    assert "has other options" in finding.what and "drop index structure_id_1_fingerprint_1" in finding.fix
    with pytest.raises(DatabaseError, match="index cannot be made"):
        migrate(project)


def test_a_newer_version_and_a_restore_that_was_cut_off(project: Project, results: Results) -> None:
    results.database["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    assert "upgrade" in only(project).fix
    results.database["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION}})
    results.database["gst_meta"].insert_one({"_id": "restore"})
    assert only(project).kind == "restore"


def attempt(**changes: object) -> Attempt:
    fields = {
        "_id": derive_id("attempt", str(changes)),
        "job_uuid": "job",
        "job_name": "label",
        "number": 1,
        "state": "running",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": 0.0,
        "directory": "runs/x",
        "started_at": now(),
    }
    return Attempt(**{**fields, **changes})


def test_attempts_whose_process_is_gone(project: Project, results: Results) -> None:
    import psutil

    results.add(attempt(process_started=psutil.Process().create_time()))
    results.add(attempt(host="another-host"))
    assert list(check(project)) == []
    dead = attempt(process_started=1.0)  # this pid, but of another process
    results.add(dead)
    assert only(project).id == dead.id


def test_files_are_found_by_walking_the_models() -> None:
    fields = {name: set(file_fields(model)) for name, model in DOCUMENTS.items()}
    assert fields["potentials"] >= {"artifacts", "files"} and "atoms_artifact" in fields["structures"]
    assert "members" in fields["datasets"] and "report" in fields["studies"] and not fields["attempts"]

    from gst_jobflow.documents import ArtifactRef

    class Nested(Document):
        collection = "nested"
        by_name: dict[str, list[ArtifactRef | None]]

    assert file_fields(Nested) == ("by_name",)
    ref = {"sha256": "0" * 64, "size_bytes": 1, "name": "x"}
    assert list(references_to_files({"a": [None, {"b": ref}], "c": {**ref, "sha256": "no hash"}})) == [ref]
