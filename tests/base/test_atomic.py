"""A file is replaced whole or not at all, with the permissions that were asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gst_jobflow.base.atomic import replacing, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(RuntimeError), replacing(file) as part:
        part.write_text("half")
        assert file.read_text() == "old" and part.parent == tmp_path and part.name.endswith("a.txt")
        raise RuntimeError
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("mode", "seen"), [(None, 0o640), (0o600, 0o600), (0o444, 0o444)])
def test_permissions_are_those_of_the_umask_or_as_asked(tmp_path: Path, mode: int | None, seen: int) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a", mode=mode) as part:
            if mode == 0o600:
                assert part.stat().st_mode & 0o077 == 0, "a secret is private from its first byte on"
            part.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == seen and (tmp_path / "a").read_text() == "new"
