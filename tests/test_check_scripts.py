"""Scripts that check a release in an environment of their own leave nothing behind, and keep what they are asked to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# instead of Python, pip, build and the tests, which end with 3
STUB = r"""#!/usr/bin/env bash
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; for name in python uv gst; do cp "$0" "$3/bin/$name"; done ;;
    "-m build "*) mkdir -p "$4"; touch "$4/x.whl"; tar czf "$4/x.tar.gz" -C "$5/.." source/setup.cfg ;;
    "-m zipfile "*) cat "$(dirname "$4")/../wanted" ;;
    "-m pytest "*) touch "$SEEN"; exit 3 ;;
esac
"""


@pytest.mark.parametrize("script", ["check_lowest", "check_release"])
@pytest.mark.parametrize("given", ["", "here", "absolute"])
def test_only_a_folder_that_was_given_is_kept(tmp_path: Path, script: str, given: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("git archive needs a repository")
    stub, temporary, seen = tmp_path / "stub", tmp_path / "temporary", tmp_path / "seen"
    stub.write_text(STUB)
    stub.chmod(0o755)
    temporary.mkdir()
    folder = {"": [], "here": ["kept"], "absolute": [str(tmp_path / "kept")]}[given]
    done = subprocess.run(
        [ROOT / "scripts" / script, *folder],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": str(stub), "TMPDIR": str(temporary), "SEEN": str(seen)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and seen.exists(), done.stderr
    assert not list(temporary.iterdir())
    assert (tmp_path / "kept").is_dir() is bool(given)
