from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import Project
from gst_jobflow.store.address import Connection, connection, credentials_file, read_credentials, redacted_uri, uri_file
from gst_jobflow.store.connect import cached_connection, connect, is_launchpad_of, job_store, launchpad, open_database

mongo = pytest.mark.mongo


@mongo
def test_times_come_back_with_their_zone(project):
    database = connect(project)
    now = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    database["times"].insert_one({"at": now})
    assert database["times"].find_one()["at"] == now
    assert database.name == project.settings.mongo.database


@mongo
def test_launchpad_and_job_store_share_the_database(project):
    pad = launchpad(project)
    assert pad.db.name == project.settings.mongo.database and pad.get_fw_ids() == []
    with job_store(project) as store:
        store.update({"uuid": "a", "index": 1, "output": {"x": 2}})
        assert store.get_output("a") == {"x": 2}
    assert connect(project)["outputs"].count_documents({}) == 1
    assert is_launchpad_of(project, pad)


@mongo
def test_the_end_of_a_process_does_not_wait_for_the_drivers_threads(project):
    program = f"""
import pathlib
from pymongo.periodic_executor import PeriodicExecutor
from gst_jobflow.base.settings import Project
from gst_jobflow.store.connect import connect
PeriodicExecutor.join = lambda *_: print("waits")
database = connect(Project(pathlib.Path({str(project.root)!r})))
"""
    assert _printed(program) == ""
    # and without this the driver does wait
    again = (
        program
        + "import atexit\nfrom pymongo.synchronous import monitor\natexit.register(monitor._shutdown_resources)\n"
    )
    assert "waits" in _printed(again)


def _printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("uri", "name", "same"),
    [
        ("mongodb://ann:other@one:27017,two/gst?replicaSet=r&authSource=gst", "gst", True),
        ("mongodb://mira:secret@one:27017,two?tls=true", "other", False),
        ("mongodb://mira:secret@three/gst", "gst", False),
    ],
)
def test_accounts_of_one_external_server_share_its_launchpad(tmp_path, uri, name, same):
    (tmp_path / "gst.yaml").write_text("mongo: {uri: 'mongodb://mira:secret@one:27017,two/gst'}\n")
    pad = SimpleNamespace(host=uri, name=name, uri_mode=True)
    assert is_launchpad_of(Project(tmp_path), pad) is same
    own = SimpleNamespace(host="127.0.0.1", port=27017, name=name, password="", uri_mode=False)
    assert not is_launchpad_of(Project(tmp_path), own)


@mongo
def test_a_process_keeps_its_clients_and_the_child_of_a_fork_has_its_own(project, monkeypatch):
    first = cached_connection(project)
    store = first.job_store
    store.connect()
    assert cached_connection(project) is first and store.count() == 0
    assert first.job_store is store
    assert first.database.name == project.settings.mongo.database
    monkeypatch.setattr("gst_jobflow.store.connect.os.getpid", lambda: -1)
    other = cached_connection(project)
    assert other is not first and other.database.client is not first.database.client


@mongo
def test_outputs_wait_for_the_journal(project):
    store = cached_connection(project).job_store
    store.connect()
    assert store.docs_store._collection.write_concern.document == {"w": "majority", "j": True}


@mongo
def test_the_server_is_asked_for_its_version_once_a_second(project, monkeypatch):
    asked = []
    monkeypatch.setattr("gst_jobflow.store.connect._cached", [])
    monkeypatch.setattr("gst_jobflow.store.connect._ask", asked.append)
    monkeypatch.setattr("gst_jobflow.store.connect.ASKED_AGAIN_S", 3600.0)
    first = cached_connection(project)
    assert cached_connection(project) is first and asked == [first.database]
    first.asked_at -= 3601.0
    assert cached_connection(project) is first and asked == [first.database, first.database]


@mongo
def test_kept_clients_are_given_up_where_they_do_not_work_and_made_anew(project, monkeypatch):
    monkeypatch.setattr("gst_jobflow.store.connect.ASKED_AGAIN_S", -1.0)
    first = cached_connection(project)
    # another version came while the process ran
    version = {"_id": "schema"}
    before = first.database["gst_meta"].find_one_and_update(version, {"$inc": {"version": 1}})
    with pytest.raises(DatabaseError, match="has schema version"):
        cached_connection(project)
    connect(project, any_version=True)["gst_meta"].replace_one(version, before)
    second = cached_connection(project)
    assert second is not first
    second.database.client.close()
    with pytest.raises(DatabaseError, match="went away"):
        cached_connection(project)
    assert cached_connection(project).database["structures"].count_documents({}) == 0


@mongo
def test_external_uri_serves_all_three(project, new_project, tmp_path):
    uri = connection(project).full_uri
    other = new_project(tmp_path / "other", f"mongo: {{database: {project.settings.mongo.database}}}\n")
    uri_file(other).write_text(uri + "\n")
    assert connection(other).external
    assert connect(other).name == launchpad(other).name == project.settings.mongo.database
    with job_store(other) as store:
        assert store.count() == 0


@mongo
@pytest.mark.parametrize("external", [False, True])
def test_wrong_password(project, external):
    where = connection(project)
    wrong = Connection(where.database, 2.0, None, where.port, where.username, "wrong-secret")
    if external:
        wrong = Connection(where.database, 2.0, uri=wrong.full_uri)
    with pytest.raises(DatabaseError) as caught:
        open_database(wrong)
    assert "authentication failed for 'gst'" in caught.value.message
    assert caught.value.fix and "wrong-secret" not in str(caught.value)
    # nor may a traceback show it
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@mongo
def test_no_name_and_foreign_database_are_refused(project):
    where = connection(project)
    with pytest.raises(DatabaseError, match="names no user"):
        open_database(Connection(where.database, 2.0, uri=f"mongodb://127.0.0.1:{where.port}/"))


def test_not_running(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    for opens in (connect, launchpad, job_store):
        with pytest.raises(DatabaseError) as caught:
            opens(project)
        assert caught.value.fix == "gst db up" and "127.0.0.1" in caught.value.message


def test_credentials_missing_or_damaged(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    credentials_file(project).write_text('{"app": {}}')
    with pytest.raises(DatabaseError, match="damaged"):
        connect(project)
    credentials_file(project).unlink()
    with pytest.raises(DatabaseError, match="missing") as caught:
        connect(project)
    assert "gst db up" in caught.value.fix


def test_unreachable_host(free_port):
    with pytest.raises(DatabaseError) as caught:
        open_database(Connection("gst", 0.3, uri=f"mongodb://u:secret@127.0.0.1:{free_port}/?authSource=admin"))
    assert f"127.0.0.1:{free_port}" in caught.value.message and "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["mongodb://u:se/cret@h:1/x", "mongodb://h:port/x", "mongodb://", "http://u:secret@h"])
def test_uri_that_is_none(uri):
    with pytest.raises(DatabaseError) as caught:
        open_database(Connection("gst", 0.3, uri=uri))
    assert "not valid" in caught.value.message and "cret" not in str(caught.value)


def test_password_is_in_no_repr(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    where = connection(project)
    password = read_credentials(project)["app"]["password"]
    assert password in where.full_uri
    assert password not in repr(where) and password not in where.shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://me:pw@a:1,b:2/db?replicaSet=r&password=x", "mongodb://me@a:1,b:2/db?replicaSet=r"),
        ("mongodb+srv://me:pw@cluster.example.org", "mongodb+srv://me@cluster.example.org"),
        ("mongodb://a", "mongodb://a"),
        ("mongodb://[::1]:27017/db", "mongodb://[::1]:27017/db"),
        ("mongodb://me:p/w", "mongodb://(malformed)"),
    ],
)
def test_redacted_uri(uri, shown):
    assert redacted_uri(uri) == shown


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n"), min_size=6))
def test_no_password_survives_redaction(password):
    # even one that should have been percent-encoded
    secret = f"<{password}>"
    assert secret not in redacted_uri(
        f"mongodb://me:{secret}@host:1/db?authSource=admin&tlsCertificateKeyFilePassword={secret}"
    )
