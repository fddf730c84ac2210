from __future__ import annotations

import json
import os
import socket

import pytest
from typer.testing import CliRunner

from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.cli.main import app
from gst_jobflow.documents import SCHEMA_VERSION, Attempt, now
from gst_jobflow.store import Results
from gst_jobflow.store.address import read_credentials
from tests.documents.test_documents import label, structure


@pytest.fixture
def gst(monkeypatch):
    """Run `gst --project DIR …` and leave no trace in the environment."""
    monkeypatch.setenv("GST_PROJECT", "")

    def run(project, *arguments, text=None):
        return CliRunner().invoke(app, ["--project", str(project.root), *arguments], input=text)

    yield run
    os.environ.pop("GST_PROJECT", None)


@pytest.mark.mongo
def test_up_prepares_and_down_ends(gst, new_project, tmp_path):
    project = new_project(tmp_path / "p")
    before = gst(project, "db", "status", "--json")
    assert before.exit_code == 1 and json.loads(before.stdout)["running"] is False
    try:
        up = gst(project, "db", "up", "--json")
        assert up.exit_code == 0, up.output
        status = gst(project, "db", "status", "--json")
        content = json.loads(status.stdout)
        assert status.exit_code == 0 and {"running", "uri", "version", "size_bytes", "collections"} <= set(content)
        assert content["collections"]["structures"] == 0
        assert read_credentials(project)["app"]["password"] not in status.output + up.output
        again = gst(project, "db", "migrate", "--json")
        assert json.loads(again.stdout) == {"changed": []}
        assert "running" in gst(project, "db", "status").stdout
    finally:
        down = gst(project, "db", "down")
    assert down.exit_code == 0 and "the data is kept" in down.stderr
    assert gst(project, "db", "status").exit_code == 1


def test_migrate_without_a_server_names_the_remedy(gst, new_project, tmp_path):
    done = gst(new_project(tmp_path / "p"), "db", "migrate")
    assert isinstance(done.exception, DatabaseError) and done.exception.fix == "gst db up"


@pytest.fixture
def results(project):
    opened = Results.open(project)
    yield opened
    opened.database.client.close()


@pytest.mark.mongo
def test_check_reports_problem_and_remedy(gst, project, results):
    clean = gst(project, "db", "check", "--json")
    assert clean.exit_code == 0 and json.loads(clean.stdout) == {"repaired": [], "findings": []}
    results.add(label())
    results.add(label(_id="x", structure_id="b" * 32))
    found = gst(project, "db", "check", "--json", "--deep")
    findings = json.loads(found.stdout)["findings"]
    assert found.exit_code == 1 and len(findings) == 2
    assert set(findings[0]) == {"kind", "collection", "id", "what", "fix"} and findings[0]["collection"] == "labels"
    shown = gst(project, "db", "check")
    assert shown.exit_code == 1 and label().id in shown.stdout and "→ gst ingest" in shown.stdout
    assert shown.stdout.endswith("findings: 2\n")


@pytest.mark.mongo
def test_repair_mends_indexes_and_lost_attempts_only(gst, project, results):
    results.add(label())
    results.database["labels"].drop_index("created_at_-1")
    lost = Attempt(
        _id="lost",
        job_uuid="job",
        job_name="label",
        fw_id=1,
        number=1,
        state="running",
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=1.0,  # this pid, but of another process
        directory="runs/x",
        started_at=now(),
    )
    results.add(lost)
    assert len(json.loads(gst(project, "db", "check", "--json").stdout)["findings"]) == 3
    mended = json.loads(gst(project, "db", "check", "--repair", "--json").stdout)
    assert mended["repaired"] == ["labels: index created_at_-1", "attempt lost: marked lost"]
    assert [finding["kind"] for finding in mended["findings"]] == ["reference"]
    assert results.get(Attempt, "lost").state == "lost"
    results.add(structure())
    assert gst(project, "db", "check", "--repair").stdout == "clean\n"


@pytest.mark.mongo
def test_backup_and_restore(gst, project, results, tmp_path):
    results.add(structure())
    file = tmp_path / "b.tar"
    written = gst(project, "db", "backup", str(file), "--json")
    assert written.exit_code == 0 and json.loads(written.stdout)["schema_version"] == SCHEMA_VERSION
    assert isinstance(gst(project, "db", "restore", str(file)).exception, DatabaseError)
    wrong = gst(project, "db", "restore", str(file), "--force", text="another\n")
    assert isinstance(wrong.exception, InputError) and "nothing was changed" in str(wrong.exception)
    results.database["structures"].update_one({"_id": "a" * 32}, {"$set": {"iteration": 5}})
    done = gst(project, "db", "restore", str(file), "--force", text=f"{project.root.name}\n")
    assert done.exit_code == 0 and "restored" in done.stdout
    assert results.database["structures"].find_one({"_id": "a" * 32})["iteration"] == 0
    assert gst(project, "db", "restore", str(file), "--force", "--yes").exit_code == 0
    bare = gst(project, "db", "backup", str(tmp_path / "c.tar"), "--no-files")
    assert bare.exit_code == 0 and "--no-files" in bare.stdout
    assert gst(project, "db", "check", "--deep").stdout == "clean\n"


@pytest.mark.mongo
def test_errors_of_driver_and_disk_are_one_line(gst, project, tmp_path, monkeypatch):
    from pymongo.errors import AutoReconnect

    def fail(err):
        def function(*_, **__):
            raise err

        return function

    monkeypatch.setattr("gst_jobflow.store.check.check", fail(AutoReconnect("mongodb://user:secret@host")))
    gone = gst(project, "db", "check").exception
    assert isinstance(gone, DatabaseError) and gone.fix and "secret" not in str(gone)
    monkeypatch.setattr("gst_jobflow.archive.backup.write_tar", fail(OSError(28, "No space left on device")))
    full = gst(project, "db", "backup", str(tmp_path / "b.tar")).exception
    assert isinstance(full, DataError) and "No space left" in str(full)
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob(".gst-*"))
