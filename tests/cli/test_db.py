from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from gst_jobflow.cli.main import app
from gst_jobflow.errors import DatabaseError
from gst_jobflow.store.connect import read_credentials


@pytest.fixture
def gst(monkeypatch):
    """Run `gst --project DIR …` and leave no trace in the environment."""
    monkeypatch.setenv("GST_PROJECT", "")

    def run(project, *arguments):
        return CliRunner().invoke(app, ["--project", str(project.root), *arguments])

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


def test_migrate_without_a_server_is_an_error_with_a_way_out(gst, new_project, tmp_path):
    done = gst(new_project(tmp_path / "p"), "db", "migrate")
    assert isinstance(done.exception, DatabaseError) and done.exception.fix == "gst db up"
