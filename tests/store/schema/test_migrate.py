"""Migration: from each older version, killed and resumed, by one process at a time; indexes of ours and of others."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.archive.backup import backup, restore, verify_backup
from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Attempt, Structure
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.check import check
from gst_jobflow.store.connect import connect, job_store, launchpad
from gst_jobflow.store.schema import preparation as preparing
from gst_jobflow.store.schema import upgrade as upgrading
from gst_jobflow.store.schema.lock import LOCK, locked
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.schema.migrations import OLDEST, STEPS, upgrade_document

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

DATA = Path(__file__).parents[2] / "data"
FOLDERS = {1: "v1", 2: "0.1.0", 3: "v3", 4: "v4"}
"""What a program of each older version wrote."""
VERSIONS = sorted(FOLDERS)

mongo = pytest.mark.mongo


def dump(version: int, tmp_path: Path) -> Path:
    """The backup that a program of `version` made."""
    tar = tmp_path / f"v{version}.tar"
    with lzma.open(DATA / FOLDERS[version] / "database.tar.xz") as packed, tar.open("wb") as out:
        shutil.copyfileobj(packed, out)
    return tar


@pytest.fixture
def old(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The project's database as version 1 left it, indexes and validators included."""
    with monkeypatch.context() as patched:
        patched.setattr("gst_jobflow.archive.backup.migrate", lambda *_: [])
        restore(project, dump(1, tmp_path), force=True)
    database = connect(project, any_version=True)
    yield database
    database.client.close()


def all_documents(database: Database) -> dict[str, dict[str, dict]]:
    return {name: {found["_id"]: found for found in database[name].find()} for name in DOCUMENTS}


def test_there_is_a_step_and_a_database_for_every_older_version() -> None:
    assert list(STEPS) == VERSIONS == list(range(OLDEST, SCHEMA_VERSION))


@mongo
@pytest.mark.parametrize("version", VERSIONS)
def test_a_backup_of_an_older_version_becomes_a_sound_database_of_this_one(project, tmp_path, version) -> None:
    tar = dump(version, tmp_path)
    manifest = verify_backup(tar)
    assert manifest.schema_version == version and sum(dump.documents > 0 for dump in manifest.collections) > 10
    restore(project, tar, force=True)
    assert list(check(project, deep=True)) == []
    database = connect(project)
    for name, model in DOCUMENTS.items():
        assert database[name].count_documents({}) == next(d.documents for d in manifest.collections if d.name == name)
        for found in database[name].find():
            assert model.model_validate(found).schema_version == SCHEMA_VERSION
    database.client.close()
    assert migrate(project) == []


@mongo
def test_only_version_and_group_change(project: Project, old: Database) -> None:
    before = all_documents(old)
    changed = migrate(project)
    assert f"structures: {len(before['structures'])} documents upgraded to version {SCHEMA_VERSION}" in changed
    after = all_documents(old)
    assert sum(bool(document["parents"]) for document in after["structures"].values()) > 0
    for name, documents in before.items():
        for id, document in documents.items():
            now = dict(after[name][id])
            assert now.pop("schema_version") == SCHEMA_VERSION and document.pop("schema_version") == 1
            if name == "structures":
                assert now.pop("group") == (document["parents"] or [id])[0]
            assert now == document
    meta = {entry["_id"]: entry for entry in old["gst_meta"].find()}
    assert set(meta) == {"schema", "indexes"} and meta["schema"]["version"] == SCHEMA_VERSION
    assert [(step["from"], step["to"]) for step in meta["schema"]["history"]] == [(1, SCHEMA_VERSION)]
    assert "upgrading_from" not in meta["schema"]


@mongo
def test_jobs_and_commands_refuse_what_is_not_their_version(project: Project, old: Database) -> None:
    def refused(words: str) -> None:
        for opens in (connect, launchpad, job_store, Results.open):
            with pytest.raises(DatabaseError, match=words) as caught:
                opens(project)
            assert caught.value.fix

    refused("schema version 1, this program needs")
    old["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION, "upgrading_from": 1}})
    refused("half migrated from schema version 1")
    old["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION + 1}})
    refused("this program knows")
    with pytest.raises(DatabaseError, match="this program knows"):
        migrate(project)
    old["gst_meta"].update_one(
        {"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION}, "$unset": {"upgrading_from": 1}}
    )
    old["gst_meta"].insert_one({"_id": "restore"})
    refused("restore of database")
    old["gst_meta"].delete_many({})
    refused("is not prepared")


@mongo
def test_a_running_job_spools_and_what_it_made_goes_in_later(project: Project, old: Database, tmp_path: Path) -> None:
    results = Results.open(project, spool_dir=tmp_path)
    with pytest.raises(DatabaseError, match="cannot be reached"):
        _ = results.database


@mongo
def test_the_old_program_writes_no_more_once_a_migration_began(project: Project, old: Database) -> None:
    from pymongo.errors import WriteError

    document = old["attempts"].find_one()
    migrate(project)
    for version, refused in ((1, True), (SCHEMA_VERSION, False)):
        written = {**document, "_id": f"of version {version}", "schema_version": version}
        if refused:
            with pytest.raises(WriteError):
                old["attempts"].insert_one(written)
        else:
            old["attempts"].insert_one(written)


@mongo
def test_manifests_of_an_older_version_go_in(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "launcher"
    folder.mkdir()
    shutil.copy(DATA / "v1" / "gst_manifest.jsonl", folder)
    results = Results.open(project)
    report = ingest(results, [folder])
    assert not report["problems"] and report["entries"] == 4
    structures = list(results.find(Structure, {}, sort=[("iteration", 1)]))
    assert [found.group for found in structures] == [structures[0].id] * 2
    assert list(check(project, deep=True)) == []


class Stop(BaseException):
    """A kill."""


@mongo
@pytest.mark.parametrize("stops_after", [0, 1, 4, 9])
def test_stopped_anywhere_it_ends_the_same(project, old, monkeypatch, stops_after) -> None:
    """The n-th write of a migration is the last: then again gives what an undisturbed one gives."""
    monkeypatch.setattr(upgrading, "_BATCH", 20)
    expected = {
        name: {id: upgrade_document(name, document) for id, document in documents.items()}
        for name, documents in all_documents(old).items()
    }
    left = stops_after

    def stop(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    with monkeypatch.context() as patched:
        upgrade = upgrading._upgrade_batch

        def batch(*arguments) -> None:
            stop()
            upgrade(*arguments)
            stop()

        patched.setattr(upgrading, "_upgrade_batch", batch)
        with pytest.raises(Stop):
            migrate(project)
    assert old["gst_meta"].find_one({"_id": "schema"})["upgrading_from"] == 1
    with pytest.raises(DatabaseError, match="half migrated"):
        Results.open(project)
    assert any("half migrated" in finding.what for finding in check(project))
    migrate(project)
    assert all_documents(old) == expected
    assert migrate(project) == [] and list(check(project, deep=True)) == []


@mongo
def test_a_half_migrated_database_can_be_saved_and_goes_on_elsewhere(project, old, monkeypatch, tmp_path) -> None:
    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr("gst_jobflow.store.schema.migrate.upgrade_documents", stop)
        with pytest.raises(Stop):
            migrate(project)
    backup(project, tmp_path / "half.tar")
    restore(project, tmp_path / "half.tar", force=True)
    assert list(check(project, deep=True)) == []


_MIGRATE = """
import sys, time
from pathlib import Path
from gst_jobflow.base.settings import Project
from gst_jobflow.store.schema import migrate, upgrade
upgrade._BATCH = 5
batch = upgrade._upgrade_batch
def slow(*arguments):
    time.sleep(0.02)
    batch(*arguments)
upgrade._upgrade_batch = slow
print("begin", flush=True)
print(migrate.migrate(Project(Path(sys.argv[1]))), flush=True)
"""


@mongo
def test_killed_and_done_again_and_two_at_once(project: Project, old: Database) -> None:
    expected = {
        name: {id: upgrade_document(name, document) for id, document in documents.items()}
        for name, documents in all_documents(old).items()
    }

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _MIGRATE, str(project.root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    first = start()
    while old["gst_meta"].find_one({"_id": upgrading.POSITION}) is None:
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert old["gst_meta"].find_one({"_id": LOCK})["pid"] == first.pid
    assert 0 < old["structures"].count_documents({"schema_version": SCHEMA_VERSION}) < len(expected["structures"])
    # the lock of the dead is taken by one of two, and the other waits and finds nothing to do
    both = [start(), start()]
    said = sorted(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert "upgraded to version" in said[0] + said[1] and said.count("begin\n[]\n") == 1
    assert all_documents(old) == expected
    assert old["gst_meta"].find_one({"_id": LOCK}) is None


@mongo
def test_a_lock_that_is_held_is_waited_for_and_then_named(project: Project, old: Database) -> None:
    told: list[str] = []
    with locked(old, 0.0), pytest.raises(DatabaseError, match=f"being migrated by process {os.getpid()}"):
        migrate(project, tell=told.append, wait_s=0.3)
    assert len(told) == 1 and "waiting" in told[0]
    assert old["gst_meta"].find_one({"_id": LOCK}) is None
    migrate(project)


@mongo
@pytest.mark.parametrize(("silent_s", "stale"), [(0, False), (3600, True)])
def test_the_lock_of_another_host_lapses(project: Project, silent_s: int, stale: bool) -> None:
    from datetime import timedelta

    from gst_jobflow.documents import now

    database = connect(project)
    beat = now() - timedelta(seconds=silent_s)
    holder = {"token": "t", "host": "elsewhere", "pid": 1, "process_started": 0.0, "taken_at": beat, "beat_at": beat}
    database["gst_meta"].insert_one({"_id": LOCK, **holder})
    if stale:
        with locked(database, 0.0):
            assert database["gst_meta"].find_one({"_id": LOCK})["host"] != "elsewhere"
    else:
        with pytest.raises(DatabaseError, match="process 1 on elsewhere"), locked(database, 0.0):
            pass
    database.client.close()


@mongo
def test_a_document_that_cannot_be_upgraded_is_named_and_nothing_is_lost(project: Project, old: Database) -> None:
    old.command("collMod", "structures", validator={})
    bad = old["structures"].find_one()["_id"]
    old["structures"].update_one({"_id": bad}, {"$set": {"density_g_cm3": "heavy"}})
    with pytest.raises(DataError, match=bad) as caught:
        migrate(project)
    assert "density_g_cm3" in caught.value.message and "gst db migrate" in caught.value.fix
    assert old["gst_meta"].find_one({"_id": LOCK}) is None
    mended = {"$set": {"density_g_cm3": 6.0}}
    old["structures"].update_one({"_id": bad}, mended, bypass_document_validation=True)
    migrate(project)
    assert list(check(project, deep=True)) == []


@mongo
def test_a_document_that_this_version_refuses_is_named(project: Project, old: Database) -> None:
    old.command("collMod", "labels", validator={})
    one = old["labels"].find_one({}, {"_id": 1})["_id"]
    old["labels"].update_one({"_id": one}, {"$set": {"state": "perhaps"}})
    with pytest.raises(DataError, match=f"document '{re.escape(one)}' of labels is not valid"):
        migrate(project)
    old["labels"].update_one({"_id": one}, {"$set": {"state": "failed"}}, bypass_document_validation=True)
    migrate(project)
    assert old["labels"].count_documents({"schema_version": {"$ne": SCHEMA_VERSION}}) == 0


def test_documents_of_no_known_version_are_refused() -> None:
    for version in (None, 0, "1", SCHEMA_VERSION + 1):
        with pytest.raises(DataError, match="document 'x' of labels"):
            upgrade_document("labels", {"_id": "x", "schema_version": version})
    with pytest.raises(DataError, match="from version 1 to 2"):
        upgrade_document("structures", {"schema_version": 1, "parents": []})


def test_a_document_is_upgraded_without_being_touched() -> None:
    old = {"_id": "x", "schema_version": 1, "parents": ["y", "z"]}
    assert upgrade_document("structures", old) == {**old, "schema_version": SCHEMA_VERSION, "group": "y"}
    assert old == {"_id": "x", "schema_version": 1, "parents": ["y", "z"]}
    assert upgrade_document("labels", {"schema_version": SCHEMA_VERSION})["schema_version"] == SCHEMA_VERSION


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict]]:
    """The indexes that the schemas want, to change."""
    held = {name: preparing.load_schema(name) for name in DOCUMENTS}
    monkeypatch.setattr(preparing, "load_schema", held.__getitem__)
    return {name: schema["indexes"] for name, schema in held.items()}


@mongo
def test_indexes_follow_the_schemas_without_a_new_version(project: Project, schemas: dict[str, list[dict]]) -> None:
    database = connect(project)
    labels = database["labels"]
    labels.create_index([("host", 1)])
    schemas["labels"].append({"keys": [["wall_s", 1]], "partial": {"wall_s": {"$gt": 3600.0}}})
    assert migrate(project) == ["labels: index wall_s_1"]
    assert labels.index_information()["wall_s_1"]["partialFilterExpression"] == {"wall_s": {"$gt": 3600.0}}
    assert migrate(project) == []
    schemas["labels"][-1] = {"keys": [["wall_s", 1]]}
    assert migrate(project) == ["labels: index wall_s_1 dropped", "labels: index wall_s_1"]
    assert "partialFilterExpression" not in labels.index_information()["wall_s_1"]
    schemas["labels"][-1] = {"keys": [["wall_s", 1], ["created_at", -1]]}
    assert migrate(project) == ["labels: index wall_s_1_created_at_-1", "labels: index wall_s_1 dropped"]
    # somebody else's index stays, also one that carries the name of ours
    assert "host_1" in labels.index_information()
    schemas["labels"].append({"keys": [["host", 1]], "unique": True})
    with pytest.raises(DatabaseError, match="index cannot be made: labels has an index host_1 with other options"):
        migrate(project)
    database.client.close()


@mongo
def test_an_index_that_version_1_made_and_nobody_wants_goes(project: Project, old: Database, schemas) -> None:
    assert "tags_1" in old["structures"].index_information()
    old["structures"].create_index([("volume_per_atom_A3", 1)])
    schemas["structures"][:] = [index for index in schemas["structures"] if index["keys"] != [["tags", 1]]]
    assert "structures: index tags_1 dropped" in migrate(project)
    names = set(old["structures"].index_information())
    assert "tags_1" not in names and "volume_per_atom_A3_1" in names


@mongo
@pytest.mark.parametrize("option", [{"validationLevel": "moderate"}, {"validationAction": "warn"}])
def test_a_validator_that_only_warns_is_made_strict(project: Project, option: dict[str, str]) -> None:
    database = connect(project)
    database.command("collMod", "labels", **option)
    assert migrate(project) == ["labels: validator"]
    options = next(info["options"] for info in database.list_collections() if info["name"] == "labels")
    assert (options["validationLevel"], options["validationAction"]) == ("strict", "error")
    database.client.close()


@mongo
def test_double_values_under_a_unique_index_are_said(project: Project, schemas: dict[str, list[dict]]) -> None:
    results = Results.open(project)
    attempt = {
        "job_uuid": "u", "job_name": "j", "number": 1, "state": "finished", "host": "h", "pid": 1,
        "process_started": 1.0, "directory": "/", "started_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    for id in "ab":
        results.add(Attempt(_id=id, **attempt))
    schemas["attempts"].append({"keys": [["job_uuid", 1], ["number", 1]], "unique": True})
    with pytest.raises(DatabaseError, match="index cannot be made: attempts: index job_uuid_1_number_1"):
        migrate(project)
    assert results.database["gst_meta"].find_one({"_id": LOCK}) is None
    results.database.client.close()
