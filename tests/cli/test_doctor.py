from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.cli.main import app
from gst_jobflow.launch import doctor
from gst_jobflow.launch.doctor import ALL, CheckEntry, CheckResult


def missing(_):
    raise MissingProgramError("no such program", "install it")


@pytest.fixture
def gst(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GST_PROJECT", raising=False)
    yield lambda *arguments: CliRunner().invoke(app, list(arguments))
    os.environ.pop("GST_PROJECT", None)


def table(*entries):
    return (CheckEntry("good", lambda _: CheckResult("there", "1.0"), ALL, ALL), *entries)


def test_json_and_exit_code(gst, monkeypatch):
    monkeypatch.setattr(doctor, "TABLE", table(CheckEntry("optional", missing)))
    done = gst("doctor", "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["ok"] is True and content["profile"] == "laptop"
    assert content["checks"][1] == {
        "name": "optional",
        "ok": False,
        "found": "no such program",
        "version": "",
        "fix": "install it",
        "required": False,
    }


def test_missing_part_fails_and_says_what_to_do(gst, monkeypatch):
    monkeypatch.setattr(doctor, "TABLE", table(CheckEntry("part", missing, ALL, ("slurm",))))
    assert gst("doctor").exit_code == 0
    done = gst("doctor", "--profile", "slurm")
    assert done.exit_code == 1
    assert "install it" in done.stdout and "cannot run without part" in done.stderr


def test_broken_project_is_an_error(gst, tmp_path):
    (tmp_path / "gst.yaml").write_text("mongod: {}\n")
    done = gst("doctor")
    assert done.exit_code == 1 and "did you mean 'mongo'" in str(done.exception)
