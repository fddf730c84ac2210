from __future__ import annotations

import stat

import pytest
import yaml
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.main import app
from gst_jobflow.store.address import connection, credentials_file, uri_file


def gst(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("profile", ["laptop", "slurm", "archer2"])
def test_init_makes_a_project(tmp_path, profile):
    folder = tmp_path / "deep" / "study"
    done = gst("init", folder, "--profile", profile, "--name", "on")
    assert done.exit_code == 0, done.output
    project = Project(folder)
    assert project.settings.profile == profile and project.settings.mongo.database == "on"
    assert mode(project.private_dir) == 0o700 and mode(credentials_file(project)) == 0o600
    assert (project.fw_configs_dir / "my_qadapter.yaml").is_file()
    ignored = (folder / ".gitignore").read_text().split()
    assert ".gst/" in ignored and "fw_configs/my_launchpad.yaml" in ignored
    for step in ("gst doctor", "gst db up", str(folder)):
        assert step in done.stderr
    assert ("(queue: account, partition" in done.stderr) == (profile != "laptop")


def test_commented_settings_are_settings(tmp_path):
    """Whoever takes the comment sign away gets a valid file."""
    gst("init", tmp_path / "p")
    file = tmp_path / "p" / "gst.yaml"
    lines = file.read_text().splitlines()
    # the first lines are prose
    file.write_text(
        "\n".join(line.removeprefix("# ").removeprefix("#") if n > 2 else line for n, line in enumerate(lines))
    )
    settings = yaml.safe_load(file.read_text())
    assert {"mongo", "lammps", "pacemaker", "cp2k", "vasp", "launch"} <= set(settings)
    Project(tmp_path / "p")


def test_existing_project_is_not_overwritten(tmp_path):
    gst("init", tmp_path)
    (tmp_path / "gst.yaml").write_text("mongo: {port: 30123}\n")
    secret = credentials_file(Project(tmp_path)).read_text()
    again = gst("init", tmp_path)
    assert isinstance(again.exception, InputError) and "--force" in again.exception.fix
    assert gst("init", tmp_path, "--force").exit_code == 0
    assert (tmp_path / "gst.yaml").read_text() == "mongo: {port: 30123}\n"
    assert credentials_file(Project(tmp_path)).read_text() == secret
    assert "port: 30123" in (tmp_path / "fw_configs" / "my_launchpad.yaml").read_text()


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--profile", "slurm", "profile"),
        ("--name", "other", "mongo.database"),
        ("--artifacts-dir", ".", "artifacts_dir"),
    ],
)
def test_options_that_contradict_project_settings_are_refused(tmp_path, option, value, key):
    gst("init", tmp_path)
    done = gst("init", tmp_path, "--force", option, value)
    assert isinstance(done.exception, InputError) and key in done.exception.fix
    assert gst("init", tmp_path, "--force", "--profile", "laptop", "--name", "gst").exit_code == 0


def test_external_uri_stays_out_of_the_settings(tmp_path, monkeypatch):
    uri = "mongodb://me:hidden@db.example.org:27017/?authSource=admin"
    file = tmp_path / "uri"
    file.write_text(uri + "\n")
    done = gst("init", tmp_path / "a", "--profile", "slurm", "--mongo-uri-file", file)
    assert done.exit_code == 0 and "hidden" not in done.output
    monkeypatch.setenv("GST_MONGO__URI", uri)
    assert gst("init", tmp_path / "b").exit_code == 0
    monkeypatch.delenv("GST_MONGO__URI")
    for name in "ab":
        project = Project(tmp_path / name)
        assert "hidden" not in (project.root / "gst.yaml").read_text()
        assert mode(uri_file(project)) == 0o600 and connection(project).uri == uri
        assert not credentials_file(project).exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--name", "a b"), "--name"),
        (("--mongo-uri-file", "/nowhere"), "/nowhere"),
        (("--mongo-uri-file", "BAD"), "no MongoDB URI"),
    ],
)
def test_bad_input_makes_nothing(tmp_path, arguments, word):
    (tmp_path / "bad").write_text("http://hidden")
    arguments = [str(tmp_path / "bad") if value == "BAD" else value for value in arguments]
    done = gst("init", tmp_path / "p", *arguments)
    assert isinstance(done.exception, InputError) and word in done.exception.message
    assert "hidden" not in str(done.exception)
    assert not (tmp_path / "p").exists()


def test_an_unknown_profile_leaves_no_project_behind(tmp_path):
    done = gst("init", tmp_path / "p", "--profile", "lap")
    assert done.exit_code == 1 and "no profile 'lap'" in str(done.exception)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "f").write_text("")
    assert isinstance(gst("init", tmp_path / "f").exception, InputError)
