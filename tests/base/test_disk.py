"""A full disk is known by its error, by what programs print, and by trying."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gst_jobflow.base.disk import has_room, is_full, says_full
from gst_jobflow.base.errors import RunError
from gst_jobflow.launch.attempts import failure_class


def test_a_full_disk_is_recognised_behind_another_error() -> None:
    with pytest.raises(OSError) as caught:
        Path("/dev/full").write_text("more")
    assert is_full(caught.value) and failure_class(caught.value) == "disk_full"
    behind = RunError("the run failed", failure_class="crash")
    behind.__cause__ = caught.value
    assert failure_class(behind) == "disk_full"
    assert not is_full(FileNotFoundError(2, "no such file"))


def test_a_full_disk_is_recognised_in_a_programs_output() -> None:
    said = subprocess.run(["sh", "-c", "echo more | gzip > /dev/full"], capture_output=True, text=True).stderr
    assert says_full(said) and failure_class(RunError(said, failure_class="crash")) == "disk_full"
    assert not says_full("ERROR: Lost atoms")


def test_free_space_is_tested_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_room(tmp_path) and not list(tmp_path.iterdir())
    assert has_room(tmp_path / "absent"), "nothing is known"
    monkeypatch.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"more"))
    assert not has_room(tmp_path)
