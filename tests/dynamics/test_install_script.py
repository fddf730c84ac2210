"""scripts/install_lammps_pace, as far as it goes without building."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "install_lammps_pace"


def _run(tmp_path: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    if path:
        env["PATH"] = f"{path}:{env['PATH']}"
    return subprocess.run([str(SCRIPT), *arguments], env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Something that looks like a virtual environment with a Python."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/true")
    return tmp_path / "venv"


def test_help_and_wrong_arguments(tmp_path):
    assert "--lammps-source" in _run(tmp_path, "--help").stdout
    for wrong in (["--vnev", "x"], ["--venv"], ["-j", "0"]):
        done = _run(tmp_path, *wrong)
        assert done.returncode == 1
        assert "what to do:" in done.stderr


def test_a_missing_environment_is_named(tmp_path):
    done = _run(tmp_path, "--venv", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "python3 -m venv" in done.stderr


def test_an_lmp_with_pace_on_path_is_enough(tmp_path, environment):
    fake = tmp_path / "bin" / "lmp"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'pace            pace/extrapolation'\n")
    fake.chmod(0o755)
    done = _run(tmp_path, "--venv", str(environment), path=str(fake.parent))
    assert done.returncode == 0, done.stderr
    assert f"{fake} has pace" in done.stdout
    assert not list((tmp_path / "cache").rglob("work.*"))
