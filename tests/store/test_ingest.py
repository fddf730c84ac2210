"""Ingest: everything that jobs left on disk goes in once, whoever puts it in, however often and however damaged."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gst_jobflow.documents import Label, Structure, Study, derive_id
from gst_jobflow.store import Results, ingest, manifest
from gst_jobflow.store.ingest import IngestProgress
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def results(project: Project):
    opened = Results.open(project)
    yield opened
    opened.database.client.close()


def content(results: Results) -> dict[str, dict]:
    """All documents without the time of their making; the order of tags is that of their coming."""
    found = {}
    for name in ("structures", "labels", "studies"):
        for document in results.database[name].find({}, {"created_at": 0}):
            if "tags" in document:
                document["tags"].sort()
            found[f"{name}/{document['_id']}"] = document
    return found


def write_spool(folder: Path, first: int, n_structures: int) -> None:
    """A manifest as a labelling job leaves it: structures, failed labels, then converged ones, a study that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [derive_id("spool", number) for number in range(first, first + n_structures)]
    entries: list[manifest.Insert | manifest.Update] = []
    entries += [manifest.Insert(structure(_id=id, tags=[folder.name])) for id in ids]
    for number, id in enumerate(ids):
        fields = {"_id": Label.id_for(id, "m:1"), "structure_id": id, "fingerprint": "m:1"}
        if number % 3 == 0:
            bad = {"state": "failed", "failure_class": "scf", "energy_eV": None, "forces": None}
            entries.append(manifest.Insert(label(**fields, **bad)))
        if number % 7:
            entries.append(manifest.Insert(label(**fields)))
    study = Study(_id=f"study-{first}", name="s", kind="demo", plan={})
    entries += [manifest.Insert(study), manifest.Update("studies", study.id, {"state": "finished"})]
    with (folder / manifest.MANIFEST_NAME).open("a") as file:
        file.writelines(entry.to_json() + "\n" for entry in entries)


def test_four_processes_that_ingest_the_same_at_once_are_as_one(project, results, tmp_path: Path) -> None:
    for number in range(4):  # each overlaps with the next by half
        write_spool(tmp_path / f"job-{number}", first=number * 100, n_structures=200)
    command = [str(Path(sys.executable).with_name("gst")), "--project", str(project.root), "ingest", "--json"]
    both = [[str(tmp_path)], [str(tmp_path / "job-1"), str(tmp_path / "job-2")]]
    runs = [
        subprocess.Popen([*command, *both[number % 2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, outputs
    at_once = content(results)
    assert all(json.loads(output)["problems"] == [] for output, _ in outputs)
    assert len(at_once) == 500 + sum(1 for key in at_once if key.startswith("labels/")) + 4

    for name in ("structures", "labels", "studies"):
        results.database[name].delete_many({})
    ingest(results, [tmp_path])
    assert content(results) == at_once
    assert ingest(results, [tmp_path])["new"] == 0
    assert content(results) == at_once


def one_by_one(results: Results, file: Path) -> int:
    """The reference: every entry by itself, in order; then those whose documents came later."""
    from gst_jobflow.base.errors import GstError, NoDocumentError
    from gst_jobflow.store.write import apply_entry

    new, early = 0, []
    for entry in (line.entry for line in manifest.lines(file)):
        try:
            new += apply_entry(results.database, entry)
        except NoDocumentError:
            early.append(entry)
        except GstError:
            pass
    for entry in early:
        with contextlib.suppress(NoDocumentError):
            new += apply_entry(results.database, entry)
    return new


ENTRIES = st.lists(
    st.tuples(st.sampled_from(["structure", "failed", "converged", "other", "study", "finish"]), st.integers(0, 2)),
    max_size=25,
)


@given(entries=ENTRIES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_in_batches_is_as_entry_by_entry(results: Results, tmp_path: Path, entries: list) -> None:
    def made(kind: str, number: int) -> manifest.Insert | manifest.Update:
        id = derive_id("s", number)
        fields = {"_id": Label.id_for(id, "m:1"), "structure_id": id, "fingerprint": "m:1"}
        bad = {"state": "failed", "failure_class": "scf", "energy_eV": None, "forces": None}
        return {
            "structure": lambda: manifest.Insert(structure(_id=id, tags=[f"t{number}"])),
            "failed": lambda: manifest.Insert(label(**fields, **bad)),
            "converged": lambda: manifest.Insert(label(**fields)),
            "other": lambda: manifest.Insert(label(**fields, **{"energy_eV": -151.0})),
            "study": lambda: manifest.Insert(Study(_id=f"s{number}", name="s", kind="demo", plan={})),
            "finish": lambda: manifest.Update("studies", f"s{number}", {"state": "finished"}),
        }[kind]()

    file = tmp_path / manifest.MANIFEST_NAME
    file.write_text("".join(made(*entry).to_json() + "\n" for entry in entries))
    seen = []
    for put in (lambda: one_by_one(results, file), lambda: ingest(results, [tmp_path])["new"]):
        for name in ("structures", "labels", "studies"):
            results.database[name].delete_many({})
        new = put()
        seen.append((new, content(results)))
    assert seen[0] == seen[1]


def test_a_damaged_line_is_named_and_those_after_it_go_in(results: Results, tmp_path: Path) -> None:
    ids = [derive_id("x", number) for number in range(4)]
    lines = [manifest.Insert(structure(_id=id)).to_json() + "\n" for id in ids]
    torn = lines[3][:-20]
    file = tmp_path / manifest.MANIFEST_NAME
    file.write_text(lines[0] + lines[1][:40] + "\n" + '{"insert":"dreams","document":{}}\n' + lines[2] + torn)
    found = ingest(results, [tmp_path])
    assert (found["entries"], found["new"], len(found["problems"])) == (2, 2, 2)
    assert f"{file}:2 is not a manifest entry" in found["problems"][0] and f"{file}:3" in found["problems"][1]
    assert {item["_id"] for item in results.database["structures"].find()} == {ids[0], ids[2]}


def test_what_cannot_be_read_is_named_and_the_rest_goes_in(results: Results, tmp_path: Path, monkeypatch) -> None:
    write_spool(tmp_path / "a", 0, 3)
    write_spool(tmp_path / "b", 3, 6)
    for name in ("lost", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "lost" / manifest.MANIFEST_NAME).symlink_to(tmp_path / "nowhere")
    scandir, lines = os.scandir, manifest.lines

    def closed(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    def ended(file):
        if file.parent.name == "a":
            raise OSError(5, "Input/output error")
        return lines(file)

    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.setattr(manifest, "lines", ended)
    found = ingest(results, [tmp_path, tmp_path / "not there"])
    assert found["new"] == found["entries"] > 0 and len(found["problems"]) == 3
    for place, why in (("closed", "Permission denied"), ("nowhere", "No such file"), ("a", "Input/output error")):
        assert any(place in problem and why in problem for problem in found["problems"])


def test_what_the_server_refuses_is_named_by_line_and_the_rest_of_the_batch_goes_in(results, tmp_path) -> None:
    file = tmp_path / manifest.MANIFEST_NAME
    entries = [manifest.Insert(structure(_id=derive_id("x", number))) for number in range(3)]
    file.write_text("".join(entry.to_json() + "\n" for entry in entries))
    rule = {"$jsonSchema": {"properties": {"_id": {"not": {"enum": [derive_id("x", 1)]}}}}}
    results.database.command("collMod", "structures", validator=rule)
    found = ingest(results, [tmp_path])
    assert found["new"] == 2 and len(found["problems"]) == 1 and found["problems"][0].startswith(f"{file}:2: ")
    results.database.command("collMod", "structures", validator={})
    assert ingest(results, [tmp_path]) == {"manifests": 1, "entries": 3, "new": 1, "problems": []}


def test_progress_ends_at_all_bytes(results: Results, tmp_path: Path) -> None:
    write_spool(tmp_path / "a", 0, 30)
    states: list[IngestProgress] = []
    found = ingest(results, [tmp_path], states.append)
    assert states[-1].done_bytes == states[-1].total_bytes == (tmp_path / "a" / manifest.MANIFEST_NAME).stat().st_size
    assert states[-1].entries == found["entries"] and np.all(np.diff([state.entries for state in states]) > 0)


def test_structures_of_the_first_version_get_their_group(results: Results, tmp_path: Path) -> None:
    document = json.loads(structure(parents=["b" * 32], schema_version=1).model_dump_json(by_alias=True))
    del document["group"]
    (tmp_path / manifest.MANIFEST_NAME).write_text(json.dumps({"insert": "structures", "document": document}) + "\n")
    assert ingest(results, [tmp_path])["problems"] == []
    assert results.get(Structure, "a" * 32).group == "b" * 32


def test_an_update_before_its_document_is_done_at_the_end(results: Results, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    study = Study(_id="later", name="s", kind="demo", plan={})
    manifest.append(tmp_path / "a", manifest.Update("studies", study.id, {"state": "finished"}))
    manifest.append(tmp_path / "a", manifest.Update("studies", "f" * 32, {"state": "finished"}))
    manifest.append(tmp_path / "b", manifest.Insert(study))
    found = ingest(results, [tmp_path])
    assert results.database["studies"].find_one({"_id": study.id})["state"] == "finished"
    assert len(found["problems"]) == 1 and f"a/{manifest.MANIFEST_NAME}:2: no document" in found["problems"][0]
