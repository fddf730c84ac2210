"""`gst ingest`: what it says of folders, of damage and of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.main import app
from gst_jobflow.store import manifest
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def gst(project: Project, monkeypatch):
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    return lambda *words: CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_all_runs_of_the_project_by_default(gst, project: Project) -> None:
    folder = project.runs_dir / "block" / "launcher"
    folder.mkdir(parents=True)
    for document in (structure(), label()):
        manifest.append(folder, manifest.Insert(document))
    assert gst("ingest").stdout == "1 manifests, 2 entries, 2 of them new\n"
    assert json.loads(gst("ingest", "--json").stdout) == {"manifests": 1, "entries": 2, "new": 0, "problems": []}


def test_damage_is_named_and_exits_1(gst, tmp_path: Path) -> None:
    manifest.append(tmp_path, manifest.Insert(structure()))
    with (tmp_path / manifest.MANIFEST_NAME).open("a") as file:
        file.write("nonsense\n")
    manifest.append(tmp_path, manifest.Insert(label()))
    done = gst("ingest", str(tmp_path))
    assert done.exit_code == 1 and "2 entries, 2 of them new" in done.stdout
    assert f"refused: {tmp_path / manifest.MANIFEST_NAME}:2 is not a manifest entry" in done.stderr


def test_wrong_folders(gst, tmp_path: Path) -> None:
    (tmp_path / "launcher_1").mkdir()
    with pytest.raises(InputError) as err:
        gst("ingest", str(tmp_path / "luncher_1"))
    assert "luncher_1 is not a folder" in err.value.message and "launcher_1" in err.value.fix
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        gst("ingest", str(tmp_path / "file"))
    empty = gst("ingest", str(tmp_path / "launcher_1"))
    assert empty.exit_code == 0 and "no manifest" in empty.stderr
