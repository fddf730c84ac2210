"""What is in the checkout is in the package."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_named_in_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(config["options"]["packages"].split())
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "gst_jobflow").rglob("__init__.py")}
    assert there <= named
    assert {name for name in named - there if not (ROOT / name.rpartition(".")[2]).is_dir()} == set()
