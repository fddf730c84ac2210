"""What is in the checkout is in the package."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_named_in_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(config["options"]["packages"].split())
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "gst_jobflow").rglob("__init__.py")}
    assert there <= named
    assert {name for name in named - there if not (ROOT / name.rpartition(".")[2]).is_dir()} == set()


def test_help_of_the_tests_sets_up_nothing(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(Path(__file__).parents[1] / "scripts" / "test", scripts)
    (scripts / "setup").write_text("#!/bin/sh\ntouch was-set-up\nexit 1\n")
    (scripts / "setup").chmod(0o755)
    done = subprocess.run([scripts / "test", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Options go to pytest" in done.stdout
    assert not (tmp_path / "was-set-up").exists()
