"""`gst artifacts`: what is stored, for whom, whether it is whole; garbage; from the folder to the database and back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.artifacts import seconds
from gst_jobflow.cli.main import app
from gst_jobflow.store import Results
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from click.testing import Result

    from gst_jobflow.base.settings import Project


@pytest.fixture
def results(project: Project, monkeypatch) -> Iterator[Results]:
    """A label that names one of two files; the other is old."""
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    opened = Results.open(project)
    ref = opened.artifacts.put_bytes(b"kept", "kept.txt")
    opened.add_many([structure()])
    opened.add(label(files=[ref]))
    old = opened.artifacts.path(opened.artifacts.put_bytes(b"nobody's", "old.txt"))
    os.utime(old, (time.time() - 1e7,) * 2)
    yield opened
    opened.database.client.close()


def gst(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


@pytest.mark.mongo
def test_list_du_check_and_gc(results: Results) -> None:
    listed = json.loads(gst("artifacts", "list", "--json").stdout)
    assert sorted((row["size_bytes"], row["named_by"]) for row in listed) == [(4, ["labels"]), (8, [])]
    (garbage,) = json.loads(gst("artifacts", "list", "--unreferenced", "--json").stdout)
    room = json.loads(gst("artifacts", "du", "--json").stdout)
    assert room["by_kind"]["labels"] == {"files": 1, "size_bytes": 4}
    assert room["all"] == {"files": 2, "size_bytes": 12}
    assert gst("artifacts", "check").stdout.strip() == "clean"

    assert "nothing was changed" in gst("artifacts", "gc", "--dry-run").stdout
    done = json.loads(gst("artifacts", "gc", "--grace", "0", "--json").stdout)
    assert (done["trashed"], done["deleted"], done["needed"]) == (1, 0, 1)
    done = json.loads(gst("artifacts", "gc", "--grace", "0", "--json").stdout)
    assert (done["deleted"], results.artifacts.size_of(garbage["sha256"])) == (1, None)

    (kept,) = results.artifacts.stored()
    results.artifacts.discard(kept.digest)
    missing = gst("artifacts", "check", "--json")
    assert missing.exit_code == 1 and kept.digest in json.loads(missing.stdout)["findings"][0]["what"]


def test_times_have_units() -> None:
    assert [seconds(text) for text in ("7d", "12h", "0", "1.5 m", "2w")] == [604800, 43200, 0, 90, 1209600]
    for wrong in ("7", "-1d", "soon", "1y"):
        with pytest.raises(InputError):
            seconds(wrong)
