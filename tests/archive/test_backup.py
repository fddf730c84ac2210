"""Backup → empty database → restore gives the same documents and files; a damaged backup is refused untouched."""

from __future__ import annotations

import gzip
import json
import stat
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bson import Int64
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from gst_jobflow.archive.backup import backup, documents_held, restore, verify_backup
from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.store import Results
from gst_jobflow.store.address import connection, read_credentials
from gst_jobflow.store.check import check
from tests.documents.test_documents import structure
from tests.report import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def study(project: Project):
    results = Results.open(project)
    synthetic.add_study(results)
    results.database["outputs"].insert_one({"uuid": "u", "index": 1, "output": {"long": Int64(3), "b": b"\x00\xff"}})
    results.database["workflows"].insert_one({"nodes": [1], "links": {"1": []}})
    yield results
    results.database.client.close()


def content(results: Results) -> dict[str, dict]:
    """Every document of every collection, byte for byte."""
    raw = CodecOptions(document_class=RawBSONDocument)
    return {
        name: {str(document["_id"]): document.raw for document in results.database.get_collection(name, raw).find()}
        for name in results.database.list_collection_names()
    }


def indexes(results: Results) -> dict[str, set[str]]:
    database = results.database
    return {name: set(database[name].index_information()) for name in database.list_collection_names()}


def files(results: Results) -> dict[str, bytes]:
    root = results.artifacts.root
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def empty(results: Results) -> None:
    for name in results.database.list_collection_names():
        results.database.drop_collection(name)
    for file in results.artifacts.root.rglob("*"):
        if file.is_file():
            file.unlink()


def test_what_was_dropped_comes_back(project: Project, study: Results, tmp_path: Path) -> None:
    before, before_indexes, before_files = content(study), indexes(study), files(study)
    tar = tmp_path / "b.tar"
    made = backup(project, tar)
    assert made.documents == sum(map(len, before.values())) and made.files.count == len(before_files) == 4
    assert stat.S_IMODE(tar.stat().st_mode) == 0o600 and list(tmp_path.glob(".gst-*")) == []
    assert content(study) == before
    empty(study)
    assert restore(project, tar) == made == verify_backup(tar)
    assert content(study) == before and indexes(study) == before_indexes and files(study) == before_files
    assert list(check(project, deep=True)) == []


def test_indexes_of_others_come_back_with_all_that_makes_them(project: Project, study: Results, tmp_path: Path) -> None:
    # without its filter it could not be made: many structures are of one formula
    rare = {"unique": True, "partialFilterExpression": {"config_type": "liquid"}}
    study.database["structures"].create_index([("formula", 1)], **rare)
    study.database["labels"].create_index([("host", 1)], collation={"locale": "en", "strength": 2})
    before = indexes(study)
    backup(project, tmp_path / "b.tar")
    empty(study)
    restore(project, tmp_path / "b.tar")
    assert indexes(study) == before


def test_no_password_and_no_uri_is_in_it(project: Project, study: Results, tmp_path: Path) -> None:
    backup(project, tmp_path / "b.tar")
    secrets = [read_credentials(project)[user]["password"].encode() for user in ("admin", "app")]
    secrets.append(connection(project).full_uri.encode())
    contents = {}
    with tarfile.open(tmp_path / "b.tar") as tar:
        for member in tar:
            data = tar.extractfile(member).read()
            contents[member.name] = data + (gzip.decompress(data) if member.name.endswith(".gz") else b"")
    assert any(synthetic.CYCLE_ID.encode() in data for data in contents.values()), "documents are read as they are"
    assert not [name for name, data in contents.items() for secret in secrets if secret in data]


def test_without_files(project: Project, study: Results, tmp_path: Path) -> None:
    made = backup(project, tmp_path / "b.tar", files=False)
    assert not made.files.included
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert not [name for name in tar.getnames() if name.startswith("artifacts/")]
    empty(study)
    restore(project, tmp_path / "b.tar")
    assert {finding.kind for finding in check(project)} == {"file"}


def test_a_flipped_byte_anywhere_is_refused_before_anything_is_touched(project, study, tmp_path: Path) -> None:
    tar = tmp_path / "b.tar"
    backup(project, tar)
    before = content(study)
    good = tar.read_bytes()
    with tarfile.open(tar) as opened:
        members = opened.getmembers()
    # middle of the content and of the name of each member; the date of the manifest, which nothing else repeats
    places = [member.offset_data + member.size // 2 for member in members]
    places += [member.offset + 3 for member in members] + [good.index(b'"python"') + 12]
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 0x01
        tar.write_bytes(bad)
        with pytest.raises(DataError):
            restore(project, tar, force=True)
    for size in (0, 100, len(good) // 2, members[-1].offset):
        tar.write_bytes(good[:size])
        with pytest.raises(DataError):
            restore(project, tar, force=True)
    assert content(study) == before


def test_a_database_that_holds_documents_is_kept(project: Project, study: Results, tmp_path: Path) -> None:
    backup(project, tmp_path / "b.tar")
    before = content(study)
    study.add(structure())
    with pytest.raises(DatabaseError, match="documents; nothing was changed"):
        restore(project, tmp_path / "b.tar")

    def no(held: int) -> None:
        assert held == documents_held(study.database)
        raise InputError("no")

    with pytest.raises(InputError):
        restore(project, tmp_path / "b.tar", force=True, confirm=no)
    assert study.database["structures"].find_one({"_id": "a" * 32}) is not None
    restore(project, tmp_path / "b.tar", force=True)
    assert content(study) == before


def test_a_prepared_project_counts_as_empty(project: Project) -> None:
    results = Results.open(project)
    assert documents_held(results.database) == 0
    results.database.client.close()


def test_a_restore_that_was_cut_off_is_done_again(
    project: Project, study: Results, tmp_path: Path, monkeypatch
) -> None:
    backup(project, tmp_path / "b.tar")
    before = content(study)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gst_jobflow.archive.reading.Backup.put_file", cut_off)
        with pytest.raises(KeyboardInterrupt):
            restore(project, tmp_path / "b.tar", force=True)
    assert "restore" in {finding.kind for finding in check(project)}
    with pytest.raises(DatabaseError, match="cut off"):
        backup(project, tmp_path / "half.tar")
    restore(project, tmp_path / "b.tar", force=True)
    assert content(study) == before and list(check(project)) == []


def test_a_newer_schema_is_refused(project: Project, study: Results, tmp_path: Path) -> None:
    study.database["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    backup(project, tmp_path / "b.tar")
    before = content(study)
    with pytest.raises(DatabaseError, match="schema version 99"):
        restore(project, tmp_path / "b.tar", force=True)
    assert content(study) == before


def test_running_fireworks_are_not_torn(project: Project, study: Results, tmp_path: Path) -> None:
    study.database["fireworks"].insert_one({"fw_id": 7, "state": "RUNNING"})
    with pytest.raises(DatabaseError, match="firework 7 is running"):
        backup(project, tmp_path / "b.tar")
    assert list(tmp_path.glob("*.tar")) == [] and list(tmp_path.glob(".gst-*")) == []
    assert backup(project, tmp_path / "b.tar", while_running=True).while_running


def test_missing_files_are_named_and_corrupt_ones_mended(project: Project, study: Results, tmp_path: Path) -> None:
    backup(project, tmp_path / "whole.tar")
    first, second = sorted(file for file in study.artifacts.root.rglob("*") if file.is_file())[:2]
    first.unlink()
    second.chmod(0o600)
    second.write_bytes(b"something else")
    made = backup(project, tmp_path / "b.tar")
    assert made.files.missing == [file.parent.name + file.name for file in (first, second)] and made.files.count == 2
    verify_backup(tmp_path / "b.tar")
    restore(project, tmp_path / "whole.tar", force=True)
    assert list(check(project, deep=True)) == []


def test_wrong_files(project: Project, study: Results, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("not a tar")
    with pytest.raises(DataError, match="not a backup"):
        verify_backup(tmp_path / "text.tar")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "text.tar", "manifest.json")
    with pytest.raises(DataError, match="not a backup"):
        verify_backup(tmp_path / "other.tar")
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with tarfile.open(tmp_path / "later.tar", "w") as tar:
        tar.add(tmp_path / "manifest.json", "manifest.json")
    with pytest.raises(DataError, match="format 99"):
        verify_backup(tmp_path / "later.tar")
    with pytest.raises(InputError, match="no backup"):
        restore(project, tmp_path / "none.tar")
    with pytest.raises(InputError, match="exists already"):
        backup(project, tmp_path / "text.tar")
    with pytest.raises(InputError, match="is missing"):
        backup(project, tmp_path / "no" / "b.tar")
