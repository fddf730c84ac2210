"""Settings: precedence, and that nothing unknown passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project, find_project, known_variables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gst.yaml").write_text("mongo: {port: 30000}\nlammps: {ranks: 3}\n")
    return tmp_path


def test_command_line_over_environment_over_file_over_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Project(folder).settings.mongo.port == 30000
    assert Project(folder).settings.mongo.cache_gb == 0.5
    monkeypatch.setenv("GST_MONGO__PORT", "30001")
    settings = Project(folder).settings
    assert (settings.mongo.port, settings.lammps.ranks) == (30001, 3)
    assert Project(folder, {"mongo": {"port": 30002}}).settings.mongo.port == 30002


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mogno: {port: 30000}", ("mogno", "did you mean 'mongo'")),
        ("mongo: {prt: 30000}", ("prt", "did you mean 'port'")),
        ("mongo: {port: 80}", ("mongo.port", "1024")),
        ("- a list", ("not a mapping",)),
        ("mongo: [", ("not valid YAML",)),
        ("profile: laptob", ("profile", "laptop")),
        ("launch: {walltime: 24:00:00}", ("launch.walltime", "in quotes")),
        ("queue: {md: {walltime: 24:00:00}}", ("queue.md.walltime", "in quotes")),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / "gst.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        Project(tmp_path)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_misspelt_variable_is_refused_and_gstreamers_are_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GST_DEBUG", "3")
    monkeypatch.setenv("GST_PLUGIN_PATH", "/usr/lib/gstreamer-1.0")
    Project(folder)
    monkeypatch.setenv("GST_LAMMPS__RANK", "2")
    with pytest.raises(InputError, match="GST_LAMMPS__RANKS"):
        Project(folder)


def test_a_project_is_found_from_below_and_by_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = folder / "runs" / "launcher_1"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_project().root == folder
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="gst init"):
        find_project()
    monkeypatch.setenv("GST_PROJECT", str(folder))
    assert find_project().root == folder


def test_secrets_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text("mongo: {uri: 'mongodb://me:secret@example.org'}\n")
    assert "secret" not in repr(Project(tmp_path).settings)


def test_resources_of_a_category_can_be_variables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GST_QUEUE__FITS__RANKS", "2")
    monkeypatch.setenv("GST_QUEUE__MD__QOS", "high")
    queue = Project(folder).settings.queue
    assert (queue.fits.ranks, queue.md.qos) == (2, "high")
    monkeypatch.setenv("GST_QUEUE__FITS__RANK", "2")
    with pytest.raises(InputError, match="GST_QUEUE__FITS__RANKS"):
        Project(folder)


def test_every_setting_has_a_variable() -> None:
    assert {"GST_PROJECT", "GST_PROFILE", "GST_MONGO__URI", "GST_VASP__POTCAR_DIR"} <= known_variables()
